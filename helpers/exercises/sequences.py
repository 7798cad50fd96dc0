"""Exercises of pages 1 and 2: pictures and orders of pixels; heads and their order, their scale and their accuracy."""

import itertools
import math

import torch

from helpers.exercises.checking import close, exercise, expect, first_wrong, normal, tensors, verdict


@exercise
def check_flatten(yours):
    """``flatten(pictures) -> sequences``: ``(n, channels, height, width)`` uint8 to ``(n, height * width, channels)``.

    Row after row, and 0 to 255 becomes 0 to 1.
    """

    def ask(pictures):
        n, channels, height, width = pictures.shape
        expected = pictures.movedim(1, 3).reshape(n, height * width, channels).double() / 255
        return tensors(yours, pictures, sequences=expected.shape), expected

    for gray in (0, 255, 128):
        sequences, expected = ask(torch.full((1, 1, 1, 1), gray, dtype=torch.uint8))
        expect(
            sequences.is_floating_point(),
            f"numbers between 0 and 1 are wanted, and a tensor of {sequences.dtype} can't hold them",
        )
        expect(
            close(sequences, expected),
            f"a picture of one pixel, whose gray is {gray} of 255, becomes {sequences.item():.4g}",
        )
    n, channels, height, width = 2, 3, 4, 5
    pictures = torch.randperm(n * channels * height * width, generator=torch.Generator().manual_seed(0))
    pictures = pictures.to(torch.uint8).reshape(n, channels, height, width)
    gray = pictures[:1, :1]
    sequences, expected = ask(gray)
    expect(
        not close(sequences, gray.mT.reshape(1, -1, 1) / 255),
        "it reads column by column: position 1 holds the pixel below the first, not the one to its right",
    )
    wrong = first_wrong(sequences, expected, 1)
    expect(
        wrong is None,
        f"in a gray picture of {height} x {width}, position {wrong} is the first that is wrong: "
        f"row {(wrong or 0) // width}, column {(wrong or 0) % width} belongs there",
    )
    color = pictures[:1]
    sequences, expected = ask(color)
    expect(
        not close(sequences, color.reshape(1, -1, channels) / 255),
        "right for gray pictures; in color, position 0 holds the reds of the first three pixels, and no green or blue",
    )
    expect(not close(sequences, expected.flip(2)), "right for gray pictures; in color, blue comes first and red last")
    wrong = first_wrong(sequences, expected, 1)
    expect(
        wrong is None,
        f"right for gray pictures; in color, position {wrong} is the first that doesn't hold its own red, green, blue",
    )
    sequences, expected = ask(pictures)
    wrong = first_wrong(sequences, expected, 0)
    expect(wrong is None, f"right for one picture; of several, picture {wrong} is the first that is wrong")


@exercise
def check_snake(yours):
    """``snake(height, width) -> order (height * width,)``: the pixels row by row, every second row backwards."""
    for height, width in ((1, 4), (2, 3), (5, 4)):
        size, picture = height * width, f"{height} x {width}"
        order = tensors(yours, height, width, order=(size,))
        expect(
            not (order.is_floating_point() or order.is_complex() or order.dtype == torch.bool),
            f"an order of pixels is made of whole numbers, yours of {order.dtype}",
        )
        order = order.tolist()
        never = sorted(set(range(size)) - set(order))
        expect(
            not never,
            f"{picture} pixels have the numbers 0 to {size - 1}; your order goes from {min(order)} to {max(order)}"
            f" and never comes to {never[0] if never else ''}",
        )
        expect(order[0] == 0, f"it begins at pixel {order[0]} of {picture}, and reading begins at the top left")
        places = [divmod(pixel, width) for pixel in order]
        for before, after in itertools.pairwise(places):
            apart = [abs(a - b) for a, b in zip(before, after, strict=True)]
            expect(
                sum(apart) == 1,
                f"in {picture} pixels it jumps: after row {before[0]}, column {before[1]} comes row {after[0]}, "
                f"column {after[1]}, and a snake only moves to a neighbor",
            )
        expect(
            height == 1 or places[1] != (1, 0),
            f"it's a snake, but in {picture} pixels it goes up and down the columns; rows are wanted",
        )
        rows = torch.arange(size).reshape(height, width).tolist()
        right = [pixel for i, row in enumerate(rows) for pixel in (row if i % 2 == 0 else row[::-1])]
        expect(order == right, f"it's a snake without jumps, but in {picture} pixels it doesn't finish a row at a time")


