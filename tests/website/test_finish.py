"""*Finish my digit* in a real browser: its numbers are PyTorch's, and it draws for mouse, finger and keyboard."""

import re
import time

import about
import explorables
import published
import pytest
import torch
from repository import ROOT

from helpers import mnist, models

pytestmark = pytest.mark.slow

ONE = next(one for one in about.listed("explorables") if one["name"] == "finish")
PART = '.explorable[data-name="finish"]'
OPENS_WITH = 3  # the class of the test digit that is there when the page opens
DONE = re.compile(
    r"(?:(\d+) rows? given, for (\d+) bits\. The other (\d+)|Nothing given\. All (28) rows), drawn (?:as a (\d) )?"
    r"with seeds (\d+) to (\d+) at temperature ([\d.]+), cost (\d+), (\d+), (\d+) and (\d+) bits\."
)
# Reads whole digits: for each the bits of its pixels.
BITS = """(digits) => {
  const model = new PixelGenerator(window.GENERATOR);
  return digits.map((levels) => {
    const drawing = new Drawing(model);
    levels.forEach((level) => drawing.read(level));
    return drawing.bits;
  });
}"""


@pytest.fixture(scope="module")
def model():
    return models.load_checkpoint("generator")


@pytest.fixture(scope="module")
def digits():
    """Levels ``(10000, 784)`` and labels of the test set."""
    return mnist.levels(mnist.load(train=False))


def opened(visit):
    """The page, once the first digits are finished."""
    page = visit.open(ONE["page"])
    page.locator(f"{PART} .picture").scroll_into_view_if_needed()
    page.wait_for_selector(f"{PART}[data-ready]")
    return page


def told(page):
    return page.locator(f"{PART} .told").inner_text()


def finished(page, timeout=30_000):
    """What the text says, once it is there: see ``DONE``."""
    page.wait_for_function(f"/cost/.test(document.querySelector('{PART} .told').textContent)", timeout=timeout)
    return DONE.fullmatch(told(page).partition(" All four")[0])


def pixels(page, which):
    """The squares of an SVG in the explorable: their opacity by (row, column)."""
    found = {}
    for path in page.locator(f"{PART} {which} path").all():
        shade = float(path.get_attribute("fill-opacity"))
        for x, y in re.findall(r"M(\d+) (\d+)", path.get_attribute("d")):
            found[int(y), int(x)] = shade
    return found


def ways(page):
    return [pixels(page, f".ways > div:nth-child({i}) .way") for i in (1, 2, 3, 4)]


def above(squares, rows):
    return {place: shade for place, shade in squares.items() if place[0] < rows}


# ------------------------------------------------------------------------------------------------ its numbers


@torch.inference_mode()
def test_the_bits_of_twenty_test_digits_are_those_of_pytorch(visit, model, digits):
    levels = digits[0][:20]
    expected = model.bits(levels)
    page = opened(visit)
    found = torch.tensor(page.evaluate(BITS, levels.tolist()))
    print(f"{found.mean():.4f} bits per pixel in the page, {expected.mean():.4f} in PyTorch")
    assert abs(found.mean() / expected.mean() - 1) < 0.005
    assert (found.sum(1) / expected.sum(1) - 1).abs().max() < 0.005, "of every single digit"
    assert visit.trouble == []


