"""Of page 3."""

import torch

from wrong_answers import wrong


@wrong("zero_order_hold", "A_bar is -2")
def euler(delta, A, B):
    return 1 + delta * A, delta * B


@wrong("zero_order_hold", "should settle at 1; yours goes to 3.16")
def as_mamba_does(delta, A, B):
    return torch.exp(delta * A), delta * B


@wrong("zero_order_hold", "hardly anything enters, but your B_bar is 2")
def minus_a(delta, A, B):
    A_bar = torch.exp(delta * A)
    return A_bar, (A_bar - A) / -A * B


@wrong("zero_order_hold", "settle at 1.2; yours goes to 3")
def not_divided_by_a(delta, A, B):
    return torch.exp(delta * A), -torch.expm1(delta * A) * B


@wrong("zero_order_hold", "without a leak (A = 0) should fill by 2.1 in a step of 0.7 with B = 3, not by nan")
def no_limit(delta, A, B):
    return torch.exp(delta * A), torch.expm1(delta * A) / A * B


@wrong("kernel", "one step ahead")
def starts_after_a_step(A_bar, B_bar, C, length):
    return torch.stack([C @ torch.linalg.matrix_power(A_bar, s + 1) @ B_bar for s in range(length)])


@wrong("kernel", "rows and columns are exchanged")
def transposed(A_bar, B_bar, C, length):
    h, K = B_bar, []
    for _ in range(length):
        K.append(C @ h)
        h = h @ A_bar
    return torch.stack(K)


@wrong("kernel", "right for a diagonal A_bar; for a full one K[2]")
def elementwise(A_bar, B_bar, C, length):
    return torch.stack([C @ B_bar, *(C @ A_bar**s @ B_bar for s in range(1, length))])


@wrong("kernel", "runs backwards")
def oldest_first(A_bar, B_bar, C, length):
    return torch.stack([C @ torch.linalg.matrix_power(A_bar, s) @ B_bar for s in reversed(range(length))])


@wrong("selective_task", "fixed dynamics are enough")
def at_three_places(tokens):
    return (tokens[:, 2] + tokens[:, 5] + tokens[:, 20] > 0).long()


@wrong("selective_task", "answers 100% of them")
def the_sum(tokens):
    return tokens.sum(1)


@wrong("selective_task", "answers 100% of them")
def how_many_threes(tokens):
    return (tokens == 3).sum(1)


@wrong("selective_task", "have the same answer")
def is_there_a_token(tokens):
    return tokens.any(1).long()


@wrong("selective_task", "depends on the others of its batch")
def above_average(tokens):
    total = tokens.sum(1).double()
    return (total > total.mean()).long()


@wrong("selective_task", "a rule needs no chance")
def guessed(tokens):
    return torch.randint(0, 3, (len(tokens),))


@wrong("selective_task", "nothing need be remembered")
def last_place(tokens):
    return (tokens[:, -1] * 7 + tokens[:, -2] * 3 + tokens[:, -3]) % 3


@wrong("selective_task", "answers 91% of them")
def first_token(tokens):
    """It looks selective, but weights that halve from position to position find it: page 3 says so of its readout."""
    return tokens.gather(1, (tokens > 0).int().argmax(1, keepdim=True)).squeeze(1)
