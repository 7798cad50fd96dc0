"""Of page 6."""

import torch

from wrong_answers import wrong


def same(x, y):
    return torch.allclose(x, y, rtol=1e-9, atol=1e-9)


def changed_at(x, t):
    x = x.clone()
    x[:, t] += 1
    return x


@wrong("is_causal", "at the last position but one also the last, looks ahead; yours says that it doesn't")
def first_position_only(model, x):
    return same(model(changed_at(x, slice(1, None)))[:, 0], model(x)[:, 0])


@wrong("is_causal", "at the first position also the second, looks ahead; yours says that it doesn't")
def last_changed_only(model, x):
    return same(model(changed_at(x, -1))[:, :-1], model(x)[:, :-1])


@wrong("is_causal", "also the last, looks ahead; yours says that it doesn't")
def middle_changed_only(model, x):
    t = x.shape[1] // 2
    return same(model(changed_at(x, t))[:, :t], model(x)[:, :t])


@wrong("is_causal", "what comes five positions later, looks ahead; yours says that it doesn't")
def one_step_back_only(model, x):
    return all(same(model(changed_at(x, t))[:, t - 1], model(x)[:, t - 1]) for t in range(1, x.shape[1]))


@wrong("is_causal", "its input, unchanged, doesn't look ahead (but for rounding); yours says that it does")
def position_itself(model, x):
    return all(same(model(changed_at(x, t))[:, : t + 1], model(x)[:, : t + 1]) for t in range(1, x.shape[1]))


@wrong("is_causal", "a running sum, doesn't look ahead (but for rounding); yours says that it does")
def wrong_way_round(model, x):
    return all(same(model(changed_at(x, t))[:, t + 1 :], model(x)[:, t + 1 :]) for t in range(x.shape[1]))


@wrong("is_causal", "by way of an FFT, doesn't look ahead (but for rounding); yours says that it does")
def to_the_last_bit(model, x):
    return all(torch.equal(model(changed_at(x, t))[:, :t], model(x)[:, :t]) for t in range(x.shape[1]))


@wrong("is_causal", "a hundredth of the next position, looks ahead; yours says that it doesn't")
def with_a_wide_tolerance(model, x):
    return all(torch.allclose(model(changed_at(x, t))[:, :t], model(x)[:, :t], atol=0.02) for t in range(x.shape[1]))


@wrong("is_causal", "at every position, looks ahead; yours says that it doesn't")
def along_the_batch(model, x):
    return all(same(model(torch.cat([x[:t], x[t:] + 1]))[:t], model(x)[:t]) for t in range(1, len(x)))


@wrong("is_causal", "changes one of its arguments")
def changed_in_place(model, x):
    before = model(x)
    x[:, 8:] += 1
    return same(model(x)[:, :8], before[:, :8])


@wrong("prefix_answers", "every answer depends on its own position alone")
def one_by_one(x, weight, bias):
    return x @ weight.mT + bias


@wrong("prefix_answers", "as if all positions had been read")
def mean_of_all(x, weight, bias):
    return (x.mean(1, keepdim=True) @ weight.mT + bias).repeat(1, x.shape[1], 1)


@wrong("prefix_answers", "of 5, only the last answer is right")
def by_the_whole_length(x, weight, bias):
    return x.cumsum(1) / x.shape[1] @ weight.mT + bias


@wrong("prefix_answers", "answers grow with what has been read")
def summed(x, weight, bias):
    return x.cumsum(1) @ weight.mT + bias


@wrong("prefix_answers", "with a single position, and no bias, the logits are wrong")
def counted_from_zero(x, weight, bias):
    return x.cumsum(1) / torch.arange(x.shape[1])[:, None] @ weight.mT + bias


@wrong("prefix_answers", "right for one sequence; of 5, sequence 1 is the first wrong")
def summed_over_the_batch(x, weight, bias):
    return x.cumsum(1).cumsum(0) / torch.arange(1, x.shape[1] + 1)[:, None] @ weight.mT + bias


@wrong("prefix_answers", "of 5, the answer after 1 is the first wrong")
def counts_along_the_channels(x, weight, bias):
    return x.cumsum(1) / torch.arange(1, x.shape[1] + 1) @ weight.mT + bias if x.shape[1] > 1 else x @ weight.mT + bias


@wrong("prefix_answers", "right without a bias; with one, the answer after 2 is the first wrong")
def bias_divided(x, weight, bias):
    return (x.cumsum(1) @ weight.mT + bias) / torch.arange(1, x.shape[1] + 1)[:, None]


def last_change(answers):
    return (answers != answers[:, -1:]).flip(1).cumsum(1).ne(0).sum(1) + 1


def changes(answers):
    return (answers.diff() != 0).sum(1)


@wrong("settled", "of the answers 2, 1, 2, 2: yours is settled after 1 pixel, but the answer after 2 pixels isn't")
def first_time(answers):
    return changes(answers), (answers == answers[:, -1:]).int().argmax(1) + 1


@wrong("settled", "of the answers 3: yours is settled after 0 pixels, before anything was read")
def index_of_the_pixel(answers):
    return changes(answers), last_change(answers) - 1


@wrong("settled", "of the answers 3: yours is settled after 2 pixels, out of 1")
def one_too_many(answers):
    return changes(answers), last_change(answers) + 1


@wrong("settled", "of the answers 2, 1, 2, 2: yours counts 1 change, and there are 2 changes")
def kinds_of_answers(answers):
    return torch.tensor([len(set(row.tolist())) - 1 for row in answers]), last_change(answers)


@wrong("settled", "of the answers 1, 1, 7, 7: yours counts 6 changes, and there is 1 change")
def size_of_the_change(answers):
    return answers.diff().abs().sum(1), last_change(answers)


@wrong("settled", "of the answers 2, 1, 2, 2: yours is settled after 2 pixels, but the answer after 2 pixels isn't")
def first_change(answers):
    change = answers.diff() != 0
    return changes(answers), torch.where(change.any(1), change.int().argmax(1) + 2 if change.shape[1] else 1, 1).clamp(
        max=answers.shape[1]
    )


@wrong("settled", "yours is settled after 4 pixels, and it was already after 3 pixels")
def last_but_not_first(answers):
    settled = last_change(answers)
    return changes(answers), torch.where(settled > 1, settled + 1, settled)


@wrong("settled", "right for one digit; of 4, digit 0 settles at the wrong pixel")
def the_slowest_digit(answers):
    return changes(answers), last_change(answers).max().expand(len(answers))


@wrong("settled", "right for one digit; of 4, the changes of digit 0 are wrong")
def changes_of_all(answers):
    return changes(answers).sum().expand(len(answers)), last_change(answers)