@pytest.mark.parametrize(
    "options",
    [
        {"mixer": "mamba-rope", "d_model": 24, "n_layer": 2, "d_state": 8, "d_conv": 7, "glu": True, "classes": 10},
        {"mixer": "mamba", "d_model": 18, "n_layer": 3, "d_state": 5, "d_conv": 2, "positional_encoding": True},
    ],
    ids=lambda options: options["mixer"],
)
@torch.inference_mode()
def test_generators_of_other_shapes_have_the_logits_of_pytorch(visit, digits, options):
    torch.manual_seed(0)
    other = models.PixelGenerator(**options).eval()
    for name, weights in other.named_parameters():
        if "bias" in name:  # zeros and ones would hide what is left out
            weights.add_(0.3 * torch.randn_like(weights))
    levels, label = digits[0][:2, 200:260], 7 if other.classes else None
    told = None if label is None else torch.tensor([label])
    expected = torch.stack([other(levels[:1])[0], other(levels[1:], told)[0]])
    page = opened(visit)
    found = page.evaluate(
        """([content, digits, label]) => {
          const model = new PixelGenerator(content);
          return digits.map((levels, i) => {
            const memory = model.memory();
            let token = model.start(i ? label : null);
            return levels.map((level) => {
              const logits = Array.from(model.step(token, memory));
              token = level;
              return logits;
            });
          });
        }""",
        [published.generator(other), levels.tolist(), label],
    )
    apart = (torch.tensor(found) - expected).abs().max().item()
    print(f"logits differ by {apart:.1e}, their largest is {expected.abs().max():.1f}")
    assert apart < 1e-3
    assert visit.trouble == []


def test_gelu_and_the_exponential_function(visit):
    page = opened(visit)
    x = torch.linspace(-12, 12, 4801, dtype=torch.float64)
    gelu, exp, far = page.evaluate(
        "(x) => [x.map(gelu), x.map((value) => exp(value - 12)), exp(-1e5)]",
        x.tolist(),
    )
    assert (torch.tensor(gelu, dtype=torch.float64) - torch.nn.functional.gelu(x)).abs().max() < 1e-6
    assert (torch.tensor(exp, dtype=torch.float64) / torch.exp(x - 12) - 1).abs().max() < 1e-7
    assert 0 <= far < 1e-300


def test_every_number_in_half_precision(visit):
    codes = torch.arange(2**16)
    codes = codes[(codes & 0x7C00) != 0x7C00]  # but infinities and what is no number
    expected = codes.to(torch.uint16).view(torch.float16).double()
    found = opened(visit).evaluate("(codes) => Array.from(halves(Uint16Array.from(codes)))", codes.tolist())
    assert torch.equal(torch.tensor(found, dtype=torch.float64), expected)


def test_at_temperature_0_it_draws_what_pytorch_draws(visit, model, digits):
    drawn = model.draw(20, given=digits[0][:20, :392], temperature=0)
    drawn = drawn[drawn[:, 392:].double().mean(1).argmax()]  # where it draws most
    shown = digits[0][digits[1].tolist().index(OPENS_WITH)]
    page = opened(visit)
    found, of_shown = page.evaluate(
        """(halves) => {
          const model = new PixelGenerator(window.GENERATOR);
          return halves.map((levels) => {
            const drawing = new Drawing(model);
            levels.forEach((level) => drawing.read(level));
            while (drawing.levels.length < 784) drawing.draw(0);
            return [drawing.levels, shades(drawing.levels.map((level) => level / 255))];
          });
        }""",
        [drawn[:392].tolist(), shown[:392].tolist()],
    )
    same = (torch.tensor(found[0][392:]) == drawn[392:]).double().mean().item()
    inked = (drawn[392:] > 0).double().mean().item()
    print(f"{same:.1%} of the pixels are those of PyTorch, {inked:.1%} have ink")
    assert found[0][:392] == drawn[:392].tolist() and inked > 0.02
    assert same > max(0.9, 1 - inked / 2), "float16 may part the two where two levels are almost equally likely"
    page.get_by_role("slider", name="Temperature").press("Home")
    assert finished(page)[8] == "0" and told(page).endswith("the likeliest level is taken every time.")
    pictures = [way.inner_html() for way in page.locator(f"{PART} .way").all()]
    assert len(set(pictures)) == 1 and pictures[0].replace("></path>", "/>").startswith(of_shown[1])


