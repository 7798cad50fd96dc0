"""What can be played with, in a real browser: it draws, obeys mouse and keyboard, and without scripts is a picture."""

import re

import about
import explorables
import nbformat
import pytest
import reading
from repository import NOTEBOOKS, ROOT

ALL = {one["name"]: one for one in about.listed("explorables")}
PAGES = {path.stem: path for path in NOTEBOOKS}
slow = pytest.mark.slow


def part(name, inside=""):
    return f'.explorable[data-name="{name}"] {inside}'


def told(page, name):
    return page.locator(part(name, ".told")).inner_text()


@pytest.mark.parametrize("one", [one for one in ALL.values() if one["page"] != "index"], ids=lambda one: one["name"])
def test_an_explorable_finds_its_place(one):
    notebook = nbformat.read(PAGES[one["page"]], as_version=4)
    assert explorables.find(notebook, one["after"]) is not None, f"no figure or heading {one['after']!r}"


def test_a_page_that_lost_the_place_still_gets_its_explorable(monkeypatch, capsys):
    figure = nbformat.v4.new_code_cell("draw()", metadata={"mystnb": {"figure": {"name": "a", "caption": "A digit."}}})
    one = {**ALL["scan"], "page": "some", "after": "gone"}
    monkeypatch.setattr(about, "listed", lambda what: [one])
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A\n\n## B c"), figure])
    explorables.insert(notebook, "some")
    assert [cell.id for cell in notebook.cells][2] == "explorable-scan" and "'gone'" in capsys.readouterr().err
    assert [explorables.find(notebook, name) for name in ("B", "a", "A dig", "x")] == [0, 1, 1, None]


@slow
@pytest.mark.parametrize("one", ALL.values(), ids=ALL)
def test_without_scripts_there_is_the_picture_that_the_script_draws(visitor, one):
    """It was made by ``python website/stills.py``, and has to be made again after a change of the script."""
    still, live = visitor(java_script_enabled=False), visitor(reduced_motion="reduce")
    page = still.open(one["page"])
    assert page.locator(part(one["name"], "svg")).first.bounding_box()["width"] > 100
    assert page.locator(part(one["name"], ":is(button, input, select)")).count() == 0
    assert len(told(page, one["name"])) > 30
    page = live.open(one["page"])
    page.locator(part(one["name"], ".picture")).scroll_into_view_if_needed()
    if one["name"] == "reading":
        page.get_by_role("button", name="Read it").click()
        page.wait_for_function("document.querySelector('.count').textContent === 'pixel 784 of 784'")
    page.wait_for_selector(f'.explorable[data-name="{one["name"]}"][data-ready]')
    drawn = page.locator(part(one["name"], ".picture")).inner_html()
    kept = (explorables.STILLS / f"{one['name']}.html").read_text(encoding="utf-8")
    assert f'<div class="picture">{drawn}</div>' in kept and f">{told(page, one['name'])}</p>" in kept
    assert live.trouble == []


@slow
def test_the_front_page_reads_once_and_can_be_paused(visit):
    page = visit.open("index")
    page.wait_for_function("/pixel [1-9]/.test(document.querySelector('.count').textContent)")
    first = page.locator(part("reading", ".bars")).inner_html()
    page.wait_for_function("/pixel [3-9]\\d\\d/.test(document.querySelector('.count').textContent)")
    assert page.locator(part("reading", ".bars")).inner_html() != first
    page.get_by_role("button", name="Pause").click()
    before = told(page, "reading")
    page.wait_for_timeout(300)
    assert told(page, "reading") == before and re.match(
        r"After \d{3} of 784 pixels it answers \d, with \d+ %\.", before
    )
    page.get_by_role("button", name="Go on").press("Enter")
    page.wait_for_selector('.explorable[data-ready] button:text("Read it again")')
    assert told(page, "reading").startswith("After 784 of 784 pixels it answers 2, with ")
    page.wait_for_timeout(300)
    assert page.locator(part("reading", ".count")).first.inner_text() == "pixel 784 of 784", "once, and then no more"
    page.get_by_role("button", name="Another digit").click()
    page.wait_for_selector('button:text("Pause")')
    assert visit.trouble == []


@slow
def test_the_front_page_keeps_still_where_motion_is_reduced(visitor):
    visit = visitor(reduced_motion="reduce")
    asked = []
    visit.page.on("request", lambda request: asked.append(request.url))
    page = visit.open("index")
    page.wait_for_load_state("networkidle")
    assert page.locator(part("reading", ".count")).first.inner_text() == "pixel 784 of 784"
    assert not any("weights.js" in url for url in asked)
    page.get_by_role("button", name="Another digit").click()
    page.wait_for_selector('.explorable[data-ready] button:text("Read it again")')
    assert visit.trouble == []


@slow
def test_the_digit_that_is_read_is_the_one_of_the_moving_picture():
    chosen, _, _ = reading.changing_digit()
    for name in ("reading.js", "try.js"):
        text = (ROOT / "website" / "_static" / name).read_text(encoding="utf-8")
        assert re.search(r"const FIRST = (\d+);", text)[1] == str(chosen)


