"""The pages, in a real browser: what a reader sees, clicks and draws.

They are built once, with every warning an error. Where no Chromium is found the tests are skipped, and fail where the
variable CI is set. ``axe/axe.min.js`` is axe-core 4.14.1, unchanged, under the Mozilla Public License 2.0 beside it.
"""

import functools
import gzip
import html
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import nbformat
import pytest
import torch

from colab import links
from helpers import mnist, models

playwright = pytest.importorskip("playwright.sync_api")

ROOT = Path(__file__).parent.parent
NOTEBOOKS = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
OTHERS = ["index", "try", "glossary", "references", "helpers/index", "helpers/helpers.scan", "helpers/helpers.models"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)
QUIET = ["disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update"]
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The pages of the committed notebooks, in a fresh folder, and how many seconds of computing that took."""
    output = tmp_path_factory.mktemp("pages") / "site"
    command = [sys.executable, "site/build.py", "--strict", "--output", str(output)]
    before = os.times()
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    after = os.times()
    assert run.returncode == 0, run.stdout + run.stderr
    assert str(output / "index.html") in run.stdout, "names the page to open"
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return output, used


@pytest.fixture(scope="session")
def site(built):
    return built[0]


class Handler(http.server.SimpleHTTPRequestHandler):
    """As GitHub serves pages: compressed, and with 404.html for what is not there."""

    def log_message(self, *_):
        pass

    def send_error(self, code, *_):
        body = Path(self.directory, "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="session")
def address(site):
    server = http.server.ThreadingHTTPServer(("localhost", 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    found = next(filter(None, [*map(shutil.which, NAMES), *filter(os.path.exists, PLACES)]), None)
    if found is None:
        where = f"no browser: none of {', '.join(NAMES)} is installed, so the pages are not looked at"
        pytest.fail(where) if os.environ.get("CI") else pytest.skip(where)
    with playwright.sync_playwright() as driver:
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        switches = [f"--{name}" for name in [*QUIET, "disable-sync", *(["no-sandbox"] if root else [])]]
        browser = driver.chromium.launch(executable_path=found, args=switches)
        yield browser
        browser.close()


class Visit:
    """A page in a browser, and all that went wrong on it."""

    def __init__(self, browser, home, **options):
        self.context = browser.new_context(**{"viewport": DESKTOP, **options})
        self.page = self.context.new_page()
        self.home, self.trouble = home, []
        self.page.set_default_timeout(60_000)
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.trouble.append(f"console: {m.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("requestfailed", lambda request: self.trouble.append(f"failed: {request.url}"))
        self.page.on("response", lambda r: r.status >= 400 and self.trouble.append(f"{r.status}: {r.url}"))
        self.page.on("request", self._external)

    def _external(self, request):
        if not request.url.startswith((self.home, "data:", "blob:")):
            self.trouble.append(f"external: {request.url}")

    def open(self, name):
        self.page.goto(f"{self.home}{name}.html")
        return self.page

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


@pytest.fixture
def visit(browser, address):
    with Visit(browser, address) as visit:
        yield visit


# ---------------------------------------------------------------------------------- files, without a browser


class Links(HTMLParser):
    """What a page leads to, the places on it that can be led to, and what it says to those who show a link to it."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors, self.preview = [], set(), {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        if attributes.get("property", "").startswith("og:"):
            self.preview[attributes["property"].removeprefix("og:")] = attributes["content"]
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


