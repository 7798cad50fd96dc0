"""Turn the notebooks into pages: ``python website/build.py``. Nothing is executed again, and nothing is fetched.

Sources are gathered in ``build/site-source``: what is in this folder, the notebooks with a line about each below its
title, a reference page for each module of ``helpers``, and the published models as scripts for pages that run them.
Sphinx makes ``build/site`` of them, which can be opened from the disk and put on any web server.
"""

import argparse
import base64
import io
import re
import shutil
import sys
import time
from pathlib import Path

import nbformat
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MARK = ".made-by-website-build"  # in a folder that may be cleared
sys.path[:0] = [str(HERE), str(ROOT)]

import about  # noqa: E402
import explorables  # noqa: E402
import picture  # noqa: E402
import published  # noqa: E402

from colab import links  # noqa: E402


def write_notebook(page: dict, path: Path, target: Path) -> None:
    """A notebook as the site shows it: with buttons and times instead of its badge, and links to files on GitHub.

    Each explorable goes behind the figure or heading that it follows.
    """
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    title, _, text = first.source.partition("\n\n")
    text = "\n\n".join(part for part in text.split("\n\n") if not part.startswith("[![Open in Colab]"))
    first.source = f"{title}\n\n{about.header(page, notebook)}\n\n{text}"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\(\.\./([^)]+)\)", lambda to: f"]({about.source(to[1])})", cell.source)
    explorables.insert(notebook, path.stem)
    lighten(notebook)
    nbformat.write(notebook, target)


def lighten(notebook) -> None:
    """Give figures a palette of 256 colors: nobody sees the difference, and they weigh half."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        if "image/png" in output.get("data", {}):
            figure = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")
            file = io.BytesIO()
            figure.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
            output.data["image/png"] = base64.b64encode(file.getvalue()).decode()


def fill(path: Path) -> None:
    """Replace each name in double braces by what is made from data, or depends on the repository."""
    made = {
        "colab": about.source("colab/README.md"),
        "contributing": about.source("CONTRIBUTING.md"),
        "exercises": about.exercises(),
        "experiments": about.source("experiments/README.md"),
        "folder": links.setting()["repository"].partition("/")[2],
        "reading": explorables.markup(explorables.on("index")[0]),
        "path": about.path_table(),
        "results": about.results_table(),
        "book": about.toctree(appendix=False),
        "appendices": about.toctree(appendix=True),
    }
    text = re.sub(r"\{\{ (\w+) \}\}", lambda found: made[found[1]], path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


def write_reference(folder: Path) -> None:
    """A page for each module of ``helpers``, and one that lists them; in the sidebar they would be too many."""
    folder.mkdir()
    modules = about.listed("reference")
    for module in modules:
        # Without the names in __all__: what a package takes from its parts is on the pages of the parts.
        text = f"# `{module}`\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n   :ignore-module-all:\n```\n"
        (folder / f"{module}.md").write_text(f"---\norphan: true\n---\n\n{text}", encoding="utf-8")
    rows = "\n".join(f"* [`{module}`]({module}.md): {about.summary(module)}" for module in modules)
    text = f"# The helpers\n\n{about.summary('helpers')} Each page is made from the code, and leads to it.\n\n{rows}\n"
    (folder / "index.md").write_text(text, encoding="utf-8")


def make_empty(folder: Path) -> None:
    """Make a folder, or clear it if this program made it, or it lies in the project's own ``build``.

    Raises:
        FileExistsError: if there is anything in it, and not our mark. Then nothing is touched.
    """
    ours = folder.resolve().is_relative_to(ROOT / "build") or (folder / MARK).is_file()
    if folder.exists() and not (folder.is_dir() and (ours or not any(folder.iterdir()))):
        raise FileExistsError(
            f"{folder} is not empty, and was not made by website/build.py: nothing was deleted. Choose a new folder"
        )
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).write_text("Made by website/build.py, which will clear this folder when it is called again.\n")


def gather(notebooks: Path, source: Path) -> None:
    """Everything that Sphinx reads, in one folder."""
    others = shutil.ignore_patterns("__pycache__", "*.py", "*.json", "*.gif", "_templates", "stills")
    shutil.copytree(HERE, source, ignore=others, dirs_exist_ok=True)
    for name in ("exercises", "index", "running"):
        fill(source / f"{name}.md")
    for page in links.pages():
        write_notebook(page, notebooks / page["file"], source / page["file"])
    write_reference(source / "helpers")
    published.write(source / "_static")
    picture.write(source / "_static")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="executed ones (default: committed)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "site", help="folder (default: build/site)")
    parser.add_argument("--strict", action="store_true", help="a warning is an error")
    options = parser.parse_args()
    options.output = options.output.resolve()  # Sphinx takes a relative path to be relative to its configuration

    from sphinx.cmd.build import main as sphinx

    began = time.perf_counter()
    source = options.output.with_name(options.output.name + "-source")
    try:
        for folder in (options.output, source):
            make_empty(folder)
    except OSError as error:
        parser.error(str(error))
    print("Building the pages: a minute or so.", flush=True)
    gather(options.notebooks, source)
    strict = ["-W", "--keep-going"] if options.strict else []
    command = ["-b", "html", "-q", "-E", "-c", str(HERE), "-D", f"html_static_path={source / '_static'}", *strict]
    if failed := sphinx([*command, "-d", str(source / ".doctrees"), str(source), str(options.output)]):
        return failed
    print(f"The pages were built in {time.perf_counter() - began:.0f} s. Open {options.output / 'index.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