@slow
def test_one_cursor_for_the_digit_and_its_signal(visit):
    page = visit.open(ALL["signal"]["page"])

    def over(which, x, y):
        page.locator(part("signal", f'[data-part="{which}"]')).scroll_into_view_if_needed()
        box = page.locator(part("signal", f'[data-part="{which}"]')).bounding_box()
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
        return told(page, "signal")

    assert over("digit", 10.5 / 28, 3.5 / 28).startswith("Step 95 of 784: row 4, column 11, 0 % ink. The pixel above")
    assert page.locator(part("signal", ".signal .now")).get_attribute("d").startswith("M94.5 ")
    assert over("signal", 300.5 / 784, 0.5).startswith("Step 301 of 784: row 11, column 21, ")
    cursor = page.locator(part("signal", ".digit .cursor"))
    assert (cursor.get_attribute("x"), cursor.get_attribute("y")) == ("20", "10")
    step = page.get_by_role("slider", name="Step")
    step.focus()
    for key, place in [("ArrowRight", 302), ("ArrowDown", 330), ("ArrowUp", 302), ("ArrowLeft", 301), ("Home", 1)]:
        step.press(key)
        assert told(page, "signal").startswith(f"Step {place} of 784")
    assert "above" not in told(page, "signal"), "the first row has none above it"
    before = page.locator(part("signal", ".ink")).get_attribute("d")
    page.get_by_role("combobox", name="Test digit").select_option(label="1")
    assert page.locator(part("signal", ".ink")).get_attribute("d") != before
    assert visit.trouble == []


@slow
def test_the_scan_round_by_round(visit):
    page = visit.open(ALL["scan"]["page"])
    back, forth = (page.get_by_role("button", name=name, exact=True) for name in ("Back", "Next round"))

    def reach():
        return told(page, "scan").split(". ")[1]

    for reached in (4, 8):
        forth.press("Enter")
        assert reach() == f"{reached} of 8 reach back to the start"
    assert forth.is_disabled() and "Joins so far: 17 of 17" in told(page, "scan")
    for _ in range(3):
        back.click()
    assert back.is_disabled() and told(page, "scan").startswith("Before the first round")
    for elements, rounds, joins in (("8", 5, 11), ("16", 7, 26)):
        page.get_by_role("combobox", name="Elements").select_option(elements)
        page.get_by_role("combobox", name="Scheme").select_option("tree")
        while forth.is_enabled():
            forth.click()
        assert told(page, "scan").startswith(f"Round {rounds} of {rounds}: ")
        assert reach() == f"{elements} of {elements} reach back to the start"
        assert f"Joins so far: {joins} of {joins}" in told(page, "scan")
    assert visit.trouble == []


@slow
def test_every_join_of_the_scan_is_of_neighbors(visit):
    """What is joined must be two stretches, one right behind the other: else it would not be this scan."""
    page = visit.open(ALL["scan"]["page"])
    for scheme in ("doubling", "tree"):
        page.get_by_role("combobox", name="Scheme").select_option(scheme)
        forth = page.get_by_role("button", name="Next round")
        stretches = {i: (i, i) for i in range(8)}
        while True:
            lines = [line.get_attribute("d") for line in page.locator(part("scan", ".now path")).all()]
            ends = [[float(number) for number in re.findall(r"[ML]([\d.]+)", line)] for line in lines]
            joins = [[round((x - 4) / 49.5 - 0.5) for x in pair] for pair in ends]
            before = dict(stretches)
            for start, end in joins:
                assert before[start][1] + 1 == before[end][0]
                stretches[end] = (before[start][0], before[end][1])
            if not forth.is_enabled():
                break
            forth.click()
        assert stretches == {i: (0, i) for i in range(8)}


@slow
def test_the_mask_in_blocks(visit):
    page = visit.open(ALL["mask"]["page"])
    chunk, decay = page.get_by_role("slider", name="Positions in a chunk"), page.get_by_role("slider", name="Decay")
    for which, size in enumerate([1, 2, 3, 4, 6, 8, 12, 24]):
        chunk.fill(str(which))
        chunks = 24 // size
        assert page.locator(part("mask", "rect.attention")).count() == chunks * size * (size + 1) // 2
        assert page.locator(part("mask", "rect.state")).count() == 300 - chunks * size * (size + 1) // 2
        inside, state = 24 * size * 16, (chunks - 1) * (2 * size * 64 + 64)
        assert f" of {size}: {inside + state:,} multiplications, {inside:,} of them" in told(page, "mask")
    decay.focus()
    decay.press("Home")
    assert {e.get_attribute("fill-opacity") for e in page.locator(part("mask", "rect.attention")).all()} == {"1.00"}
    chunk.press("ArrowLeft")
    assert told(page, "mask").startswith("2 chunks of 12: ")
    assert visit.trouble == []


@slow
def test_the_impulse_response(visit):
    page = visit.open(ALL["impulse"]["page"])
    assert "Ā = exp(ΔA) = 0.821 + 0.323 i, of size 0.882. Half is forgotten after 5.5 steps" in told(page, "impulse")
    shown = page.locator(part("impulse", ".picture")).inner_html()
    turn = page.get_by_role("slider", name="Turning")
    turn.focus()
    turn.press("Home")
    assert told(page, "impulse").startswith(
        "Δ = 0.25, A = −0.5: Ā = exp(ΔA) = 0.882. Half is forgotten after 5.5 steps."
    )
    assert page.locator(part("impulse", ".picture")).inner_html() != shown
    page.get_by_role("slider", name="Decay").fill("0")
    assert "Nothing is forgotten." in told(page, "impulse")
    page.get_by_role("slider", name="Step size").press("ArrowRight")
    assert told(page, "impulse").startswith("Δ = 0.28, A = 0: ")
    assert visit.trouble == []


@slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("one", ALL.values(), ids=ALL)
def test_accessible_and_whole_on_a_phone(visitor, one, scheme):
    page = visitor(width=390, height=844, color_scheme=scheme, reduced_motion="reduce").open(one["page"])
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    box = page.locator(part(one["name"], ".picture")).bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    page.add_script_tag(path=ROOT / "tests" / "website" / "axe" / "axe.min.js")
    found = page.evaluate("axe.run('.explorable')")
    assert [
        f"{p['id']}: {n['html'][:150]} {n['failureSummary']}" for p in found["violations"] for n in p["nodes"]
    ] == []
    assert len(found["passes"]) > 5
