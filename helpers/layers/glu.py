"""A gated linear unit after a mixer, as S4 and S5 have it.

Source: Dauphin and others, "Language Modeling with Gated Convolutional Networks", arXiv 1612.08083, section 2; after a
state space model: Gu, Goel and Re, arXiv 2111.00396, appendix D.2, and Smith, Warrington and Linderman, arXiv
2208.04933, appendix G.1.
"""

from torch import nn


class GLU(nn.Sequential):
    """GELU, then one linear layer from ``d_model`` to twice that, whose second half gates its first.

    It mixes the channels of each position, on its own: ``(..., d_model)`` to ``(..., d_model)``.
    """

    def __init__(self, d_model):
        super().__init__(nn.GELU(), nn.Linear(d_model, 2 * d_model), nn.GLU(-1))