@exercise
def check_restore(yours):
    """``restore(shuffled, order) -> sequences``, where ``shuffled = sequences[:, order]``.

    All ``(n, length, channels)``; ``order (length,)``.
    """

    def ask(order):
        order = torch.tensor(order)
        sequences = normal(len(order), len(order), len(order))  # cubes: no axis can be told by its size
        return tensors(yours, sequences[:, order], order, sequences=sequences.shape), sequences, order

    restored, sequences, order = ask([0, 1, 2])
    expect(close(restored, sequences), "nothing was shuffled (the order is 0, 1, 2), and yet it changes something")
    restored, sequences, order = ask([1, 0, 2])
    expect(
        not close(restored, sequences[:, order][order]),
        "the positions stay shuffled, and the sequences of the batch have changed places",
    )
    expect(
        not close(restored, sequences[:, order][..., order]),
        "the positions stay shuffled, and the channels have changed places",
    )
    expect(close(restored, sequences), "where the order only swaps two positions (1, 0, 2), they don't come back")
    restored, sequences, order = ask([1, 2, 0])
    expect(
        not close(restored, sequences[:, order[order]]),
        "right for an order that only swaps two positions; what was shuffled to 1, 2, 0 comes back as 2, 0, 1",
    )
    expect(close(restored, sequences), "right for an order that only swaps two positions, wrong for 1, 2, 0")
    restored, sequences, order = ask([4, 3, 6, 0, 5, 2, 1])
    wrong = first_wrong(restored, sequences, 1)
    expect(wrong is None, f"right for three positions; for {order.tolist()}, position {wrong} is the first wrong")


# Heads, (n, 12, 3) to (n, 3): what each looks at, and whether that changes with the order of the positions.
_EVEN = torch.tensor([1.0, 2.0]).double().repeat(6)  # a weight for each of 12 positions, two that take turns
_HILL = torch.tensor([1.0, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1]).double()
_HEADS = {
    "the mean over positions": (True, lambda x: x.mean(1)),
    "the largest number of each channel": (True, lambda x: x.amax(1)),
    "a sum over positions, weighted by what is there": (True, lambda x: (x.softmax(1) * x).sum(1)),
    "the last position alone": (False, lambda x: x[:, -1]),
    "the first position alone": (False, lambda x: x[:, 0]),
    "a sum with weights that take turns, 1 and 2": (False, lambda x: (x * _EVEN[:, None].to(x)).sum(1)),
    "a sum with weights that rise up to the middle and fall again": (
        False,
        lambda x: (x * _HILL[:, None].to(x)).sum(1),
    ),
    "products of neighbors, the last and the first among them": (False, lambda x: (x * x.roll(1, 1)).sum(1)),
    "the mean over positions of a running sum": (False, lambda x: x.cumsum(1).mean(1)),
    "the mean over positions, and the last one a little more": (False, lambda x: x.mean(1) + 1e-3 * x[:, -1]),
}


@exercise
def check_order_blind(yours):
    """``order_blind(head, x) -> bool``: of a head, ``(n, length, d)`` to ``(n, classes)``; x is an input that fits."""
    x = normal(5, 12, 3)
    for name, (blind, head) in _HEADS.items():
        says = verdict(yours, head, x)
        expect(
            says or not blind,
            f"a head that takes {name} can't tell positions apart, up to rounding; yours says that it can",
        )
        expect(blind or not says, f"a head that takes {name} can tell positions apart; yours says that it can't")


