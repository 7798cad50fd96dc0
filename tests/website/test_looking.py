"""What a pixel looks back at, in a real browser: its numbers are PyTorch's, and mouse, finger and keyboard move it."""

import re

import about
import pytest
import torch

from helpers import mnist, models

pytestmark = pytest.mark.slow

ONE = next(one for one in about.listed("explorables") if one["name"] == "looking")
PART = '.explorable[data-name="looking"]'
DIGIT = 1  # the first 2 of the test set, with which it opens


@pytest.fixture(scope="module")
def chosen():
    """What each layer chose at each position of the digit, in float64, and what its block makes of them."""
    model = models.load_checkpoint("smnist").double()
    pixels = mnist.sequences(mnist.load(train=False))[0][DIGIT : DIGIT + 1].double()
    found = []

    def keep(block, inputs, output):
        state, rows = block.initial_state(1), []
        for x in inputs[0].unbind(1):  # as `step` of the block does it
            conv_state, _, position = state
            window = torch.cat([conv_state, block._project(x)[0].unsqueeze(-1)], -1)
            u = torch.nn.functional.silu((window * block.conv1d.weight.squeeze(1)).sum(-1) + block.conv1d.bias)
            dt, B, C = block._select(u, position)
            gate = torch.nn.functional.silu(block._project(x)[1])
            rows.append([part[0].double() for part in (u, block._step_sizes(dt), B, C, gate)])
            state = state._replace(conv_state=window[..., 1:], position=position + 1)
        found.append((block, output[0], [torch.stack(part) for part in zip(*rows, strict=True)]))

    hooks = [block.register_forward_hook(keep) for block in model.blocks]
    with torch.inference_mode():
        model(pixels)
    for hook in hooks:
        hook.remove()
    return found


@torch.inference_mode()
def looks(block, parts, place):
    """The scan, with what each pixel wrote kept apart from what the others wrote.

    Returns the vectors that ``place`` reads of each pixel, the vectors that each pixel reads of ``place``, and the
    share of the state's numbers that hold at least half of what ``place`` wrote.
    """
    u, delta, B, C, gate = parts
    A, W = block._A().double(), block.out_proj.weight.double()
    h = torch.zeros(len(u), *A.shape, dtype=torch.float64)  # (written at, d_inner, d_state)
    read, held = torch.zeros(len(u), len(W), dtype=torch.float64), torch.zeros(len(u), dtype=torch.float64)
    left = torch.ones_like(A)
    for t in range(len(u)):
        h[: t + 1] *= torch.exp(delta[t].unsqueeze(-1) * A)
        h[t] = (delta[t] * u[t]).unsqueeze(-1) * B[t]
        if t == place:
            row = (h @ C[t] * gate[t]) @ W.T
        if t > place:
            left *= torch.exp(delta[t].unsqueeze(-1) * A)
            read[t] = (h[place] @ C[t] * gate[t]) @ W.T
        if t >= place:
            held[t] = (left >= 0.5).double().mean()
    return row, read, held


def shares(vectors):
    lengths = vectors.norm(dim=-1)
    return lengths / lengths.sum()


@torch.inference_mode()
def test_what_is_kept_apart_adds_up_to_what_the_block_says(chosen):
    for block, output, parts in chosen:
        for place in (0, 406):
            row, _, _ = looks(block, parts, place)
            u, gate = parts[0][place], parts[-1][place]
            whole = row.sum(0) + block.out_proj.weight.double() @ (gate * block.D.double() * u)
            assert (whole - output[place]).abs().max() < 1e-4 * output[place].abs().max()


def opened(visit):
    page = visit.open(ONE["page"])
    page.locator(PART).scroll_into_view_if_needed()
    page.wait_for_selector(f"{PART}[data-ready]")
    return page


def told(page):
    return page.locator(f"{PART} .told").inner_text()


