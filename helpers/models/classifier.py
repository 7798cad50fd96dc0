"""A classifier that answers from what its mixers remember: ``(batch, length, channels)`` in, logits out."""

import torch
from torch import nn

from helpers.models.backbone import Backbone, check_sizes


def fixed_order(length, seed):
    """The order in which a permuted sequence is read, ``(length,)``, or None without a seed."""
    if seed is None:
        return None
    return torch.randperm(length, generator=torch.Generator().manual_seed(seed), device="cpu")


class PixelClassifier(Backbone):
    """Reads a sequence in order, and answers from what its mixers remember of it.

    Its head sees no positions side by side: it gets one vector of ``d_model`` numbers. With an LSTM or a state space
    model, whatever it knows of *where* something was has gone through a state, unless there is a positional encoding.

    Args:
        mixer, d_model, n_layer, dropout, positional_encoding, glu: as of a :class:`Backbone`.
        length: positions of a sequence.
        channels: numbers at each position.
        classes: possible answers.
        pooling: what the answer is made from: ``"mean"``, the average over all positions, of which each has been
            normalized; ``"sum"``, the normalized sum, in which a position with larger numbers has more to say;
            ``"last"``, the last position alone.
        permutation: the seed of a fixed order in which the positions are read, or None for their own order. The order
            itself is kept with the weights.
        **options: of the mixer, such as ``d_state``.

    Raises:
        ValueError: naming the argument, what it was and what it must be.
    """

    def __init__(
        self,
        mixer="mamba",
        d_model=32,
        n_layer=2,
        *,
        length=784,
        channels=1,
        classes=10,
        pooling="mean",
        dropout=0.0,
        permutation=None,
        positional_encoding=None,
        glu=False,
        **options,
    ):
        if pooling not in ("mean", "sum", "last"):
            raise ValueError(f"pooling must be 'mean', 'sum' or 'last', got {pooling!r}")
        sizes = {"d_model": (d_model, 1), "n_layer": (n_layer, 1), "length": (length, 1), "channels": (channels, 1)}
        check_sizes(mixer, **sizes, classes=(classes, 2))
        embedding = nn.Linear(channels, d_model)
        super().__init__(embedding, mixer, d_model, n_layer, dropout, positional_encoding, glu, **options)
        self.shape, self.pooling = (length, channels), pooling
        self.head = nn.Linear(d_model, classes)
        self.register_buffer("order", fixed_order(length, permutation))

    def forward(self, sequences, prefix_lengths=None):
        """``(batch, length, channels)`` to logits.

        Args:
            sequences: ``(batch, length, channels)``.
            prefix_lengths: numbers of positions, each from 1 to ``length``, to answer after. A tensor on the device of
                ``sequences`` need not be copied there, and is not checked.

        Returns:
            ``(batch, classes)``, the answer to the whole sequence; with ``prefix_lengths``
            ``(batch, len(prefix_lengths), classes)``.

        Raises:
            ValueError: naming the argument, what it was and what it must be.
        """
        if sequences.dim() != 3 or tuple(sequences.shape[1:]) != self.shape:
            raise ValueError(f"sequences must be (batch, length, channels) = (batch, {self.shape[0]}, {self.shape[1]}),"
                             f" got {tuple(sequences.shape)}")  # fmt: skip
        if self.order is not None:
            sequences = sequences[:, self.order]
        x = self.read(sequences)
        if prefix_lengths is None:
            read = torch.full((1,), self.shape[0], device=x.device)
        else:
            read = self._checked(prefix_lengths, x.device)
        if self.pooling != "sum":
            x = self.norm(x)
        # A sum over positions has forgotten where each of them was. Without positional encoding only the states know.
        if self.pooling == "last":
            x = x[:, read - 1]
        elif prefix_lengths is None:
            x = x.sum(1, keepdim=True)
        else:
            x = x.cumsum(1, dtype=torch.promote_types(x.dtype, torch.float32))[:, read - 1]
        logits = self.answer(x, read[:, None])  # (batch, len(read), classes)
        return logits[:, 0] if prefix_lengths is None else logits

    def answer(self, pooled, read):
        """Logits from what was pooled over the ``read`` positions so far: their sum, or the last of them."""
        if self.pooling == "mean":
            pooled = pooled / read
        elif self.pooling == "sum":
            pooled = self.norm(pooled)
        return self.head(pooled)

    def _checked(self, prefix_lengths, device):
        if isinstance(prefix_lengths, torch.Tensor):  # to look at it would mean to wait for a GPU
            return prefix_lengths.to(device)
        wrong = [number for number in prefix_lengths if not 1 <= number <= self.shape[0]]
        if wrong:
            raise ValueError(f"prefix_lengths must be from 1 to {self.shape[0]}, got {wrong[0]}")
        return torch.tensor(list(prefix_lengths), dtype=torch.int64, device=device)