@exercise
def check_fold(yours):
    """``fold(weight, bias, mean, std) -> (weight, bias)``: ``(classes, n), (classes,), (n,), (n,)``."""
    n = 4
    weight, bias, x = normal(n, n), normal(n, seed=1), normal(6, n, seed=2)
    nothing, same = torch.zeros(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)

    def ask(bias, mean, std):
        folded, shift = tensors(yours, weight, bias, mean, std, weight=weight.shape, bias=bias.shape)
        return x @ folded.double().mT + shift, ((x - mean) / std) @ weight.mT + bias

    logits, expected = ask(nothing, nothing, same)
    expect(close(logits, expected), "with mean 0, spread 1 and no bias nothing is to be done, and the logits change")
    logits, expected = ask(nothing, nothing, 2 * same)
    ratio = (logits / expected).mean().item()
    expect(
        close(logits, expected),
        f"with a spread of 2 in all features, mean 0 and no bias, logits come out {ratio:.3g} times as large",
    )
    std = torch.tensor([0.5, 1.0, 2.0, 4.0]).double()
    logits, expected = ask(nothing, nothing, std)
    expect(
        not close(logits, x @ weight.mT / std),
        "right while all features have one spread; with spreads that differ, each class is rescaled, not each feature",
    )
    expect(close(logits, expected), "right while all features have one spread, wrong where spreads differ")
    logits, expected = ask(bias, nothing, std)
    expect(close(logits, expected), "right without a bias; the bias has nothing to do with the spread, and it changed")
    mean = normal(n, seed=3)
    logits, expected = ask(bias, mean, same)
    expect(
        not close(logits, x @ weight.mT + bias), "right for mean 0; with another mean, the logits stay what they were"
    )
    expect(
        not close(logits, (x + mean) @ weight.mT + bias),
        "right for mean 0; where x is the mean, logits should be the bias; yours are off by twice the mean's share",
    )
    expect(close(logits, expected), "right for mean 0; with another mean and spread 1, the logits are wrong")
    logits, expected = ask(bias, mean, std)
    expect(
        close(logits, expected), "right for mean 0 and right for spread 1; with a mean and a spread, logits are wrong"
    )


_Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations
_NEAR = 1e-4  # so that 1.96 will do


def _wilson(share, n, z):
    center, half = share + z * z / (2 * n), z * (share * (1 - share) / n + z * z / (4 * n * n)).sqrt()
    return (center - half) / (1 + z * z / n), (center + half) / (1 + z * z / n)


@exercise
def check_interval(yours):
    """``interval(right, n) -> (low, high)``: counts ``(m,)``, each out of n, to accuracies ``(m,)``, ``(m,)``."""

    def ask(right, n):
        right = torch.tensor(right, dtype=torch.float64)
        low, high = tensors(yours, right, n, low=right.shape, high=right.shape)
        return torch.stack([low, high]), right / n

    def shown(interval):
        return " to ".join(f"{end:.3f}" for end in interval.flatten().tolist())

    got, share = ask([50], 100)
    expect(got.isfinite().all(), f"for 50 of 100 yours goes from {shown(got)}, and an end isn't a number")
    expect(not (got > 1).any(), f"an accuracy is at most 1; for 50 of 100 yours goes from {shown(got)}")
    expect(got[0] < got[1], f"the lower end comes first; for 50 of 100 yours goes from {shown(got)}")
    width, wanted = (got[1] - got[0]).item(), torch.stack(_wilson(share, 100, _Z))
    one_sided = torch.stack(_wilson(share, 100, 1.644854))
    expect(
        not close(got, one_sided, _NEAR),
        f"for 50 of 100 yours goes from {shown(got)}, in which the share lies nine times in ten only",
    )
    wald = _Z * math.sqrt(0.25 / 100)
    if math.isclose(width, 2 * wald, rel_tol=1e-3):  # another interval: say where it fails
        got, share = ask([100], 100)
        expect(
            got[1] - got[0] > 1e-9,
            "after 100 of 100 right answers yours has no width: are you sure that there'll never be a mistake?",
        )
    expect(close(got, wanted, _NEAR), f"for 50 of 100 yours goes from {shown(got)}, and is wrong")
    got, share = ask([0], 10)
    expect(
        close(got + 1, torch.stack(_wilson(share, 10, _Z)) + 1, _NEAR),
        f"right for 50 of 100; for 0 of 10 yours goes from {shown(got)}, and is wrong",
    )
    got, share = ask([9226, 9926, 10_000], 10_000)
    expected = torch.stack(_wilson(share, 10_000, _Z))
    wrong = first_wrong(1 - got, 1 - expected, 1, 1e-3)
    expect(
        wrong is None,
        f"right for 50 of 100; for {[9226, 9926, 10_000][wrong or 0]} of 10000 yours goes from "
        f"{shown(got[:, wrong or 0])}, and is wrong",
    )