@torch.inference_mode()
def test_the_text_and_the_maps_have_the_bits_of_pytorch(visit, model, digits):
    levels = digits[0][digits[1].tolist().index(OPENS_WITH)][None]
    page = opened(visit)
    page.evaluate(
        """() => {
          const start = PixelGenerator.prototype.start;
          window.told = [];
          PixelGenerator.prototype.start = function (label) {
            window.told.push(label);
            return start.call(this, label);
          };
        }"""
    )
    for label in (None, 8):
        if label is not None:
            page.get_by_role("combobox", name="Class").select_option(str(label))
        said = finished(page)
        assert said[1] == "14" and said[3] == "14" and said[5] == (None if label is None else str(label))
        bits = model.bits(levels, None if label is None else torch.tensor([label]))[0, :392]
        assert abs(int(said[2]) - bits.sum()) < 0.6 + 0.001 * bits.sum()
        counts = [count.inner_text() for count in page.locator(f"{PART} .ways .count").all()]
        assert counts == [f"{cost} bits" for cost in said.groups()[-4:]] and len(set(counts)) > 1
        for i in (1, 2, 3, 4):
            shown = above(pixels(page, f".ways > div:nth-child({i}) .surprise"), 14)
            expected = (bits / 8).clamp(max=1).reshape(14, 28)
            assert all(abs(shown.get((y, x), 0) - expected[y, x]) < 0.04 for y in range(14) for x in range(28))
    assert page.evaluate("window.told") == [8], "what the model is told"


# --------------------------------------------------------------------------------------------- what a reader does


def test_the_same_seeds_give_the_same_digits(visit):
    page = opened(visit)
    first, said = ways(page), finished(page)
    assert said.group(6, 7) == ("1", "4") and len({str(way) for way in first}) == 4
    page.get_by_role("button", name="Again").click()
    again = finished(page)
    assert again.group(6, 7) == ("5", "8") and again[2] == said[2]
    assert not [way for way in ways(page) if way in first]
    page = opened(visit)
    assert ways(page) == first and finished(page)[0] == said[0]
    temperature = page.get_by_role("slider", name="Temperature")
    temperature.fill("0.5")
    finished(page)
    assert ways(page) != first
    temperature.fill("1")
    finished(page)
    assert ways(page) == first
    assert visit.trouble == []


def test_rows_and_digits_are_chosen(visit, digits):
    page = opened(visit)
    rows = page.get_by_role("slider", name="Rows given")
    rows.focus()
    rows.press("ArrowRight")
    assert finished(page).group(1, 3) == ("15", "13")
    rows.press("Home")
    assert finished(page).group(1, 4) == (None, "28")
    assert len({str(way) for way in ways(page)}) == 4
    page.get_by_role("combobox", name="Top of").select_option(label="a 7")
    rows.press("End")
    assert finished(page).group(1, 3) == ("27", "1")
    levels = digits[0][digits[1].tolist().index(7)].reshape(28, 28)
    for way in [*ways(page), above(pixels(page, ".desk"), 27)]:
        expected = {(y, x): levels[y, x].item() / 255 for y, x in levels[:27].nonzero().tolist() if levels[y, x] > 4}
        assert above(way, 27).keys() >= expected.keys()
        assert all(abs(way[place] - ink) < 0.02 for place, ink in expected.items())
    assert visit.trouble == []


BAR = [(0.28, 0.25), (0.7, 0.25), (0.6, 0.45), (0.52, 0.6)]  # the top of a 7, in a square with sides of 1


def box_of(page):
    square = page.get_by_role("application", name="Draw the top of a digit here")
    # Not to the window's top, where the site's own bar covers it.
    square.evaluate("(e) => e.scrollIntoView({ block: 'center', behavior: 'instant' })")
    return square.bounding_box()


def check_drawn(page, least):
    """What was drawn, but for its lower end, is what all four go on from. Returns how many rows were given."""
    said = finished(page)
    rows = int(said[1])
    ink = pixels(page, ".desk")
    assert rows == max(y for (y, _), shade in ink.items() if shade > 0.31) - 1 >= least
    assert len(above(ink, rows)) > 15
    for way in ways(page):
        assert above(way, rows) == above(ink, rows)
    assert page.get_by_role("slider", name="Rows given").input_value() == str(rows)
    assert page.get_by_role("combobox", name="Top of").input_value() == ""
    return rows


