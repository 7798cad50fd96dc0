"""The pages: what is in their files, and what a reader sees and clicks in a real browser.

``axe/axe.min.js`` is axe-core 4.14.1, unchanged, under the Mozilla Public License 2.0 beside it.
"""

import gzip
import html
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

import about
import nbformat
import pytest
from repository import NOTEBOOKS, ROOT

from colab import links

pytestmark = pytest.mark.slow

PAGES = [path.stem for path in NOTEBOOKS]
REFERENCE = ["helpers/index", "helpers/helpers.scan", "helpers/helpers.models"]
OTHERS = ["index", "try", "exercises", "running", "glossary", "references", *REFERENCE]
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


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


def test_every_link_into_the_repository_leads_to_a_file(site):
    start = about.source("")
    links = {link for path in site.rglob("*.html") for link in Links(path.read_text("utf-8")).links}
    files = {unquote(urlsplit(link.removeprefix(start)).path) for link in links if link.startswith(start)}
    assert len(files) > 10 and not [file for file in files if not (ROOT / file).is_file()]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_times_buttons_and_neighbors_and_no_set_up_cell(site, name):
    text = (site / f"{name}.html").read_text("utf-8")
    setting = links.setting()
    path = f"github/{setting['repository']}/blob/{setting['ref']}/notebooks/{name}.ipynb"
    assert f"https://colab.research.google.com/{path}" in text
    assert f"https://github.com/{path.removeprefix('github/')}" in text
    assert re.search(r"\d+ min to read</span><span>[\d.]+ (s|min) to run", text)
    assert "colab-badge" not in text and "GIT_TERMINAL_PROMPT" not in text
    assert 'class="prev-page"' in text and 'class="next-page"' in text
    assert "toc-tree" in text and "highlight" in text and "sphinx-codeautolink-a" in text


@pytest.mark.parametrize("name", PAGES)
def test_folded_answers_are_rendered(site, name):
    text = (site / f"{name}.html").read_text("utf-8")
    answers = re.findall(r"<details><summary>Answers</summary>(.*?)</details>", text, re.S)
    assert len(answers) == 1 and "<li>" in answers[0]
    assert "`" not in re.sub(r"<[^>]*>", "", answers[0]) and "$" not in answers[0]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=PAGES)
def test_every_figure_has_a_caption_and_an_alternative_text(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", ())):
            about = cell.metadata.get("mystnb", {})
            alternative = about.get("image", {}).get("alt", "")
            assert about.get("figure", {}).get("caption"), f"cell {cell.id}: no caption in the metadata"
            assert len(alternative) > 40, f"cell {cell.id}: no alternative text in the metadata"


def test_links_to_a_page_show_title_description_and_picture(site):
    for name in [*PAGES, *OTHERS]:
        found = Links((site / f"{name}.html").read_text("utf-8")).preview
        assert found["title"] and len(found["description"]) > 40, name
        assert found["url"].endswith(f"/{name}.html")
        assert (site / "_static" / found["image"].rpartition("/")[2]).is_file()


def test_the_sitemap_lists_every_page(site):
    listed = re.findall(r"<loc>(.*?)</loc>", (site / "sitemap.xml").read_text("utf-8"))
    assert all(place.startswith("https://") for place in listed)
    base = min((place for place in listed if place.endswith("/index.html")), key=len).removesuffix("index.html")
    assert {f"{name}.html" for name in [*PAGES, *OTHERS]} <= {place.removeprefix(base) for place in listed}
    assert all((site / place.removeprefix(base)).is_file() for place in listed)


def test_every_paper_that_is_named_stands_in_the_references(site):
    listed = (site / "references.html").read_text("utf-8")
    files = [*NOTEBOOKS, *(ROOT / "helpers").rglob("*.py"), ROOT / "README.md"]
    text = "".join(path.read_text("utf-8") for path in files)
    papers = set(re.findall(r"(?:arxiv\.org/abs/|arXiv )(\d{4}\.\d{5})|doi\.org/(10\.[\w./]+\w)", text))
    assert len(papers) > 6
    for arxiv, doi in papers:
        assert (arxiv or doi) in listed


def test_sizes(site):
    files = {path.relative_to(site): path.stat().st_size for path in site.rglob("*") if path.is_file()}
    reference = sum(size for path, size in files.items() if path.parts[0] in ("_modules", "helpers"))
    assert sum(files.values()) - reference < 7.5e6  # what readers of the pages may come to load
    assert reference < 10e6  # every page of it repeats the list of all
    assert (site / "_static" / "weights.js").stat().st_size < 2e6


# ------------------------------------------------------------------------------------------- every page


@pytest.mark.parametrize("name", [*PAGES, *OTHERS, "search"])
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
        if width is DESKTOP:
            assert page.evaluate(CUT) == [], "code whose lines have no end in sight"
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

CUT = """() => [...document.querySelectorAll('article pre')]
  .filter((e) => e.scrollWidth > e.clientWidth + 1)
  .map((e) => e.textContent.slice(0, 80))"""

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
def test_a_page_opens_from_the_disk(visitor, site, name):
    visit = visitor(site.as_uri() + "/")
    read_a_digit(visit.open(name), name)
    assert visit.trouble == []


def read_a_digit(page, name):
    """On the drawing page, so that all that it can show is there."""
    if name == "try":
        page.get_by_role("button", name="a 7").click()
        page.wait_for_selector("#try-read[data-answer]", timeout=30_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "02_a_mamba_that_forgets", "try", "running", "helpers/helpers.layers.mamba"])