def marked(page):
    """The row and the column, from 0, that the picture marks; the text says the same."""
    mark = page.locator(f"{PART} .mark")
    place = int(mark.get_attribute("y")), int(mark.get_attribute("x"))
    assert f"Pixel {28 * place[0] + place[1] + 1} of 784 (row {place[0] + 1}, column {place[1] + 1})" in told(page)
    return place


def test_the_page_computes_what_pytorch_computes(visit, chosen):
    page = opened(visit)
    for layer, (block, _, parts) in enumerate(chosen):
        for place in (0, 239, 406, 570, 783):
            found = page.evaluate(
                """([digit, layer, place]) => {
                  const inside = new Inside(new PixelClassifier(window.SMNIST), testDigit(digit));
                  while (inside.length < 784) inside.read();
                  const { looks, held } = inside.ahead(layer, place);
                  return [inside.back(layer, place), looks, held].map((part) => Array.from(part));
                }""",
                [DIGIT, layer, place],
            )
            row, read, held = looks(block, parts, place)
            back, later, kept = torch.tensor(found, dtype=torch.float64)
            assert (back - shares(row)).abs().max() < 1e-3 * shares(row).max()
            assert (kept - held).abs().max() < 2.5 / block._A().numel(), "two numbers may be on the border"
            if place < 783:
                assert (later - shares(read)).abs().max() < 1e-3 * shares(read).max()
            else:
                assert later.abs().max() == 0, "nothing comes after the last one"
    assert visit.trouble == []


def expected(place, layer, chosen):
    """What the text says: how far half of the look reaches, percent on the row above, and the half-life."""
    block, _, parts = chosen[layer]
    row, _, held = looks(block, parts, place)
    back, start = shares(row), place // 28 * 28
    near = (back[: place + 1].flip(0).cumsum(0) < 0.5).sum().item()
    life = (held[place:] > 0.5).sum().item()
    return near, 100 * back[start - 28 : start].sum().item(), life


def test_the_words_are_those_of_the_numbers(visit, chosen):
    page = opened(visit)
    layers = page.get_by_role("combobox", name="Layer")
    assert layers.locator("option").all_inner_texts() == [str(i + 1) for i in range(len(chosen))]
    for layer, place in [(0, 392), (1, 406), (len(chosen) - 1, 240)]:
        layers.select_option(label=str(layer + 1))
        page.get_by_role("slider", name="Pixel").fill(str(place + 1))
        said = re.search(
            r"layer (\d): half of its look back lies within (\d+) pixels, (\d+) % in the row above\. "
            r"The state holds what it writes here for (\d+) pixels \(median half-life of its ([\d,]+) numbers\)\.",
            told(page),
        )
        near, above, life = expected(place, layer, chosen)
        assert marked(page) == divmod(place, 28) and int(said[1]) == layer + 1
        assert abs(int(said[2]) - near) <= 1 and abs(int(said[3]) - above) <= 0.6 and abs(int(said[4]) - life) <= 1
        assert int(said[5].replace(",", "")) == chosen[layer][0]._A().numel()
    page.get_by_role("slider", name="Pixel").fill("1")
    assert "half of its look back is at itself. The state" in told(page)
    page.get_by_role("slider", name="Pixel").fill("784")
    assert told(page).endswith("The state holds what it writes here to the end of the digit.")
    assert visit.trouble == []


def colored(page, kind):
    """The places of the squares that are colored."""
    paths = [path.get_attribute("d") for path in page.locator(f"{PART} g.{kind} path").all()]
    return {int(x) + 28 * int(y) for path in paths for x, y in re.findall(r"M(\d+) (\d+)", path)}


