"""What carries information from position to position: one file a layer, one interface.

Every mixer maps ``(batch, length, d_model)`` to the same shape, and position t of the result depends on positions 0 to
t alone. ``forward(x, state=None, return_state=False)`` reads a sequence at once, ``step(x, state)`` one position of
it, ``initial_state(batch)`` is what either starts from. (``FeedForward``, the second half of a Transformer's layer,
and ``GLU``, which may follow a mixer, mix nothing and have no state.)

The optimizer must treat some parameters differently. A layer that has such parameters names them: ``ssm_parameters``,
``no_weight_decay``, ``no_muon``; see :func:`helpers.train.make_optimizers`.
"""

from helpers.layers.attention import Attention, FeedForward
from helpers.layers.glu import GLU
from helpers.layers.lstm import LSTM
from helpers.layers.mamba import Mamba, Memoryless
from helpers.layers.mamba2 import Mamba2
from helpers.layers.mamba3 import Mamba3
from helpers.layers.mamba_rope import MambaRoPE
from helpers.layers.s4d import S4D

__all__ = ["GLU", "LSTM", "S4D", "Attention", "FeedForward", "Mamba", "Mamba2", "Mamba3", "MambaRoPE", "Memoryless"]
