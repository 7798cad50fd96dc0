"""The drawing page in a real browser: what it computes, and what happens when a reader draws, clicks and types."""

import re
import time

import picture
import pytest
import torch
from repository import ROOT

from helpers import mnist, models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    return models.load_checkpoint("smnist")


def test_the_page_computes_what_pytorch_computes(visit, model):
    test = mnist.load(train=False)
    expected, steps = picture.read(model, mnist.sequences(test)[0][:100])
    page = visit.open("try")
    page.add_script_tag(url="_static/weights.js")
    found = page.evaluate(
        """(digits) => {
          const model = new PixelClassifier(window.SMNIST);
          return digits.map((digit) => {
            model.reset();
            const read = digit.map((pixel) => model.step(pixel / 255));
            const mean = (layers) => layers.reduce((sum, step) => sum + step, 0) / layers.length;
            return [softmax(read.at(-1).logits), read.map(({ deltas }) => mean(deltas))];
          });
        }""",
        test.data[:100].flatten(1).tolist(),
    )
    answers, deltas = (torch.tensor(part) for part in zip(*found, strict=True))
    assert (answers - expected[:, -1]).abs().max() < 1e-3
    assert (deltas / steps - 1).abs().max() < 1e-4
    assert visit.trouble == []


# Strokes in a square with sides of 100.
DRAWN = {
    "1": ["52,15 50,85"],
    "7": ["25,20 72,20 45,85"],
    "0": ["50,15 32,25 25,50 32,75 50,85 68,75 75,50 68,25 50,15"],
    "3": ["30,22 50,14 68,26 64,42 46,48 66,55 70,74 52,86 30,80"],
    "4": ["35,15 28,52 72,52", "66,20 62,88"],
}


def points(digit):
    """Its strokes as lists of points in a square with sides of 1."""
    return [[[int(part) / 100 for part in point.split(",")] for point in stroke.split()] for stroke in DRAWN[digit]]


def draw(page, digit, scale=1.0, shift=0.0):
    box = page.locator("#try-draw").bounding_box()
    for stroke in points(digit):
        first, *others = [
            (box["x"] + box["width"] * (x * scale + shift), box["y"] + box["height"] * (y * scale + shift))
            for x, y in stroke
        ]
        page.mouse.move(*first)
        page.mouse.down()
        for place in others:
            page.mouse.move(*place, steps=8)
        page.mouse.up()


def answer(page):
    page.wait_for_selector("#try-read[data-answer]", timeout=30_000)
    return page.locator("#try-read").get_attribute("data-answer")


def test_drawn_digits_are_read(visit):
    page = visit.open("try")
    for digit in DRAWN:
        page.get_by_role("button", name="Clear").click()
        draw(page, digit)
        assert answer(page) == digit
    # Small, and in a corner: it is scaled and moved.
    page.get_by_role("button", name="Clear").click()
    draw(page, "7", scale=0.4, shift=0.05)
    assert answer(page) == "7"
    assert visit.trouble == []


def test_drawing_on_a_phone_with_a_finger(visitor):
    page = visitor(width=390, height=844, has_touch=True, is_mobile=True).open("try")
    page.locator("#try-draw").scroll_into_view_if_needed()
    draw(page, "0")
    assert answer(page) == "0"


def test_a_drawing_is_placed_as_mnist_places_its_digits(visit):
    page = visit.open("try")
    found = torch.tensor(page.evaluate("(strokes) => Array.from(picture(strokes))", points("4"))).reshape(28, 28)
    down, across = (found.sum(axis) @ torch.arange(28.0) / found.sum() for axis in (1, 0))
    assert abs(down - 14) < 0.3 and abs(across - 14) < 0.3
    rows, columns = ((found.amax(axis) > 0.3).sum().item() for axis in (1, 0))
    assert 19 <= max(rows, columns) <= 21
    typical = mnist.load(train=False).data.float().div(255).mean().item()
    assert typical / 2 < found.mean().item() < typical * 2