def test_every_internal_link_and_anchor_leads_somewhere(site):
    pages = {path.relative_to(site).as_posix(): Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    broken, followed = [], 0
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(urljoin(f"http://site/{name}", link))
            if parts.netloc != "site":
                continue
            followed += 1
            target = unquote(parts.path)[1:] or "index.html"
            if not (site / target).is_file():
                broken.append(f"{name}: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors | {"top"}:
                broken.append(f"{name}: no place {link}")
    assert not broken and followed > 1000


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_page_has_times_buttons_and_neighbours_and_no_set_up_cell(site, name):
    text = (site / f"{name}.html").read_text("utf-8")
    setting = links.setting()
    path = f"github/{setting['repository']}/blob/{setting['ref']}/notebooks/{name}.ipynb"
    assert f"https://colab.research.google.com/{path}" in text
    assert f"https://github.com/{path.removeprefix('github/')}" in text
    assert re.search(r"\d+ min to read</span><span>[\d.]+ (s|min) to run", text)
    assert "colab-badge" not in text and "GIT_TERMINAL_PROMPT" not in text
    assert 'class="prev-page"' in text and 'class="next-page"' in text
    assert "toc-tree" in text and "highlight" in text and "sphinx-codeautolink-a" in text


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_folded_answers_are_rendered(site, name):
    text = (site / f"{name}.html").read_text("utf-8")
    answers = re.findall(r"<details><summary>Answers</summary>(.*?)</details>", text, re.S)
    assert len(answers) == 1 and "<li>" in answers[0]
    assert "`" not in re.sub(r"<[^>]*>", "", answers[0]) and "$" not in answers[0]


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_figure_has_a_caption_and_an_alternative_text(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", ())):
            about = cell.metadata.get("mystnb", {})
            alternative = about.get("image", {}).get("alt", "")
            assert about.get("figure", {}).get("caption"), f"cell {cell.id}: no caption in the metadata"
            assert len(alternative) > 40, f"cell {cell.id}: no alternative text in the metadata"


def test_links_to_a_page_show_title_description_and_picture(site):
    for name in [*NOTEBOOKS, *OTHERS]:
        found = Links((site / f"{name}.html").read_text("utf-8")).preview
        assert found["title"] and len(found["description"]) > 40, name
        assert found["url"].endswith(f"/{name}.html")
        assert (site / "_static" / found["image"].rpartition("/")[2]).is_file()


def test_the_sitemap_lists_every_page(site):
    listed = re.findall(r"<loc>(.*?)</loc>", (site / "sitemap.xml").read_text("utf-8"))
    assert all(place.startswith("https://") for place in listed)
    base = min((place for place in listed if place.endswith("/index.html")), key=len).removesuffix("index.html")
    assert {f"{name}.html" for name in [*NOTEBOOKS, *OTHERS]} <= {place.removeprefix(base) for place in listed}
    assert all((site / place.removeprefix(base)).is_file() for place in listed)


def test_every_paper_that_is_named_stands_in_the_references(site):
    listed = (site / "references.html").read_text("utf-8")
    files = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "helpers").rglob("*.py"), ROOT / "README.md"]
    text = "".join(path.read_text("utf-8") for path in files)
    papers = set(re.findall(r"(?:arxiv\.org/abs/|arXiv )(\d{4}\.\d{5})|doi\.org/(10\.[\w./]+\w)", text))
    assert len(papers) > 6
    for arxiv, doi in papers:
        assert (arxiv or doi) in listed


def test_sizes_and_time(site, built):
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    assert size < 15e6
    assert (site / "_static" / "weights.js").stat().st_size < 2e6
    if not os.environ.get("CI"):
        assert built[1] < 60, "seconds of computing"


# ------------------------------------------------------------------------------------------- every page


@pytest.mark.parametrize("name", [*NOTEBOOKS, *OTHERS, "search"])
def test_a_page_is_whole_at_both_widths(visit, name):
    sizes = {}

    def count(response):
        if response.request.resource_type != "image":
            sizes[response.url] = len(gzip.compress(response.body(), 6))

    visit.page.on("response", count)
    page = visit.open(name)
    page.wait_for_load_state("networkidle")
    assert sum(sizes.values()) < 700_000, sizes
    for width in (DESKTOP, PHONE):
        page.set_viewport_size(width)
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], f"at {width['width']} pixels the page is {wide[0]} wide"
    assert page.evaluate(BEYOND) == [], "stands out of the page"
    assert page.evaluate(IMAGES) == []
    formulas = page.evaluate(FORMULAS)
    assert formulas["wrong"] == [] and (formulas["count"] > 2 or name not in WITH_MATH)
    assert visit.trouble == []


WITH_MATH = {"02_a_mamba_that_forgets", "03_state_space_models", "04_selective_scan", "05_the_mamba_block", "glossary"}

# Text whose right edge is out of the window, and not in something that can be scrolled by itself.
BEYOND = """() => [...document.querySelectorAll('article :is(p, li, h1, h2, img, td)')]
  .filter((e) => e.getClientRects().length && e.getBoundingClientRect().right > innerWidth + 1)
  .filter((e) => !e.closest('.table-wrapper, pre, div.math, .highlight'))
  .map((e) => e.outerHTML.slice(0, 100))"""

IMAGES = """() => [...document.querySelectorAll('article img')]
  .filter((e) => !e.alt || !e.complete || !e.naturalWidth || !e.getBoundingClientRect().width)
  .map((e) => e.outerHTML.slice(0, 200))"""

# A formula has a size, and none was left as it was typed.
FORMULAS = r"""() => {
  const folded = document.querySelectorAll('details');
  folded.forEach((e) => (e.open = true));
  const all = [...document.querySelectorAll('article math')];
  const bad = (e) => !e.getBoundingClientRect().width || e.querySelector('merror') || /\\|\$/.test(e.textContent);
  const wrong = all.filter(bad);
  const typed = document.createTreeWalker(document.querySelector('article'), NodeFilter.SHOW_TEXT);
  while (typed.nextNode()) {
    const place = typed.currentNode.parentElement;
    if (place.closest('pre, code, script, style')) continue;
    if (/\$[^$]+\$|\\(bar|Delta|frac)/.test(typed.currentNode.data)) wrong.push(place);
  }
  return { count: all.length, wrong: wrong.map((e) => e.outerHTML.slice(0, 200)) };
}"""