def test_contrast_and_landmarks(visitor, scheme, name):
    page = visitor(color_scheme=scheme).open(name)
    page.evaluate("document.querySelectorAll('details').forEach((e) => (e.open = true))")
    read_a_digit(page, name)
    page.add_script_tag(path=ROOT / "tests" / "website" / "axe" / "axe.min.js")
    found = page.evaluate("axe.run()")
    told = [
        f"{problem['id']}: {node['html'][:150]} {node['failureSummary']}"
        for problem in found["violations"]
        for node in problem["nodes"][:3]
    ]
    assert told == []
    assert len(found["passes"]) > 15


def test_dark_theme_has_its_figures_on_white(visitor):
    page = visitor(color_scheme="dark").open("01_mnist_as_a_sequence")
    body, card = page.evaluate(
        "['body', 'article img'].map((e) => getComputedStyle(document.querySelector(e)).backgroundColor)"
    )
    assert sum(map(int, re.findall(r"\d+", body)[:3])) < 150 and card == "rgb(255, 255, 255)"


def test_the_table_of_results_fits(visit):
    page = visit.open("index")
    box, text = (page.locator(part).bounding_box() for part in ("table.results", "article > section > p >> nth=0"))
    assert box["x"] + box["width"] <= text["x"] + text["width"] + 0.5
    assert page.evaluate(
        "[...document.querySelectorAll('.table-wrapper')].every((e) => e.scrollWidth <= e.clientWidth)"
    )


def test_an_address_that_leads_nowhere_shows_the_404_page(visit):
    response = visit.page.goto(f"{visit.home}some/where/else.html")
    assert response.status == 404
    assert visit.page.get_by_role("link").get_attribute("href").startswith("https://")
    assert not [trouble for trouble in visit.trouble if "else.html" not in trouble and "404" not in trouble]


def test_code_can_be_copied_and_leads_to_the_reference(visit):
    page = visit.open("05_the_mamba_block")
    assert page.locator("button.copybtn").count() == page.locator("article div.highlight").count()
    page.locator("article").get_by_role("link", name="Mamba", exact=True).first.click()
    assert page.url.endswith("helpers/helpers.layers.mamba.html#helpers.layers.mamba.Mamba")
    source = page.locator("#helpers\\.layers\\.mamba\\.Mamba a[href*=_modules]").first.get_attribute("href")
    page.goto(urljoin(page.url, source))
    assert "class Mamba" in page.locator("article").inner_text().replace("\xa0", " ")


def test_a_symbol_leads_to_the_glossary(visit):
    page = visit.open("04_selective_scan")
    assert page.locator("article a.symbol").count() > 5
    page.locator("article a.symbol", has_text="Δ").first.click()
    assert "/glossary.html#term-" in page.url


def test_search_finds_a_page(visit):
    page = visit.page
    page.goto(f"{visit.home}search.html?q=discretization")
    page.wait_for_selector("#search-results li a")
    assert visit.trouble == []
