"""What the pages say about the project, each fact read from where it is kept: README, notebooks, links, docstrings."""

import ast
import html
import math
import re
from pathlib import Path

from colab import links

ROOT = Path(__file__).resolve().parent.parent
WORDS_A_MINUTE = 200


def address() -> str:
    """Where GitHub publishes the pages of this repository."""
    owner, name = links.setting()["repository"].split("/")
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def source(path: str) -> str:
    """Where GitHub shows a file of this repository."""
    setting = links.setting()
    return f"https://github.com/{setting['repository']}/blob/{setting['ref']}/{path}"


def readme_tables() -> dict[str, list[list[str]]]:
    """The first table below each of the README's headings: its rows, the one with the names of the columns first."""
    tables, heading, done = {}, "", True
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading, done = line[3:], False
        elif line.startswith("|") and not done:
            if not set(line) <= set("|-: "):
                tables.setdefault(heading, []).append([cell.strip() for cell in line.strip("|").split("|")])
        elif heading in tables:
            done = True
    return tables


def notebooks() -> list[Path]:
    """The notebooks, in reading order."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def run_time(name: str) -> str:
    """How long a notebook runs, as the README's table has it."""
    for row in readme_tables()["The notebooks"]:
        if f"notebooks/{name}" in row[0]:
            return row[-1]
    raise KeyError(f"the README's table of notebooks has no row for {name}")


def minutes(notebook) -> int:
    """How long the text of a notebook takes to read, its folded answers and its code not counted."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    text = re.sub(r"<details>.*?</details>|\]\([^)]*\)", " ", text, flags=re.S)
    return math.ceil(len(text.split()) / WORDS_A_MINUTE)


def header(name: str, notebook) -> str:
    """The line below a notebook's title: its times, and where else it can be opened."""
    setting = links.setting()
    colab = html.escape(links.page(name, setting["repository"], setting["ref"]))
    return (
        f'<p class="about-page"><span>{minutes(notebook)} min to read</span>'
        f"<span>{run_time(name)} to run on two CPU cores</span>"
        f'<a class="button" href="{colab}">Run in Colab</a>'
        f'<a class="button" href="{html.escape(source(f"notebooks/{name}"))}">Source on GitHub</a></p>'
    )


def modules() -> list[str]:
    """The modules of ``helpers`` in the order in which its docstring names them, a package before its parts."""
    told = ast.get_docstring(ast.parse((ROOT / "helpers" / "__init__.py").read_text(encoding="utf-8")))
    paths = [path.relative_to(ROOT).with_suffix("").parts for path in (ROOT / "helpers").rglob("*.py")]
    names = [".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in paths]
    place = {name: told.find(f"``{name.split('.')[1].split('_')[0]}``") for name in names if name != "helpers"}
    return sorted(place, key=lambda name: (place[name], name))


def summary(module: str) -> str:
    """The first sentence of a module's docstring, as Markdown."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    first = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).split("\n\n")[0].replace("\n", " ")
    return re.sub(r":\w+:`~?([^`]*)`", r"`\1`", first).replace("``", "`")
