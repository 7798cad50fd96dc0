"""Which pixels an answer is made of, according to the matrices inside the scans; deleting them puts it to the test.

Sources: Ali, Zimerman and Wolf, "The Hidden Attention of Mamba Models", arXiv 2403.01590; Rezaei Jafari and others,
"MambaLRP", arXiv 2406.07592.
"""

import math

import torch

from helpers.inspect.attention import looked_at, scanned
from helpers.scan import selective_scan


def contributions(model, pixels, answers, paper: float, held=True) -> torch.Tensor:
    """What each pixel adds to a classifier's answer: its weight times how far it is from paper.

    With everything that the input chose held at its value (the scans' matrices, the gates, the scales of the norms), a
    model of Mambas is a product of matrices: each pixel has one weight for each answer, which one backward pass finds.
    Composing the layers' matrices is Ali and others' idea (arXiv 2403.01590), holding what was chosen that of Rezaei
    Jafari and others, "MambaLRP", arXiv 2406.07592. Without holding, the weight is the gradient. The answer is its
    logit, less the mean of all logits.

    Args:
        model: a :class:`~helpers.models.PixelClassifier` of Mambas, in evaluation mode.
        pixels: ``(batch, length, 1)``.
        answers: int64 ``(batch,)``, the answers.
        paper: the value of a pixel without ink.
        held: whether what the input chose is held at its value.

    Returns:
        ``(batch, length)``, zero where there is no ink.
    """
    found = []
    for part, answer in zip(pixels.split(50), answers.split(50), strict=True):
        part = part.detach().clone().requires_grad_()
        with torch.enable_grad():
            logits = _held_classifier(model, part) if held else model(part)
            score = (logits - logits.mean(1, keepdim=True)).gather(1, answer.unsqueeze(1)).sum()
        (weights,) = torch.autograd.grad(score, part)
        found.append((weights * (part.detach() - paper)).squeeze(-1))
    return torch.cat(found)


def _held_classifier(model, pixels):
    """What ``PixelClassifier.forward`` computes, with a gradient that takes all that was chosen as given."""
    x = model._embed(pixels if model.order is None else pixels[:, model.order])
    for number, (norm, block) in enumerate(zip(model.norms, model.blocks, strict=True)):
        y = _held_block(block, _held_norm(norm, x))
        x = x + (_held_glu(model.gates[number], y) if model.gates else y)
    if model.pooling == "sum":
        return model.head(_held_norm(model.norm, x.sum(1)))
    x = _held_norm(model.norm, x)
    return model.head(x.mean(1) if model.pooling == "mean" else x[:, -1])


def _held_norm(norm, x):
    x = x - x.mean(-1, keepdim=True)
    scale = (x.square().mean(-1, keepdim=True) + norm.eps).rsqrt().detach()
    return x * scale * norm.weight + norm.bias


def _held_silu(x):
    return x * torch.sigmoid(x).detach()


def _held_glu(glu, x):
    x = x * (0.5 * (1 + torch.erf(x / math.sqrt(2)))).detach()  # GELU
    value, gate = glu[1](x).chunk(2, -1)
    return value * torch.sigmoid(gate).detach()


def _held_block(block, x):
    u, z, chosen = scanned(block, x, _held_silu)
    delta, A, B, C, D = (one.detach() for one in chosen)
    return block.out_proj(selective_scan(u.mT, delta.mT, A, B.mT, C.mT, D, z=z.detach().mT).mT)


def delete(pixels, importance, share: float, paper: float) -> torch.Tensor:
    """Take the most important part of the ink away.

    Args:
        pixels: ``(batch, length, 1)``.
        importance: ``(batch, length)``.
        share: of each sequence's pixels with ink, from 0 to 1.
        paper: the value of a pixel without ink, which those that are deleted get.

    Returns:
        A copy of ``pixels``.
    """
    ink = pixels.squeeze(-1) > paper
    rank = importance.masked_fill(~ink, -math.inf).argsort(1, descending=True).argsort(1)
    gone = rank < (share * ink.sum(1, keepdim=True)).round()
    return pixels.masked_fill(gone.unsqueeze(-1), paper)


@torch.no_grad()
def answers_kept(model, pixels, shares, paper: float) -> dict[str, torch.Tensor]:
    """A deletion curve: which answers stay what they were when the most important part of the ink is taken away.

    Args:
        model: as :func:`contributions` takes it.
        pixels: ``(batch, length, 1)``.
        shares: of the ink that is deleted, some numbers from 0 to 1.
        paper: the value of a pixel without ink.

    Returns:
        bool ``(len(shares), batch)`` for each of four orders in which ink is deleted: by what it contributes through
        the layers' matrices, by gradient times input, by how much it is looked at, and at random (seed 0).
    """
    answers = torch.cat([model(part).argmax(1) for part in pixels.split(100)])
    orders = {
        "matrices, composed": contributions(model, pixels, answers, paper),
        "gradient × input": contributions(model, pixels, answers, paper, held=False),
        "looked at most": looked_at(model, pixels),
        "at random": torch.rand(pixels.shape[:2], generator=torch.Generator().manual_seed(0)).to(pixels.device),
    }
    kept = {}
    for name, importance in orders.items():
        left = [delete(pixels, importance, share, paper) for share in shares]
        found = [torch.cat([model(part).argmax(1) for part in images.split(100)]) for images in left]
        kept[name] = torch.stack(found) == answers
    return kept