def test_the_pixel_follows_mouse_and_keyboard(visit):
    page = opened(visit)
    digit = page.locator(f"{PART} .digit")
    box = digit.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 20.5 / 28, box["y"] + box["height"] * 9.5 / 28)
    assert marked(page) == (9, 20)
    place = 28 * 9 + 20
    assert max(colored(page, "back")) == place and min(colored(page, "later")) > place
    digit.click(position={"x": box["width"] * 5.5 / 28, "y": box["height"] * 12.5 / 28})
    assert marked(page) == (12, 5)
    moves = [("ArrowRight", (12, 6)), ("ArrowDown", (13, 6)), ("ArrowLeft", (13, 5)), ("ArrowUp", (12, 5))]
    for key, where in [*moves, ("Home", (0, 0)), ("ArrowUp", (0, 0)), ("End", (27, 27)), ("ArrowDown", (27, 27))]:
        page.keyboard.press(key)  # the click has put the focus on the slider
        assert marked(page) == where
    slider = page.get_by_role("slider", name="Pixel")
    assert slider.get_attribute("aria-valuetext") == told(page)
    slider.fill("407")
    before = page.locator(f"{PART} .picture").inner_html()
    page.get_by_role("combobox", name="Layer").select_option(label="2")
    assert page.locator(f"{PART} .picture").inner_html() != before
    ink = page.locator(f"{PART} .ink").inner_html()
    page.get_by_role("combobox", name="Test digit").select_option("5")
    page.wait_for_function("(ink) => document.querySelector('.looking .ink').innerHTML !== ink", arg=ink)
    assert marked(page) == (14, 14) and "layer 2" in told(page)
    assert visit.trouble == []


def test_the_pixel_follows_a_finger(visitor):
    visit = visitor(width=390, height=844, has_touch=True, is_mobile=True)
    page = opened(visit)
    page.locator(f"{PART} .digit").scroll_into_view_if_needed()
    box = page.locator(f"{PART} .digit").bounding_box()
    assert box["x"] > 30 and box["x"] + box["width"] < 360, "room at both sides, where a finger scrolls the page"
    scrolled = page.evaluate("scrollY")
    session = visit.context.new_cdp_session(page)

    def touch(kind, *places):
        points = [
            {"x": box["x"] + box["width"] * (x + 0.5) / 28, "y": box["y"] + box["height"] * (y + 0.5) / 28}
            for y, x in places
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (20, 14))
    assert marked(page) == (20, 14)
    for row in range(19, 4, -1):
        touch("touchMove", (row, 14))
        page.wait_for_function(f"document.querySelector('.looking .mark').getAttribute('y') === '{row}'")
    touch("touchEnd")
    assert marked(page) == (5, 14) and page.evaluate("scrollY") == scrolled
    assert visit.trouble == []


def test_it_keeps_up_with_the_pointer(visit):
    page = opened(visit)
    times = page.evaluate(
        """() => {
          const pixel = document.querySelector('.explorable[data-name="looking"] input');
          return Array.from({ length: 40 }, (_, i) => {
            const began = performance.now();
            pixel.value = 1 + ((i * 131) % 784);
            pixel.dispatchEvent(new Event("input"));
            pixel.getBoundingClientRect();
            return performance.now() - began;
          });
        }"""
    )
    print(f"a move takes {sorted(times)[20]:.0f} ms (median), {min(times):.0f} at best")
    assert min(times) < 150, "15 on a quiet machine; other programs may run"


def test_the_model_comes_when_it_is_looked_at_and_without_it_the_picture_stays(visitor):
    visit = visitor(height=400)
    asked = []
    visit.page.on("request", lambda request: asked.append(request.url))
    visit.page.route("**/weights.js*", lambda route: route.abort())
    page = visit.open(ONE["page"])
    page.wait_for_load_state("networkidle")
    assert not any("weights.js" in url for url in asked)
    still = page.locator(f"{PART} .picture").inner_html()
    page.locator(PART).scroll_into_view_if_needed()
    page.wait_for_function(f"document.querySelector('{PART} .told').textContent === 'weights.js could not be loaded.'")
    assert page.locator(f"{PART} .picture").inner_html() == still
    page.get_by_role("slider", name="Pixel").fill("3")
