"""Contenders take turns, and ratios are taken round by round."""

from helpers import timing


def test_rounds_take_turns_and_short_ones_are_repeated_more_often():
    order = []
    times = timing.time_interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4 and [len(x) for x in times.values()] == [3, 3]
    assert len(timing.time_interleaved({"a": lambda: None}, 3, at_least=0.01)["a"]) == 30
    assert timing.median_ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == 2
