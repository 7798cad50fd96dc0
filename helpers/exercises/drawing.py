"""Exercises of page 8: what a pixel costs in bits, and a drawn gray level."""

import math

import torch

from helpers.exercises.checking import close, exercise, expect, normal, tensors


@exercise
def check_bits(yours):
    """``bits(logits, levels)``: ``(batch, length, 256)`` and ``(batch, length)`` to ``(batch, length)``."""
    batch, length, levels = 2, 5, 7
    chosen = (3 * torch.arange(batch * length).reshape(batch, length) + 1) % levels

    def ask(logits):
        log_p = logits.log_softmax(-1)
        expected = -log_p.gather(-1, chosen.unsqueeze(-1)).squeeze(-1) / math.log(2)
        late = -log_p[:, :-1].gather(-1, chosen[:, 1:].unsqueeze(-1)).squeeze(-1) / math.log(2)
        return tensors(yours, logits, chosen, bits=(batch, length)), expected, late

    even, expected, _ = ask(torch.zeros(batch, length, levels, dtype=torch.float64))
    expect(not close(even, -expected), "these are below zero: what is unlikely should cost, and cost more")
    expect(not close(even, expected * math.log(2)), "these are nats: one of two equally likely levels should cost 1")
    expect(
        close(even, expected),
        f"seven equally likely levels cost {math.log2(levels):.2f} bits each, yours cost {even.mean().item():.2f}",
    )
    bits, expected, late = ask(normal(batch, length, levels))
    expect(not close(bits[:, 1:], late), "each pixel is charged by the prediction of the pixel before it")
    expect((bits >= 0).all(), "some pixels cost less than nothing: what is read off isn't a probability")
    expect(close(bits, expected), "right where all levels are equally likely, wrong elsewhere")
    bits, expected, _ = ask(1000 * normal(batch, length, levels))
    expect(close(bits, expected), "right for moderate logits; with some a thousand times as large it isn't any more")


@exercise
def check_sample(yours):
    """``sample(logits, temperature, generator)``: ``(batch, levels)`` to whole numbers ``(batch,)``."""
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    logits, draws = probabilities.log() + 3, 4000

    def ask(logits, temperature, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return tensors(yours, logits, temperature, generator, levels=logits.shape[:1])

    def shares(temperature):
        return ask(logits.expand(draws, 4), temperature).bincount(minlength=4) / draws

    levels = ask(logits.expand(draws, 4), 1.0)
    expect(not levels.is_floating_point(), f"levels are whole numbers, yours are {levels.dtype}")
    expect(
        len(levels.unique()) > 1, f"asked for {draws} draws from one distribution, it draws the same level each time"
    )
    again = ask(logits.expand(draws, 4), 1.0)
    expect(torch.equal(levels, again), "with the same seed it draws something else the second time")

    def near(found, wanted):
        return (found - wanted / wanted.sum()).abs().max() < 0.04

    found = shares(1.0)
    expect(
        near(found, probabilities),
        f"at temperature 1, levels with {_percent(probabilities)} are drawn {_percent(found)} of the time",
    )
    found, cold = shares(0.5), probabilities**2
    expect(not near(found, probabilities), "the temperature changes nothing")
    expect(not near(found, probabilities**0.5), "at temperature 0.5 the draws are more even than at 1")
    expect(
        near(found, cold),
        f"right at temperature 1; at 0.5 the likeliest of four should come {cold[0] / cold.sum():.0%} of the time, "
        f"and comes {found[0]:.0%}",
    )
    sharp = ask((1000 * logits).expand(50, 4), 0.01)
    expect((sharp == 0).all(), "with sharp logits and a temperature of 0.01 only the likeliest level should be drawn")
    two = torch.stack([logits, logits.flip(0)]).repeat(draws, 1)
    second = ask(two, 1.0)[1::2].bincount(minlength=4) / draws
    expect(near(second, probabilities.flip(0)), "the second of a batch is drawn by the logits of another")


def _percent(shares) -> str:
    return ", ".join(f"{share:.0%}" for share in shares.tolist()[:-1]) + f" and {shares[-1].item():.0%}"
