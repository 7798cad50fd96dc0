"""Of page 8."""

import math

import torch
import torch.nn.functional as F

from wrong_answers import wrong


def of(values, levels):
    return values.gather(-1, levels.unsqueeze(-1)).squeeze(-1)


@wrong("bits", "these are nats")
def nats(logits, levels):
    return -of(logits.log_softmax(-1), levels)


@wrong("bits", "by the prediction of the pixel before it")
def late(logits, levels):
    costs = -of(logits.roll(1, 1).log_softmax(-1), levels) / math.log(2)
    return costs


@wrong("bits", "should have shape (2, 5), yours has ()")
def averaged(logits, levels):
    return F.cross_entropy(logits.flatten(0, 1), levels.flatten()) / math.log(2)


@wrong("bits", "these are below zero")
def gained(logits, levels):
    return of(logits.log_softmax(-1), levels) / math.log(2)


@wrong("bits", "with some a thousand times as large")
def overflowing(logits, levels):
    powers = logits.exp()
    return -torch.log2(of(powers, levels) / powers.sum(-1))


@wrong("bits", "right where all levels are equally likely, wrong elsewhere")
def softmax_twice(logits, levels):
    return -of(logits.softmax(-1).log_softmax(-1), levels) / math.log(2)


@wrong("sample", "draws the same level each time")
def likeliest(logits, temperature, generator):
    return logits.argmax(-1)


@wrong("sample", "more even than at 1")
def multiplied(logits, temperature, generator):
    return torch.multinomial((logits * temperature).softmax(-1), 1, generator=generator).squeeze(-1)


@wrong("sample", "the temperature changes nothing")
def probabilities_divided(logits, temperature, generator):
    return torch.multinomial(logits.softmax(-1) / temperature, 1, generator=generator).squeeze(-1)


@wrong("sample", "something else the second time")
def without_the_generator(logits, temperature, generator):
    return torch.multinomial((logits / temperature).softmax(-1), 1).squeeze(-1)


@wrong("sample", "only the likeliest level should be drawn")
def exponentials(logits, temperature, generator):
    powers = torch.exp(logits / temperature).clamp(max=1e300)
    return torch.multinomial(powers / powers.sum(-1, keepdim=True), 1, generator=generator).squeeze(-1)


@wrong("sample", "drawn by the logits of another")
def one_for_all(logits, temperature, generator):
    one = (logits[0] / temperature).softmax(-1)
    return torch.multinomial(one.expand(len(logits), -1), 1, generator=generator).squeeze(-1)


@wrong("sample", "at temperature 1, levels with")
def squared(logits, temperature, generator):
    return torch.multinomial((logits / temperature).softmax(-1) ** 2, 1, generator=generator).squeeze(-1)


@wrong("sample", "right at temperature 1; at 0.5 the likeliest of four should come")
def softened(logits, temperature, generator):
    return torch.multinomial((logits / temperature**0.5).softmax(-1), 1, generator=generator).squeeze(-1)


@wrong("sample", "levels are whole numbers")
def as_floats(logits, temperature, generator):
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator).squeeze(-1).double()
