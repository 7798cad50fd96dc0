"""Contenders take turns, and ratios are taken round by round."""

import pytest

from helpers import timing


def test_rounds_take_turns():
    order = []
    times = timing.time_interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4 and [len(x) for x in times.values()] == [3, 3]
    assert timing.median_ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == 2


@pytest.mark.parametrize(("seconds", "rounds"), [(5.0, 3), (2.0, 5), (0.001, 30), (0.0, 30)])
def test_short_functions_get_more_rounds(monkeypatch, seconds, rounds):
    monkeypatch.setattr(timing, "time_once", lambda function: seconds)
    assert len(timing.time_interleaved({"a": None}, 3, at_least=10.0)["a"]) == rounds


def test_time_once_waits_for_the_result_and_counts_seconds(monkeypatch):
    calls, clock = [], iter([3.0, 5.5])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(timing.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(timing.torch.cuda, "synchronize", lambda: calls.append("wait"))
    assert timing.time_once(lambda: calls.append("run")) == 2.5 and calls == ["run", "wait"]


def test_median_seconds_leaves_the_first_call_out(monkeypatch):
    seconds = iter([100.0, 200.0, 50.0, 20.0, 1.0, 90.0, 3.0, 10.0])  # of a and b by turns
    monkeypatch.setattr(timing, "time_once", lambda function: next(seconds))
    assert timing.median_seconds({"a": None, "b": None}) == {"a": 3.0, "b": 20.0}


def test_only_a_label_makes_a_progress_bar(capsys):
    timing.time_interleaved({"a": lambda: None}, 1)
    assert capsys.readouterr() == ("", "")
    timing.time_interleaved({"a": lambda: None}, 1, "measuring")
    assert "measuring" in capsys.readouterr().err
