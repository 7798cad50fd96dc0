"""The README's moving picture shows what the script would draw today."""

import numpy as np
import pytest
from PIL import Image

from helpers import mnist
from website import reading


def frames():
    """Every frame of the committed picture, RGB, with the milliseconds for which it is shown."""
    with Image.open(reading.PATH) as picture:
        for number in range(picture.n_frames):
            picture.seek(number)
            yield picture.convert("RGB"), picture.info["duration"]


def test_it_is_small_loops_forever_and_rests_on_its_last_frame():
    assert reading.PATH.stat().st_size < 1e6
    with Image.open(reading.PATH) as picture:
        assert picture.info["loop"] == 0
    *others, last = [shown for _, shown in frames()]
    assert set(others) == {reading.FRAME_MS} and last == reading.LAST_MS
    assert len(others) + 1 == 784 // reading.STEP


@pytest.mark.slow
def test_it_is_of_the_digit_and_the_answers_that_the_rule_gives():
    chosen, image, answers = reading.changing_digit()
    assert answers[-1].argmax() == mnist.load(train=False).targets[chosen]
    picture = reading.Picture(image, answers)
    shown = [np.asarray(frame, dtype=float) for frame, _ in frames()]
    for step in (0, len(answers) // 2, len(answers) - 1):
        drawn = np.asarray(picture.frame(step), dtype=float)
        apart = [np.abs(drawn - frame).mean() for frame in shown]
        # Edges and the GIF's 64 colors may differ a little from machine to machine.
        assert np.argmin(apart) == step and apart[step] < 1, step