def test_every_character_of_the_formulas_is_in_the_font(site):
    from fontTools.ttLib import TTFont

    known = TTFont(site / "_static" / "stix-two-math.woff").getBestCmap()
    for path in site.glob("*.html"):
        for formula in re.findall(r"<math.*?</math>", path.read_text("utf-8"), re.S):
            text = html.unescape(re.sub(r"<mtext.*?</mtext>|<[^>]*>", "", formula))
            assert {c for c in text if ord(c) not in known and not c.isspace()} == set(), formula


@pytest.mark.parametrize("name", ["index", "03_state_space_models", "try"])
def test_a_page_opens_from_the_disk(browser, site, name):
    with Visit(browser, site.as_uri() + "/") as visit:
        page = visit.open(name)
        if name == "try":
            page.get_by_role("button", name="a 7").click()
            page.wait_for_selector("#try-read[data-answer]", timeout=30_000)
        assert visit.trouble == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "02_a_mamba_that_forgets", "try", "helpers/helpers.layers.mamba"])
def test_contrast_and_landmarks(browser, address, scheme, name):
    with Visit(browser, address, color_scheme=scheme) as visit:
        page = visit.open(name)
        page.evaluate("document.querySelectorAll('details').forEach((e) => (e.open = true))")
        if name == "try":
            page.get_by_role("button", name="a 7").click()
            page.wait_for_selector("#try-read[data-answer]", timeout=30_000)
        page.add_script_tag(path=ROOT / "tests" / "axe" / "axe.min.js")
        found = page.evaluate("axe.run()")
        told = [
            f"{problem['id']}: {node['html'][:150]} {node['failureSummary']}"
            for problem in found["violations"]
            for node in problem["nodes"][:3]
        ]
        assert told == []
        assert len(found["passes"]) > 15


def test_dark_theme_has_its_figures_on_white(browser, address):
    with Visit(browser, address, color_scheme="dark") as visit:
        page = visit.open("01_mnist_as_a_sequence")
        body, card = page.evaluate(
            "['body', 'article img'].map((e) => getComputedStyle(document.querySelector(e)).backgroundColor)"
        )
        assert sum(map(int, re.findall(r"\d+", body)[:3])) < 150 and card == "rgb(255, 255, 255)"


def test_an_address_that_leads_nowhere_shows_the_404_page(browser, address):
    with Visit(browser, address) as visit:
        response = visit.page.goto(f"{address}some/where/else.html")
        assert response.status == 404
        assert visit.page.get_by_role("link").get_attribute("href").startswith("https://")
        assert not [trouble for trouble in visit.trouble if "else.html" not in trouble and "404" not in trouble]


def test_code_can_be_copied_and_leads_to_the_reference(visit):
    page = visit.open("05_the_mamba_block")
    assert page.locator("button.copybtn").count() == page.locator("article div.highlight").count()
    page.locator("article").get_by_role("link", name="Mamba", exact=True).first.click()
    assert page.url.endswith("helpers/helpers.layers.mamba.html#helpers.layers.mamba.Mamba")
    source = page.locator("#helpers\\.mamba\\.Mamba a[href*=_modules]").first.get_attribute("href")
    page.goto(urljoin(page.url, source))
    assert "class Mamba" in page.locator("article").inner_text().replace("\xa0", " ")


def test_a_symbol_leads_to_the_glossary(visit):
    page = visit.open("04_selective_scan")
    assert page.locator("article a.symbol").count() > 5
    page.locator("article a.symbol", has_text="Δ").first.click()
    assert "/glossary.html#term-" in page.url


def test_search_finds_a_page(visit):
    page = visit.page
    page.goto(f"{visit.home}search.html?q=discretisation")
    page.wait_for_selector("#search-results li a")
    assert visit.trouble == []


# ----------------------------------------------------------------------------------------- the drawing page


def test_the_page_computes_what_pytorch_computes(visit):
    pixels = mnist.load(train=False).data[:100].flatten(1)
    with torch.inference_mode():
        expected = models.load_checkpoint("smnist")(mnist.sequences(mnist.load(train=False))[0][:100])
    page = visit.open("try")
    page.add_script_tag(url="_static/weights.js")
    found = page.evaluate(
        """(digits) => {
          const model = new PixelClassifier(window.SMNIST);
          return digits.map((digit) => {
            model.reset();
            let last = null;
            while (model.read < digit.length) last = model.step(digit[model.place] / 255);
            return Array.from(last.logits);
          });
        }""",
        pixels.tolist(),
    )
    assert (torch.tensor(found) - expected).abs().max() < 1e-3
    assert visit.trouble == []