def test_with_the_mouse(visit):
    page = opened(visit)
    box = box_of(page)
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in BAR]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:3]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()
    assert "Draw the top of a digit" in told(page) and ways(page) == [{}] * 4, "the test digit is gone"
    assert check_drawn(page, 8) < 14
    # A second stroke belongs to the same digit; what is asked for is given, and no more.
    page.mouse.move(*places[2])
    page.mouse.down()
    page.mouse.move(*places[3], steps=6)
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.85, steps=6)
    page.mouse.up()
    page.wait_for_function(f"/^14 rows/.test(document.querySelector('{PART} .told').textContent)")
    page.get_by_role("button", name="Clear").click()
    assert pixels(page, ".desk") == {} and ways(page) == [{}] * 4
    page.get_by_role("button", name="Again").click()
    assert finished(page)[4] == "28", "of an empty square nothing is given"
    assert visit.trouble == []


def test_with_the_keyboard(visit):
    page = opened(visit)
    square = page.get_by_role("application", name="Draw the top of a digit here")
    square.focus()
    help_id = square.get_attribute("aria-describedby")
    assert "Enter finishes the digit" in page.locator(f"#{help_id}").inner_text()
    to_the_left, bar, down = ["ArrowUp"] * 7 + ["ArrowLeft"] * 6, ["ArrowRight"] * 12, ["ArrowDown", "ArrowLeft"] * 5
    for key in [*to_the_left, " ", *bar, *down, "Enter"]:
        page.keyboard.press(key)
    check_drawn(page, 8)
    page.keyboard.press("Delete")
    assert pixels(page, ".desk") == {} and told(page) == "Draw the top of a digit, or pick one."
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('label').textContent").startswith("Top of")
    assert visit.trouble == []


def test_with_a_finger(visitor):
    visit = visitor(width=390, height=844, has_touch=True, is_mobile=True)
    page = opened(visit)
    box, scrolled = box_of(page), page.evaluate("scrollY")
    session = visit.context.new_cdp_session(page)

    def touch(kind, *places):
        points = [{"x": box["x"] + box["width"] * x, "y": box["y"] + box["height"] * y} for x, y in places]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    (x0, y0), (x1, y1) = (0.66, 0.18), (0.58, 0.45)  # a way on which it would scroll a page
    touch("touchStart", (x0, y0))
    for part in (0.2, 0.4, 0.6, 0.8, 1):
        touch("touchMove", (x0 + part * (x1 - x0), y0 + part * (y1 - y0)))
    touch("touchEnd")
    check_drawn(page, 8)
    assert page.evaluate("scrollY") == scrolled, "the page keeps still under the finger"
    assert visit.trouble == []


# --------------------------------------------------------------------------------------- speed, size, looks


def test_it_draws_200_pixels_a_second_of_four_digits_together(visit):
    """The best of some tries: other things may run."""
    page = opened(visit)
    seconds = page.evaluate(
        """() => {
          const model = new PixelGenerator(window.GENERATOR);
          const drawings = [1, 2, 3, 4].map(() => new Drawing(model));
          const random = chance(1);
          return Array.from({ length: 5 }, () => {
            const began = performance.now();
            for (let i = 0; i < 100; i++) drawings.forEach((drawing) => drawing.draw(1, random));
            return (performance.now() - began) / 1000;
          });
        }"""
    )
    best, worst = 4 * 100 / min(seconds), 4 * 100 / max(seconds)
    print(f"computed: {best:.0f} pixels a second, those of four digits counted together, {worst:.0f} at worst")
    assert best > 200
    shown = []
    for _ in range(4):
        began = time.monotonic()
        page.get_by_role("button", name="Again").click()
        finished(page)
        shown.append(time.monotonic() - began)
    print(f"shown: {4 * 392 / min(shown):.0f} pixels a second, after 392 were read")
    assert 4 * 392 / min(shown) > 200


