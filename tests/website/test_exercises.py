"""The page that lists the exercises, and the ticks that a browser keeps."""

import json

import pytest

from helpers import exercises

pytestmark = pytest.mark.slow


def test_every_exercise_is_listed_and_its_tick_is_kept(visit):
    page = visit.open("exercises")
    boxes = page.locator(".exercises input")
    total = len(exercises.__all__)
    assert boxes.count() == page.locator(".exercises li a").count() == total
    status = page.get_by_role("status")
    assert status.inner_text() == f"0 of {total} done"
    boxes.nth(1).check()
    boxes.nth(3).check()
    assert status.inner_text() == f"2 of {total} done"
    page.reload()
    assert [boxes.nth(i).is_checked() for i in range(5)] == [False, True, False, True, False]
    boxes.nth(1).uncheck()
    page.reload()
    assert status.inner_text() == f"1 of {total} done"
    page.locator(".exercises li a").nth(3).click()
    page.wait_for_load_state()
    assert page.locator("h3:target, section:target").count() == 1


def test_ticks_of_another_hand_are_left_out(visit):
    page = visit.open("exercises")
    page.evaluate("localStorage.setItem('exercises done', 'not a list')")
    page.reload()
    assert page.get_by_role("status").inner_text().startswith("0 of")
    page.evaluate(f"localStorage.setItem('exercises done', {json.dumps(json.dumps(['gone.html#gone']))!r})")
    page.reload()
    assert page.get_by_role("status").inner_text().startswith("0 of")


def test_answers_are_folded(visit):
    page = visit.open("04_selective_scan")
    folded = page.locator("details.hide")
    assert folded.count() == 4
    answer = folded.first.locator("pre")
    assert not answer.is_visible()
    folded.first.locator("summary").click()
    assert answer.is_visible()
