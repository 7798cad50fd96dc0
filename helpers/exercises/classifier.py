"""Exercises of page 6: a test that catches models looking ahead, an answer after each pixel, and when it settles."""

import torch
import torch.nn.functional as F

from helpers.exercises.checking import close, exercise, expect, first_wrong, normal, tensors, verdict


def _shifted(x, by):
    """What is ``by`` positions ahead, or zero after the end."""
    return F.pad(x, (0, 0, 0, by))[:, by:]


def _by_fft(x):
    """A sum in which an input counts half as much after each position, by way of an FFT: causal, but for rounding."""
    length = x.shape[1]
    kernel = 0.5 ** torch.arange(length, dtype=x.dtype)
    product = torch.fft.rfft(x, 2 * length, dim=1) * torch.fft.rfft(kernel, 2 * length)[:, None]
    return torch.fft.irfft(product, 2 * length, dim=1)[:, :length]


def _in_chunks(x):
    return torch.cat([chunk.mean(1, keepdim=True).expand_as(chunk) for chunk in x.split(4, 1)], 1)


def _at(x, position):
    """One at a position, zero elsewhere: ``(length, 1)``."""
    return F.one_hot(torch.tensor(position % x.shape[1]), x.shape[1])[:, None].to(x.dtype)


# Models, (batch, 16, d) to the same: what each gives out, and whether it does so without looking ahead.
_MODELS = {
    "its input, unchanged": (True, lambda x: 1 * x),
    "a running sum": (True, lambda x: x.cumsum(1)),
    "the mean over all positions, at every position": (False, lambda x: x.mean(1, keepdim=True).expand_as(x)),
    "a running sum from the end to the beginning": (False, lambda x: x.flip(1).cumsum(1).flip(1)),
    "the position before, and zero at the first": (True, lambda x: F.pad(x, (0, 0, 1, 0))[:, :-1]),
    "its input, normalized over the channels": (True, lambda x: x / x.square().mean(2, keepdim=True).sqrt()),
    "its input, normalized over the length": (False, lambda x: x / x.square().mean(1, keepdim=True).sqrt()),
    "its input, and a hundredth of the next position": (False, lambda x: x + 0.01 * _shifted(x, 1)),
    "its input, but at the last position but one also the last": (False, lambda x: x + _at(x, -2) * _shifted(x, 1)),
    "its input, but at the first position also the second": (False, lambda x: x + _at(x, 0) * _shifted(x, 1)),
    "its input, and what comes five positions later": (False, lambda x: x + _shifted(x, 5)),
    "means over chunks of four positions": (False, _in_chunks),
    "the mean over the sequences of the batch": (True, lambda x: x.mean(0, keepdim=True).expand_as(x)),
    "a causal convolution, by way of an FFT": (True, _by_fft),
}


@exercise
def check_is_causal(yours):
    """``is_causal(model, x) -> bool``: of a model, ``(batch, length, d)`` to the same; x is an input that fits."""
    x = normal(3, 16, 2)
    for name, (causal, model) in _MODELS.items():
        says = verdict(yours, model, x)
        expect(
            says or not causal,
            f"a model that gives out {name}, doesn't look ahead (but for rounding); yours says that it does",
        )
        expect(causal or not says, f"a model that gives out {name}, looks ahead; yours says that it doesn't")