def test_the_page_stays_awake_while_it_draws(visit):
    page = opened(visit)
    gaps = page.evaluate(
        """() => new Promise((resolve) => {
          const told = document.querySelector('.explorable[data-name="finish"] .told');
          [...document.querySelectorAll("button")].find((one) => one.textContent === "Again").click();
          const gaps = [];
          let last = performance.now();
          const frame = (now) => {
            gaps.push(now - last);
            last = now;
            if (gaps.length > 10 && /cost/.test(told.textContent)) resolve(gaps);
            else requestAnimationFrame(frame);
          };
          requestAnimationFrame(frame);
        })"""
    )
    typical = sorted(gaps)[len(gaps) // 2]
    print(f"{len(gaps)} frames, {typical:.0f} ms from one to the next (median), {max(gaps):.0f} at most")
    assert len(gaps) > 20 and typical < 100


def test_scripts_and_weights_are_small_and_come_when_they_are_needed(visitor, site):
    files = [*explorables.scripts(ONE["page"]), "generator.js", "digits.js"]
    sizes = {file: (site / "_static" / file).stat().st_size for file in files}
    print(f"{sum(sizes.values()) / 1e6:.2f} MB, of which weights {sizes['generator.js'] / 1e6:.2f}")
    assert sum(sizes.values()) < 1.5e6
    visit = visitor(height=400)
    asked = []
    visit.page.on("request", lambda request: asked.append(request.url))
    visit.page.route("**/generator.js*", lambda route: route.abort())
    page = visit.open(ONE["page"])
    page.wait_for_load_state("networkidle")
    assert not any("generator.js" in url for url in asked)
    still = page.locator(f"{PART} .picture").inner_html()
    page.locator(f"{PART} .picture").scroll_into_view_if_needed()
    page.wait_for_function(f"/could not be loaded/.test(document.querySelector('{PART} .told').textContent)")
    assert told(page) == "generator.js could not be loaded."
    assert page.locator(f"{PART} .picture").inner_html() == still, "without the model the picture stays"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_looks_right(visitor, width, scheme):
    visit = visitor(width=width, height=844, color_scheme=scheme)
    page = opened(visit)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    around = page.locator(PART).bounding_box()
    for part in (".desk svg", ".desk .controls", ".ways", ".told"):
        box = page.locator(f"{PART} {part}").first.bounding_box()
        assert box["x"] >= around["x"] and box["x"] + box["width"] <= around["x"] + around["width"]
    sides = [box.bounding_box() for box in page.locator(f"{PART} svg").all()]
    assert len(sides) == 9 and all(abs(box["width"] - box["height"]) < 1 and box["width"] > 60 for box in sides)
    body, line, text = (
        page.evaluate("([e, what]) => getComputedStyle(document.querySelector(e))[what]", [element, what])
        for element, what in [("body", "backgroundColor"), (f"{PART} .line", "fill"), (f"{PART} .way", "fill")]
    )
    shades = [sum(map(int, re.findall(r"\d+", color)[:3])) / 765 for color in (body, text)]
    assert (shades[0] < 0.2 < 0.7 < shades[1]) if scheme == "dark" else (shades[0] > 0.9 and shades[1] < 0.2)
    assert line == ("rgb(233, 138, 60)" if scheme == "dark" else "rgb(213, 94, 0)")
    page.add_script_tag(path=ROOT / "tests" / "website" / "axe" / "axe.min.js")
    found = page.evaluate("axe.run('.explorable')")
    assert [f"{p['id']}: {n['html'][:150]}" for p in found["violations"] for n in p["nodes"]] == []
    assert visit.trouble == []


def test_where_motion_is_reduced_the_digits_are_shown_when_they_are_finished(visitor):
    page = opened(visitor(reduced_motion="reduce"))
    before = page.locator(f"{PART} .picture").inner_html()
    page.evaluate(
        """() => {
          window.seen = new Set();
          const picture = document.querySelector('.explorable[data-name="finish"] .picture');
          new MutationObserver(() => window.seen.add(picture.innerHTML)).observe(picture, { childList: true });
        }"""
    )
    page.get_by_role("button", name="Again").click()
    finished(page)
    after = page.locator(f"{PART} .picture").inner_html()
    assert page.evaluate("[...window.seen]") == [after] and after != before