# Strokes in a square of side 1.
DRAWN = {
    "1": [[(0.52, 0.15), (0.5, 0.85)]],
    "7": [[(0.25, 0.2), (0.72, 0.2), (0.45, 0.85)]],
    "0": [
        [
            (0.5, 0.15),
            (0.32, 0.25),
            (0.25, 0.5),
            (0.32, 0.75),
            (0.5, 0.85),
            (0.68, 0.75),
            (0.75, 0.5),
            (0.68, 0.25),
            (0.5, 0.15),
        ]
    ],
    "3": [
        [
            (0.3, 0.22),
            (0.5, 0.14),
            (0.68, 0.26),
            (0.64, 0.42),
            (0.46, 0.48),
            (0.66, 0.55),
            (0.7, 0.74),
            (0.52, 0.86),
            (0.3, 0.8),
        ]
    ],
    "4": [[(0.35, 0.15), (0.28, 0.52), (0.72, 0.52)], [(0.66, 0.2), (0.62, 0.88)]],
}


def draw(page, strokes, scale=1.0, shift=0.0):
    box = page.locator("#try-draw").bounding_box()
    for stroke in strokes:
        places = [
            (box["x"] + box["width"] * (x * scale + shift), box["y"] + box["height"] * (y * scale + shift))
            for x, y in stroke
        ]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=8)
        page.mouse.up()


def answer(page):
    page.wait_for_selector("#try-read[data-answer]", timeout=30_000)
    return page.locator("#try-read").get_attribute("data-answer")


def test_drawn_digits_are_read(visit):
    page = visit.open("try")
    for digit, strokes in DRAWN.items():
        page.get_by_role("button", name="Clear").click()
        draw(page, strokes)
        assert answer(page) == digit
    # Small, and in a corner: it is scaled and moved.
    page.get_by_role("button", name="Clear").click()
    draw(page, DRAWN["7"], scale=0.4, shift=0.05)
    assert answer(page) == "7"
    assert visit.trouble == []


def test_drawing_on_a_phone_with_a_finger(browser, address):
    with Visit(browser, address, viewport=PHONE, has_touch=True, is_mobile=True) as visit:
        page = visit.open("try")
        page.locator("#try-draw").scroll_into_view_if_needed()
        draw(page, DRAWN["0"])
        assert answer(page) == "0"


def test_a_drawing_is_placed_as_mnist_places_its_digits(visit):
    page = visit.open("try")
    strokes = [[list(point) for point in stroke] for stroke in DRAWN["4"]]
    found = torch.tensor(page.evaluate("(strokes) => Array.from(picture(strokes))", strokes)).reshape(28, 28)
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


def test_who_wants_less_motion_gets_the_answer_at_once(browser, address):
    with Visit(browser, address, reduced_motion="reduce") as visit:
        page = visit.open("try")
        page.get_by_role("button", name="a 1", exact=True).click()
        answer(page)
        assert page.locator("#try-pixel").input_value() == "784"
        assert page.locator("#try-play").inner_text() == "Play"


def test_what_the_try_page_says_of_early_answers_and_step_sizes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "site")
    import picture

    text = (ROOT / "site" / "try.md").read_text(encoding="utf-8")
    model, kept = models.load_checkpoint("smnist"), []
    model.blocks[0].dt_proj.register_forward_hook(lambda module, inputs, output: kept.append(output))
    pixels, labels = (tensor[:200] for tensor in mnist.sequences(mnist.load(train=False)))
    answers, steps = picture.read(model, pixels)
    ten, fourteen = ((answers[:, 28 * rows - 1].argmax(-1) == labels).double().mean() for rows in (10, 14))
    early = re.search(r"first 200 test digits it has (\d+) % right after ten rows, and (\d+) % after fourteen", text)
    assert (
        abs(100 * ten - int(early[1])) <= 1 and abs(100 * fourteen - int(early[2])) <= 1
    )  # one digit is half a percent
    ink, paper = pixels[..., 0] > 1, pixels[..., 0] < -0.4
    assert "it is no larger on strokes than on paper" in text and steps[ink].mean() < 1.05 * steps[paper].mean()
    channels = torch.nn.functional.softplus(kept[0])
    ratio = channels[ink].mean(0) / channels[paper].mean(0)
    assert "nine times as large on ink" in text and ratio.max() > 9
    assert "six times smaller" in text and ratio.min() < 1 / 6