@exercise
def check_prefix_answers(yours):
    """``prefix_answers(x, weight, bias) -> logits``: after each position, from the mean of those read so far.

    ``x (batch, length, d)``, ``weight (classes, d)``, ``bias (classes,)``; ``logits (batch, length, classes)``.
    """
    n = 5  # of all: sizes don't tell axes apart
    x, weight, bias = normal(n, n, n), normal(n, n, seed=1), normal(n, seed=2)
    zeros, counts = torch.zeros_like(bias), torch.arange(1.0, n + 1)[:, None]

    def ask(x, bias):
        counts = torch.arange(1.0, x.shape[1] + 1, dtype=x.dtype)[:, None]
        expected = x.cumsum(1) / counts @ weight.mT + bias
        return tensors(yours, x, weight, bias, logits=expected.shape), expected

    logits, expected = ask(x[:1, :1], zeros)
    expect(close(logits, expected), "with a single position, and no bias, the logits are wrong")
    logits, expected = ask(x[:1], zeros)
    slips = {
        "every answer depends on its own position alone": x[:1],
        "it is as if all positions had been read, at each of them": x[:1].mean(1, keepdim=True).expand(-1, n, -1),
        "only the last answer is right": x[:1].cumsum(1) / n,
        "answers grow with what has been read, as a sum does": x[:1].cumsum(1),
        "an answer depends on what hasn't been read yet": x[:1].flip(1).cumsum(1).flip(1) / counts.flip(0),
    }
    for says, read in slips.items():
        expect(not close(logits, read @ weight.mT), f"right for a single position; of {n}, {says}")
    wrong = first_wrong(logits, expected, 1)
    expect(
        wrong is None, f"right for a single position; of {n}, the answer after {(wrong or 0) + 1} is the first wrong"
    )
    logits, expected = ask(x[:1], bias)
    wrong = first_wrong(logits, expected, 1)
    expect(wrong is None, f"right without a bias; with one, the answer after {(wrong or 0) + 1} is the first wrong")
    logits, expected = ask(x, bias)
    wrong = first_wrong(logits, expected, 0)
    expect(wrong is None, f"right for one sequence; of {n}, sequence {wrong} is the first wrong")


@exercise
def check_settled(yours):
    """``settled(answers) -> (changes, pixels)``: ``(n, length)`` to ``(n,)``, ``(n,)``, whole numbers.

    How often an answer changes, and after how many pixels it doesn't change any more.
    """

    def ask(*answers):
        answers = torch.tensor(answers)
        return tensors(yours, answers, changes=(len(answers),), pixels=(len(answers),))

    for answers, changes, pixels in _READINGS:
        got_changes, got_pixels = (result.item() for result in ask(answers))
        shown = "of the answers " + ", ".join(map(str, answers))
        expect(
            got_changes == changes,
            f"{shown}: yours counts {_times(got_changes, 'change')}, and there {_times(changes, 'change', 'is')}",
        )
        expect(got_pixels >= 1, f"{shown}: yours is settled after {got_pixels} pixels, before anything was read")
        expect(
            got_pixels <= len(answers),
            f"{shown}: yours is settled after {got_pixels:g} pixels, out of {len(answers)}",
        )
        expect(
            got_pixels >= pixels,
            f"{shown}: yours is settled after {_times(got_pixels, 'pixel')}, but the answer after "
            f"{_times(pixels - 1, 'pixel')} isn't the last one yet",
        )
        expect(
            got_pixels == pixels,
            f"{shown}: yours is settled after {_times(got_pixels, 'pixel')}, and it was already after "
            f"{_times(pixels, 'pixel')}",
        )
    length = 6
    several = [(answers, *rest) for answers, *rest in _READINGS if len(answers) == length]
    changes, pixels = ask(*(answers for answers, *_ in several))
    for i, (_, right_changes, right_pixels) in enumerate(several):
        expect(
            changes[i] == right_changes, f"right for one digit; of {len(several)}, the changes of digit {i} are wrong"
        )
        expect(
            pixels[i] == right_pixels, f"right for one digit; of {len(several)}, digit {i} settles at the wrong pixel"
        )


# Answers, how often they change, and after how many pixels they don't any more.
_READINGS = (
    ([3], 0, 1),
    ([4, 4, 4, 4, 4, 4], 0, 1),
    ([1, 1, 7, 7], 1, 3),
    ([0, 0, 0, 0, 0, 2], 1, 6),
    ([2, 1, 2, 2], 2, 3),
    ([9, 3, 3, 9, 9, 9], 2, 4),
    ([5, 8, 5, 8, 5, 5], 4, 5),
)


def _times(number, what, verb=""):
    """``1 change``, ``are 2 changes``."""
    one = number == 1
    verb = {"is": "is " if one else "are "}.get(verb, "")
    return f"{verb}{number:g} {what}{'' if one else 's'}"
