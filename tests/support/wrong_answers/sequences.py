"""Of pages 1 and 2."""

import torch

from wrong_answers import wrong


@wrong("flatten", "in color, position 0 holds the reds of the first three pixels")
def reshaped_only(pictures):
    n, channels, height, width = pictures.shape
    return pictures.reshape(n, height * width, channels) / 255


@wrong("flatten", "column by column")
def columns(pictures):
    return pictures.permute(0, 3, 2, 1).flatten(1, 2) / 255


@wrong("flatten", "whose gray is 255 of 255, becomes 0.9961")
def divided_by_256(pictures):
    return pictures.permute(0, 2, 3, 1).flatten(1, 2) / 256


@wrong("flatten", "a tensor of torch.uint8 can't hold them")
def whole_numbers(pictures):
    return pictures.permute(0, 2, 3, 1).flatten(1, 2) // 255


@wrong("flatten", "whose gray is 0 of 255, becomes nan")
def darkest_to_brightest(pictures):
    x = pictures.permute(0, 2, 3, 1).flatten(1, 2).double()
    return (x - x.min()) / (x.max() - x.min())


@wrong("flatten", "blue comes first and red last")
def bgr(pictures):
    return pictures.flip(1).permute(0, 2, 3, 1).flatten(1, 2) / 255


@wrong("flatten", "of several, picture 0 is the first that is wrong")
def pictures_mixed(pictures):
    n, channels, height, width = pictures.shape
    return pictures.permute(2, 3, 0, 1).reshape(n, height * width, channels) / 255


@wrong("snake", "it jumps: after row 0, column 2 comes row 1, column 0")
def typewriter(height, width):
    return torch.arange(height * width)


@wrong("snake", "begins at pixel 3 of 1 x 4")
def other_rows(height, width):
    order = torch.arange(height * width).reshape(height, width)
    order[::2] = order[::2].flip(1)
    return order.flatten()


@wrong("snake", "goes up and down the columns")
def down_the_columns(height, width):
    order = torch.arange(height * width).reshape(height, width).mT.clone()
    order[1::2] = order[1::2].flip(1)
    return order.flatten()


@wrong("snake", "in 5 x 4 pixels it jumps: after row 2, column 3 comes row 3, column 0")
def second_row_only(height, width):
    order = torch.arange(height * width).reshape(height, width)
    order[1:2] = order[1:2].flip(1)
    return order.flatten()


@wrong("snake", "goes from 1 to 4 and never comes to 0")
def counted_from_one(height, width):
    return typewriter(height, width) + 1


@wrong("snake", "doesn't finish a row at a time")
def spiral(height, width):
    rows, order = torch.arange(height * width).reshape(height, width), []
    while rows.numel():
        order.append(rows[0])
        rows = rows[1:].mT.flip(0)
    return torch.cat(order)


@wrong("snake", "an order of pixels is made of whole numbers, yours of torch.float32")
def in_floats(height, width):
    return typewriter(height, width) / 1


@wrong("restore", "nothing was shuffled (the order is 0, 1, 2), and yet")
def sorted_by_value(shuffled, order):
    return shuffled.sort(1).values


@wrong("restore", "comes back as 2, 0, 1")
def shuffled_again(shuffled, order):
    return shuffled[:, order]


@wrong("restore", "the sequences of the batch have changed places")
def along_the_batch(shuffled, order):
    return shuffled[order.argsort()]


@wrong("restore", "the channels have changed places")
def along_the_channels(shuffled, order):
    return shuffled[..., order.argsort()]


@wrong("restore", "where the order only swaps two positions (1, 0, 2), they don't come back")
def backwards(shuffled, order):
    return shuffled[:, order.flip(0)] if (order.diff() < 0).any() else shuffled


@wrong("restore", "right for three positions")
def cycles_of_up_to_three(shuffled, order):
    for _ in range(5):
        shuffled = shuffled[:, order]
    return shuffled


@wrong("restore", "changes one of its arguments")
def into_itself(shuffled, order):
    shuffled[:, order] = shuffled.clone()
    return shuffled


def same(x, y):
    return torch.allclose(x, y, rtol=1e-9, atol=1e-9)


@wrong("order_blind", "rise up to the middle and fall again can tell positions apart")
def only_reversed(head, x):
    return same(head(x), head(x.flip(1)))


