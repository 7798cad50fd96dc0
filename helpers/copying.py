"""Selective copying: a few tokens among many blanks, to be repeated in order at the end.

The sequences of this task can have any length, and no model can solve it without a memory.

Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", arXiv 2312.00752, section 4.1.1.
"""

import torch
from torch import nn

from helpers.models.backbone import Backbone

TOKENS, QUESTION, COPIES = 8, 9, 3  # tokens are 1 to 8, a blank is 0
GROWTH = ((32, 300, 64), (64, 150, 32), (128, 100, 32), (256, 150, 32))  # length, batches, sequences in a batch


def copying(n: int, fixed: bool, seed: int, noise: int = 29):
    """Sequences with ``COPIES`` tokens in ``noise`` places, the rest of them blank, and as many questions at the end.

    Args:
        n: how many.
        fixed: whether the tokens are always in the same places.
        seed: of tokens and places.
        noise: places before the questions.

    Returns:
        Sequences, int64 ``(n, noise + COPIES)``, and the tokens in them, ``(n, COPIES)``, int64 from 0 to 7.
    """
    generator = torch.Generator().manual_seed(seed)
    answers = torch.randint(TOKENS, (n, COPIES), generator=generator)
    if fixed:
        places = (torch.arange(COPIES) * (noise // COPIES)).expand(n, -1)
    else:
        places = torch.rand(n, noise, generator=generator).argsort(dim=1)[:, :COPIES].sort(dim=1).values
    sequences = torch.zeros(n, noise + COPIES, dtype=torch.int64).scatter(1, places, answers + 1)
    sequences[:, noise:] = QUESTION
    return sequences, answers


def copying_batches(n: int, length: int, seed: int, batch_size: int = 32) -> list:
    """Pairs of sequences, ``(batch_size, length)``, with random places, and answers, ``(batch_size * COPIES,)``."""
    sequences, answers = copying(n, False, seed, length - COPIES)
    return [(x, y.flatten()) for x, y in zip(sequences.split(batch_size), answers.split(batch_size), strict=True)]


def growing_batches(seed: int) -> list:
    """Batches of longer and longer sequences, up to 256 positions: from that length alone, models learn little."""
    return [batch for length, count, size in GROWTH for batch in copying_batches(count * size, length, seed, size)]


class CopyingModel(Backbone):
    """Answers at each question with a token. Arguments are those of a :class:`helpers.models.backbone.Backbone`."""

    def __init__(self, mixer="mamba", d_model=32, n_layer=2, **options):
        super().__init__(nn.Embedding(TOKENS + 2, d_model), mixer, d_model, n_layer, **options)
        self.head = nn.Linear(d_model, TOKENS)

    def forward(self, sequences, memory=None):
        """Sequences, or the last part of them after ``memory``, to logits ``(batch * COPIES, TOKENS)``."""
        return self.answer(self.read(sequences, memory))

    def answer(self, x):
        """Logits from what the layers made of the last ``COPIES`` positions of ``(batch, length, d_model)``.

        Raises:
            ValueError: if there are fewer.
        """
        if x.shape[1] < COPIES:
            raise ValueError(f"the last piece must hold all {COPIES} questions, got {x.shape[1]} positions")
        return self.head(self.norm(x[:, -COPIES:])).flatten(0, 1)


class InPieces(nn.Module):
    """A :class:`CopyingModel` that reads sequences in pieces, each from the memory that the piece before left behind.

    Args:
        model: that reads.
        piece: positions of a piece. The last one must hold all questions.
        truncate: whether gradients end where a piece begins ("truncated backpropagation through time").
    """

    def __init__(self, model, piece, truncate=False):
        super().__init__()
        self.model, self.piece, self.truncate = model, piece, truncate

    def forward(self, sequences):
        """``(batch, length)`` to logits ``(batch * COPIES, TOKENS)``."""
        memory = None
        for piece in sequences.split(self.piece, 1):
            x, memory = self.model.read(piece, memory, return_memory=True)
            if self.truncate:
                memory = memory.detach()
        return self.model.answer(x)
