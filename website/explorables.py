"""The explorables, and where they go: ``pages.json`` lists each with its page, and the place on it that it follows.

An explorable is a script of the same name in ``_static``. On the page it replaces a still picture of itself, which
``stills.py`` has drawn with the same script, and which stays where there are no scripts.
"""

import sys
from html import escape
from pathlib import Path

import about
import nbformat

STILLS = Path(__file__).resolve().parent / "stills"


def on(page: str) -> list[dict]:
    """The explorables of a page, in the order of ``pages.json``; ``page`` is its file name without the ending."""
    return [one for one in about.listed("explorables") if one["page"] == page]


def scripts(page: str) -> list[str]:
    """The scripts that a page needs for its explorables, each once."""
    files = [file for one in on(page) for file in ("explorable.js", *one.get("needs", ()), f"{one['name']}.js")]
    return list(dict.fromkeys(files))


def markup(one: dict) -> str:
    """An explorable as raw HTML for Markdown, with its picture in it."""
    title, name = escape(one["title"]), one["name"]
    still = (STILLS / f"{name}.html").read_text(encoding="utf-8").strip()
    return (
        f'```{{raw}} html\n<div class="explorable" data-name="{name}" role="group" aria-label="{title}">'
        f'<p class="name">{title}</p>{still}</div>\n```'
    )


def find(notebook, anchor: str) -> int | None:
    """The cell of the figure with this name, or whose caption begins with it, or of a heading that does; or None."""
    for place, cell in enumerate(notebook.cells):
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if figure and (figure.get("name") == anchor or figure.get("caption", "").startswith(anchor)):
            return place
        lines = cell.source.splitlines() if cell.cell_type == "markdown" else []
        if any(line.startswith("#") and line.lstrip("# ").startswith(anchor) for line in lines):
            return place
    return None


def insert(notebook, page: str) -> None:
    """Put the explorables of a page behind the figures, or headings, that they follow.

    A page that has lost the place still gets its explorable, behind its first figure, and a test says so.
    """
    for one in on(page):
        place = find(notebook, one["after"])
        if place is None:
            figures = [i for i, cell in enumerate(notebook.cells) if "figure" in cell.metadata.get("mystnb", {})]
            place = figures[0] if figures else 0
            print(f"{page}: no figure or heading {one['after']!r} for {one['name']}", file=sys.stderr)
        name = f"explorable-{one['name']}"
        notebook.cells.insert(place + 1, nbformat.v4.new_markdown_cell(markup(one), id=name))
