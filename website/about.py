"""What the pages say about the project, each fact read from where it is kept.

``pages.json`` says what there is, and in which order: the notebooks (see ``colab.links.pages``), the rows of the table
of results, each with the name of the record that its numbers come from, the modules of ``helpers``, and the
explorables.
"""

import ast
import html
import itertools
import json
import math
import re
import statistics
from pathlib import Path

import nbformat

from colab import links
from helpers import experiments

ROOT = Path(__file__).resolve().parent.parent
WORDS_A_MINUTE = 200
SPACE = "\N{NO-BREAK SPACE}"


def address() -> str:
    """Where GitHub publishes the pages of this repository."""
    owner, name = links.setting()["repository"].split("/")
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def source(path: str) -> str:
    """Where GitHub shows a file of this repository."""
    setting = links.setting()
    return f"https://github.com/{setting['repository']}/blob/{setting['ref']}/{path}"


def listed(what: str) -> list:
    """A list of ``pages.json``: the ``"results"``, the ``"reference"`` or the ``"explorables"``."""
    return json.loads((ROOT / "website" / "pages.json").read_text(encoding="utf-8"))[what]


# --- notebooks --------------------------------------------------------------------------------------------------------


def minutes(notebook) -> int:
    """How many minutes the text of a notebook takes to read, without its folded answers and its code."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    text = re.sub(r"<details>.*?</details>|\]\([^)]*\)", " ", text, flags=re.S)
    return math.ceil(len(text.split()) / WORDS_A_MINUTE)


def header(page: dict, notebook) -> str:
    """The line below a notebook's title: its times, and where else it can be opened."""
    colab = html.escape(links.colab_address(page["file"], **links.setting()))
    github = html.escape(source(f"notebooks/{page['file']}"))
    return (
        f'<p class="about-page"><span>{minutes(notebook)} min to read</span>'
        f"<span>{links.duration(page['run_seconds'])} to run on two CPU cores</span>"
        f'<a class="button" href="{colab}">Run in Colab</a>'
        f'<a class="button" href="{github}">Source on GitHub</a></p>'
    )


def table(names: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [names, ["---"] * len(names), *rows])


def path_table() -> str:
    """All notebooks, with what a reader leaves each of them with, and its times."""
    rows = []
    for page in links.pages():
        notebook = nbformat.read(ROOT / "notebooks" / page["file"], as_version=4)
        times = [f"{minutes(notebook)} min", links.duration(page["run_seconds"])]
        rows.append([f"[{links.title(notebook)}]({page['file']})", page["leaves_with"], *times])
    return table(["page", "what you leave with", "read", "run"], rows)


def toctree(appendix: bool) -> str:
    """The names of the notebooks for a table of contents: the book, or its appendices."""
    return "\n".join(Path(page["file"]).stem for page in links.pages() if page["appendix"] == appendix)


def exercises() -> str:
    """The exercises of all notebooks, page by page: the heading before each cell tagged ``exercise``, as a link."""
    parts = []
    for page in links.pages():
        notebook = nbformat.read(ROOT / "notebooks" / page["file"], as_version=4)
        titles = [
            text.source.splitlines()[0].lstrip("# ")
            for text, cell in itertools.pairwise(notebook.cells)
            if "exercise" in cell.metadata.get("tags", [])
        ]
        if titles:
            places = [f"* [{title}]({page['file']}#{_anchor(title)})" for title in titles]
            parts.append(f"**[{links.title(notebook)}]({page['file']})**\n\n" + "\n".join(places))
    return "```{container} exercises\n\n" + "\n\n".join(parts) + "\n```"


def _anchor(title: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


# --- results ----------------------------------------------------------------------------------------------------------


def yardsticks() -> dict:
    """The figures of page 1, whose trainings take seconds and leave no record."""
    return json.loads((experiments.FOLDER / "yardsticks.json").read_text(encoding="utf-8"))


def result(row: dict) -> list[str]:
    """A row of the table of results, its numbers from the record that it names."""
    named = row.get("record")
    record = experiments.read(named).record if named else yardsticks()["yardsticks"][row["yardstick"]]
    low, high = record["test_interval"]
    accuracy, between = _percent(record["test_accuracy"]), f"{100 * low:.2f} to {100 * high:.2f}"
    if others := row.get("seeds"):
        seeds = [experiments.read(name).record["test_accuracy"] for name in (named, *others)]
        between += f"; mean of {len(seeds)} seeds: {_percent(statistics.mean(seeds))}"
    return [row["model"], row["reads"], accuracy, between]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}{SPACE}%"


def results_table() -> str:
    return table(["model", "reads", "accuracy", "95 % interval"], [result(row) for row in listed("results")])


# --- reference --------------------------------------------------------------------------------------------------------


def summary(module: str) -> str:
    """The first sentence of a module's docstring, as Markdown."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    first = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).split("\n\n")[0].replace("\n", " ")
    return re.sub(r":\w+:`~?([^`]*)`", r"`\1`", first).replace("``", "`")