def test_reading_can_be_paused_moved_and_slowed(visit):
    page = visit.open("try")
    page.get_by_label("Speed").select_option("28")
    began = time.monotonic()
    page.get_by_role("button", name="a 2", exact=True).click()
    page.wait_for_function("document.querySelector('#try-bars .best em')?.textContent.endsWith('%')")
    print(f"first answer after {time.monotonic() - began:.2f} s")
    assert answer(page) == "2"
    print(f"last answer after {time.monotonic() - began:.2f} s")
    page.get_by_role("button", name="Pause").click()
    before = page.locator("#try-pixel").input_value()
    page.wait_for_timeout(200)
    assert page.locator("#try-pixel").input_value() == before
    page.locator("#try-pixel").fill("784")
    assert "After 784 of 784 pixels: 2" in page.locator("#try-status").inner_text()
    page.locator("#try-pixel").fill("28")
    assert "After 28 of 784 pixels" in page.locator("#try-status").inner_text()
    shown = page.locator("#try-read").screenshot()
    page.get_by_label("Step size of").select_option("0")
    page.locator("#try-pixel").fill("600")
    assert page.locator("#try-read").screenshot() != shown
    assert page.locator("#try-chart polyline").count() == 10
    shares = page.locator("#try-bars em").all_inner_texts()
    assert 97 <= sum(int(share.removesuffix(" %")) for share in shares) <= 103


def test_with_the_keyboard_alone(visit):
    page = visit.open("try")
    page.locator("#try-draw").focus()
    for key in ["ArrowUp"] * 8 + [" "] + ["ArrowDown"] * 17 + ["Enter"]:
        page.keyboard.press(key)
    assert answer(page) == "1"
    page.keyboard.press("Delete")
    assert page.locator("#try-play").is_disabled()
    page.get_by_role("button", name="a 7", exact=True).focus()
    page.keyboard.press("Enter")
    assert answer(page) == "7"


def test_it_opens_with_a_digit_being_read(visit):
    page = visit.open("try")
    page.wait_for_function("document.querySelector('#try-pixel').value > 100")
    assert page.locator("#try-play").inner_text() == "Pause"
    assert answer(page) == "2"
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#try-pixel").input_value() == "0" and page.locator("#try-play").is_disabled()
    assert visit.trouble == []


def test_who_draws_at_once_is_not_interrupted(visit):
    page = visit.open("try")
    draw(page, "1")
    assert answer(page) == "1"


def test_reduced_motion_shows_the_answer_at_once(visitor):
    page = visitor(reduced_motion="reduce").open("try")
    page.get_by_role("button", name="a 1", exact=True).click()
    answer(page)
    assert page.locator("#try-pixel").input_value() == "784"
    assert page.locator("#try-play").inner_text() == "Play"


def test_what_the_page_says_of_prefixes_and_step_sizes(model):
    text = (ROOT / "website" / "try.md").read_text(encoding="utf-8")
    pixels, labels = (tensor[:200] for tensor in mnist.sequences(mnist.load(train=False)))
    answers, steps = picture.read(model, pixels)
    said = re.search(r"has (\d+) % of the first 200 test digits right after ten rows, and (\d+) % after fourteen", text)
    for rows, percent in ((10, said[1]), (14, said[2])):
        right = (answers[:, 28 * rows - 1].argmax(-1) == labels).double().mean()
        assert abs(100 * right - int(percent)) <= 1  # one digit is half a percent
    ink, paper = pixels[..., 0] > 1, pixels[..., 0] < -0.4
    assert "that is no larger on strokes than on paper" in text and steps[ink].mean() < 1.05 * steps[paper].mean()
    with torch.inference_mode():
        channels = model.blocks[0].step_sizes(model.norms[0](model.embedding(pixels)))
    ratio = channels[ink].mean(0) / channels[paper].mean(0)
    assert "nine times as large on ink" in text and ratio.max() > 9
    assert "six times smaller" in text and ratio.min() < 1 / 6
