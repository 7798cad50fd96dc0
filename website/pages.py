"""What the pages have beyond Sphinx: links to the glossary, previews, a sitemap, a 404 page."""

import html
import inspect
import re
from pathlib import Path

import about
import explorables
from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

HERE = Path(__file__).parent
SCRIPTS = {"try": ["explorable.js", "mamba.js", "digit.js", "pad.js", "try.js"], "exercises": ["exercises.js"]}
SYMBOLS = "in the list of symbols"
# What screen readers miss in the theme.
MENDS = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="All pages">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="This page">',
    # The text says what a folded answer answers.
    '<summary aria-label="Toggle hidden content">': "<summary>",
    '<aside class="toc-drawer no-toc">': '<aside class="toc-drawer no-toc" aria-label="This page">',
}

# A browser may break a line between a formula and the punctuation behind it.
FORMULA = r"<math(?:(?!</math>).)*</math>"
JOINED = re.compile(rf'((?:<a class="symbol[^>]*>{FORMULA}</a>|{FORMULA})[.,;:?!)]+)', re.S)


class LinkSymbols(SphinxPostTransform):
    """On each page the first occurrence of a symbol of the glossary, with nothing around it, leads there."""

    default_priority = 700

    def run(self):
        if self.env.docname == "glossary":
            return
        terms = self._terms()
        for node in list(self.document.findall(lambda n: isinstance(n, nodes.math | nodes.literal))):
            inside = node.parent
            while inside is not None and not isinstance(inside, nodes.reference | nodes.title | nodes.term):
                inside = inside.parent
            key = (type(node), node.astext())
            if inside is None and key in terms:
                target = terms.pop(key)
                terms = {other: name for other, name in terms.items() if name != target}
                link = make_refnode(self.app.builder, self.env.docname, "glossary", target, node.deepcopy(), SYMBOLS)
                link["classes"].append("symbol")
                node.replace_self(link)

    def _terms(self):
        glossary = self.env.get_doctree("glossary")
        return {
            (type(symbol), symbol.astext()): term["ids"][0]
            for term in glossary.findall(nodes.term)
            for symbol in term.findall(lambda n: isinstance(n, nodes.math | nodes.literal))
        }


class NameEmptyHeads(SphinxTransform):
    """A column whose head was left empty gets one that is read aloud and not shown."""

    default_priority = 700

    def apply(self):
        for head in self.document.findall(nodes.thead):
            for entry in head.findall(nodes.entry):
                if not entry.astext().strip():
                    entry.children = []
                    entry += nodes.paragraph("", "", nodes.inline("", "name", classes=["unseen"]))


def leave_out_fields(app, what, name, obj, skip, options):
    """The fields of a named tuple are in its signature, and their docstrings only number them."""
    return True if (inspect.getdoc(obj) or "").startswith("Alias for field number") else None


def describe(doctree) -> str:
    """The first paragraph of a page, for those who see a link to it."""
    for paragraph in doctree.findall(nodes.paragraph) if doctree else ():
        text = re.sub(r"\s+", " ", paragraph.astext()).strip()
        if len(text) > 40:
            return text if len(text) <= 200 else text[:200].rpartition(" ")[0] + " ..."
    return "A selective state space model that reads a digit as 784 pixels, one after another."


def add_preview(app, pagename, templatename, context, doctree):
    context["description"] = describe(doctree)
    context["preview"] = about.address() + "_static/preview.png"
    context["address"] = about.address() + app.builder.get_target_uri(pagename)
    context["scripts_of_page"] = SCRIPTS.get(pagename) or explorables.scripts(pagename)


def finish(app, error):
    """Mend the pages; write a sitemap, and a page for addresses that lead nowhere, which needs no other file."""
    if error:
        return
    out, base = Path(app.outdir), about.address()
    for path in out.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for old, new in MENDS.items():
            text = text.replace(old, new)
        path.write_text(JOINED.sub(r'<span class="joined">\1</span>', text), encoding="utf-8")
    pages = sorted(app.env.found_docs)
    places = "".join(
        f"<url><loc>{html.escape(base + app.builder.get_target_uri(page))}</loc></url>\n" for page in pages
    )
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{places}'
    (out / "sitemap.xml").write_text(text + "</urlset>\n", encoding="utf-8")
    missing = (HERE / "_templates" / "404.html").read_text(encoding="utf-8")
    (out / "404.html").write_text(missing.replace("BASE", base), encoding="utf-8")
    (out / ".nojekyll").touch()  # GitHub would leave out the folders that start with an underscore


def setup(app):
    app.add_transform(NameEmptyHeads)
    app.add_post_transform(LinkSymbols)
    app.connect("autodoc-skip-member", leave_out_fields)
    app.connect("html-page-context", add_preview)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
