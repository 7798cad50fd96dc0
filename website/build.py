"""Turn the notebooks into pages: ``python site/build.py``. Nothing is executed again, and nothing is fetched.

Sources are gathered in ``build/site-source``: what is in this folder, the notebooks with a line about each below its
title, a reference page for each module of ``helpers``, and the published classifier as a script for the drawing page.
Sphinx makes ``build/site`` of them, which can be opened from the disk and put on any web server.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

import nbformat

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

import about  # noqa: E402
import picture  # noqa: E402
import published  # noqa: E402


def write_notebook(path: Path, target: Path) -> None:
    """A notebook as the site shows it: buttons and times in the place of the badge, which would be fetched."""
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    title, _, text = first.source.partition("\n\n")
    text = "\n\n".join(part for part in text.split("\n\n") if not part.startswith("[![Open in Colab]"))
    first.source = f"{title}\n\n{about.header(path.name, notebook)}\n\n{text}"
    nbformat.write(notebook, target)


def write_reference(folder: Path) -> None:
    """A page for each module of ``helpers``, and one that lists them."""
    folder.mkdir()
    modules = about.modules()
    for module in modules:
        text = f"# `{module}`\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```\n"
        (folder / f"{module}.md").write_text(text, encoding="utf-8")
    rows = "\n".join(f"* [`{module}`]({module}.md): {about.summary(module)}" for module in modules)
    toctree = "\n".join(["```{toctree}", ":hidden:", *modules, "```"])
    text = f"# The helpers\n\n{about.summary('helpers')} Each page is made from the code, and leads to it.\n\n{rows}\n"
    (folder / "index.md").write_text(f"{text}\n{toctree}\n", encoding="utf-8")


def gather(notebooks: Path, source: Path) -> None:
    """Everything that Sphinx reads, in one folder."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(HERE, source, ignore=shutil.ignore_patterns("__pycache__", "*.py", "_templates"))
    front = source / "index.md"
    front.write_text(
        front.read_text(encoding="utf-8").replace("README.md", about.source("README.md")), encoding="utf-8"
    )
    for path in about.notebooks():
        write_notebook(notebooks / path.name, source / path.name)
    write_reference(source / "helpers")
    published.write(source / "_static")
    picture.write(source / "_static")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="executed ones (default: committed)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "site", help="folder (default: build/site)")
    parser.add_argument("--strict", action="store_true", help="a warning is an error")
    options = parser.parse_args()

    from sphinx.cmd.build import main as sphinx

    began = time.perf_counter()
    source = options.output.with_name(options.output.name + "-source")
    gather(options.notebooks, source)
    shutil.rmtree(options.output, ignore_errors=True)
    strict = ["-W", "--keep-going"] if options.strict else []
    command = ["-b", "html", "-q", "-E", "-c", str(HERE), "-D", f"html_static_path={source / '_static'}", *strict]
    if failed := sphinx([*command, "-d", str(source / ".doctrees"), str(source), str(options.output)]):
        return failed
    print(f"The pages were built in {time.perf_counter() - began:.0f} s. Open {options.output / 'index.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