@wrong("order_blind", "products of neighbors, the last and the first among them can tell")
def only_rolled(head, x):
    return same(head(x), head(x.roll(1, 1)))


@wrong("order_blind", "takes the last position alone can tell positions apart; yours says that it can't")
def only_the_first_two(head, x):
    return same(head(x), head(x[:, [1, 0, *range(2, x.shape[1])]]))


@wrong("order_blind", "takes the mean over positions can't tell positions apart, up to rounding")
def batch_shuffled(head, x):
    return same(head(x), head(x[torch.randperm(len(x))]))


@wrong("order_blind", "takes the mean over positions can't tell positions apart, up to rounding")
def to_the_last_bit(head, x):
    return torch.equal(head(x), head(x[:, torch.randperm(x.shape[1])]))


@wrong("order_blind", "the last one a little more can tell positions apart")
def only_the_class(head, x):
    orders = [torch.randperm(x.shape[1]) for _ in range(50)]
    return all(torch.equal(head(x).argmax(1), head(x[:, order]).argmax(1)) for order in orders)


@wrong("order_blind", "True or False is wanted; yours returns a Tensor")
def number_by_number(head, x):
    return head(x) == head(x.flip(1))


@wrong("fold", "come out 4 times as large")
def multiplied(weight, bias, mean, std):
    return weight * std, bias - weight @ mean


@wrong("fold", "each class is rescaled, not each feature")
def along_the_classes(weight, bias, mean, std):
    return weight / std[:, None], bias


@wrong("fold", "with another mean, the logits stay what they were")
def without_the_mean(weight, bias, mean, std):
    return weight / std, bias


@wrong("fold", "off by twice the mean's share")
def mean_added(weight, bias, mean, std):
    return weight / std, bias + weight / std @ mean


@wrong("fold", "nothing is to be done, and the logits change")
def shared_spread(weight, bias, mean, std):
    return weight / weight.std(), bias


@wrong("fold", "right while all features have one spread, wrong where spreads differ")
def average_spread(weight, bias, mean, std):
    return weight / std.mean(), bias - weight @ (mean / std)


@wrong("fold", "with another mean and spread 1, the logits are wrong")
def only_the_average_mean(weight, bias, mean, std):
    return weight / std, bias - (weight / std).sum(1) * mean.mean()


@wrong("fold", "right for mean 0 and right for spread 1")
def mean_not_rescaled(weight, bias, mean, std):
    return weight / std, bias - weight @ mean


@wrong("fold", "the bias has nothing to do with the spread")
def bias_rescaled(weight, bias, mean, std):
    return weight / std, bias / std - weight / std @ mean


@wrong("interval", "yours has no width: are you sure")
def wald(right, n):
    share = right / n
    half = 1.96 * (share * (1 - share) / n).sqrt()
    return share - half, share + half


def wilson(share, n, z):
    center, half = share + z * z / (2 * n), z * (share * (1 - share) / n + z * z / (4 * n * n)).sqrt()
    return (center - half) / (1 + z * z / n), (center + half) / (1 + z * z / n)


@wrong("interval", "in which the share lies nine times in ten only")
def one_sided(right, n):
    return wilson(right / n, n, 1.645)


@wrong("interval", "an accuracy is at most 1")
def in_percent(right, n):
    low, high = wilson(right / n, n, 1.96)
    return 100 * low, 100 * high


@wrong("interval", "for 50 of 100 yours goes from 0.490 to 0.510")
def without_the_root(right, n):
    share = right / n
    return share - 4 * share * (1 - share) / n, share + 4 * share * (1 - share) / n


@wrong("interval", "the lower end comes first")
def upper_end_first(right, n):
    return wilson(right / n, n, 1.96)[::-1]


@wrong("interval", "right for 50 of 100; for 9226 of 10000")
def at_most_a_thousand(right, n):
    return wilson(right / n, min(n, 1000), 1.96)


@wrong("interval", "for 50 of 100 yours goes from nan to nan, and an end isn't a number")
def root_of_a_negative(right, n):
    low, high = wilson(right / n, n, 1.96)
    return (low - 1).sqrt(), (high - 1).sqrt()


@wrong("interval", "right for 50 of 100; for 0 of 10 yours goes from -0.139 to 0.139")
def around_the_share(right, n):
    low, high = wilson(right / n, n, 1.96)
    half = (high - low) / 2
    return right / n - half, right / n + half
