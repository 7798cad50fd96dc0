"""Everything that names this repository, from one setting, ``links.json``: ``make relink REPO=owner/name REF=tag``.

Writes the README's table of pages, which is made of ``website/pages.json``, the badge of every notebook, and the
notebooks' second cell, which fetches the repository on Colab. Without arguments the repository is the checkout's own
remote ``origin`` on GitHub, if it has one, and the ref stays as it is. A ref is a branch or a tag. ``--check`` writes
nothing: it fails where a file is not what would be written. Needs nbformat and no other package.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- pages: made by make relink -->", "<!-- end of pages -->"
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
TAGS = ["setup", "remove-cell"]  # remove-cell: the rendered pages leave it out

CELL = """\
# @title On Colab, run this first: it fetches the tutorial and proves its scan kernel. Elsewhere it imports helpers.
import os
import sys

on_colab = "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ
if on_colab:
    import subprocess
    import time

    repository, ref = "{repository}", "{ref}"
    print("Fetching the tutorial, and a scan kernel to prove: two minutes at most.", flush=True)
    began, home = time.monotonic(), os.path.abspath(repository.partition("/")[2])
    if not os.path.isdir(home):
        os.environ["GIT_TERMINAL_PROMPT"] = "0"  # a question would hang
        subprocess.run(["rm", "-rf", home + ".part"])
        clone = ["git", "clone", "--quiet", "--depth", "1", "--branch", ref, f"https://github.com/{{repository}}"]
        if subprocess.run(["timeout", "60", *clone, home + ".part"]).returncode:
            what = f"{{clone[-1]}} was not fetched: GitHub was not reached within a minute, or there is no {{ref}}."
            raise RuntimeError(f"{{what}} Run this cell again. If it is your fork, its README says what it needs.")
        os.rename(home + ".part", home)
    sys.path[:0] = [] if home in sys.path else [home]

try:
    import helpers  # noqa: F401  - before torch: its idle threads then sleep, and do not spin
except ModuleNotFoundError:
    what = "The tutorial is not installed in this Python. In its folder, run `make setup`, or `pip install -r"
    raise ModuleNotFoundError(f"{{what}} requirements.txt -e .`, and let this notebook run there.") from None

if on_colab:
    from colab import setup

    setup.main([], began)
"""


def setting(root: Path = ROOT) -> dict:
    """The setting as it is now: ``{"repository": "owner/name", "ref": "main"}``."""
    return json.loads((root / "colab" / "links.json").read_text(encoding="utf-8"))


def pages(root: Path = ROOT) -> list[dict]:
    """What ``website/pages.json`` says of each notebook, in reading order.

    ``file``, ``leaves_with`` (what a reader leaves the page with), ``run_seconds`` (on two CPU cores), ``appendix``.

    Raises:
        SystemExit: if it does not list exactly the notebooks that are there.
    """
    listed = json.loads((root / "website" / "pages.json").read_text(encoding="utf-8"))["notebooks"]
    there = {path.name for path in (root / "notebooks").glob("*.ipynb")}
    if wrong := sorted(there.symmetric_difference(page["file"] for page in listed)):
        raise SystemExit(f"website/pages.json must list every notebook and no other file: look at {', '.join(wrong)}")
    return listed


def title(notebook) -> str:
    """The title of a notebook: its first line."""
    return notebook.cells[0].source.partition("\n")[0].removeprefix("# ")


def duration(seconds: float) -> str:
    """A run time in words: rounded to five seconds, or to minutes from a minute and a half on."""
    return f"{max(5 * round(seconds / 5), 5)} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def origin(root: Path) -> str | None:
    """``owner/name`` of the checkout's remote ``origin``, or None if it has none on GitHub."""
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        address = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(\.git)?/?\s*$", address)
    return found and found[1]


def colab_address(name: str, repository: str, ref: str) -> str:
    """Where Colab opens a notebook."""
    return f"https://colab.research.google.com/github/{repository}/blob/{ref}/notebooks/{name}"


def badge(name: str, repository: str, ref: str) -> str:
    return f"{BADGE}({colab_address(name, repository, ref)})"


def cell(repository: str, ref: str) -> str:
    """The source of the set-up cell."""
    return CELL.format(repository=repository, ref=ref).rstrip()


def link_notebook(path: Path, repository: str, ref: str) -> nbformat.NotebookNode:
    """A notebook with its badge, its set-up cell and what Colab reads in its metadata.

    A new set-up cell moves the execution counts by one.
    """
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    heading, _, text = first.source.partition("\n\n")
    text = text.partition("\n\n")[2] if text.startswith(BADGE) else text
    first.source = f"{heading}\n\n{badge(path.name, repository, ref)}\n\n{text}".rstrip()

    second = notebook.cells[1] if len(notebook.cells) > 1 else None
    if second is None or "setup" not in second.metadata.get("tags", []):
        code = [later for later in notebook.cells if later.cell_type == "code"]
        for counted in [*code, *(output for later in code for output in later.outputs)]:
            if counted.get("execution_count"):
                counted.execution_count += 1
        second = nbformat.v4.new_code_cell(execution_count=1, id="setup")
        notebook.cells.insert(1, second)
    second.source = cell(repository, ref)
    second.metadata = {"cellView": "form", "tags": TAGS}  # Colab shows a form's title, and not its code

    notebook.metadata["accelerator"] = "GPU"
    notebook.metadata["colab"] = {"name": path.name, "provenance": [], "toc_visible": True}
    notebook.metadata.pop("widgets", None)
    return notebook


def link_readme(text: str, rows: list[str]) -> str:
    """The README with these rows in its table of pages, between the two lines that mark its place."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"README.md must have a line {BEGIN} and below it a line {END}")
    table = "\n".join(["| | page | what you leave with | runs in |", "|---|---|---|---|", *rows])
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def linked(root: Path, repository: str, ref: str) -> dict[Path, str]:
    """All files that name the repository, as they must be."""
    text = json.dumps({"repository": repository, "ref": ref}, indent=2)
    files, rows = {root / "colab" / "links.json": f"{text}\n"}, []
    for about in pages(root):
        name = about["file"]
        notebook = link_notebook(root / "notebooks" / name, repository, ref)
        files[root / "notebooks" / name] = nbformat.writes(notebook).rstrip("\n") + "\n"
        link = f"[{title(notebook)}](notebooks/{name})"
        cells = [badge(name, repository, ref), link, about["leaves_with"], duration(about["run_seconds"])]
        rows.append(f"| {' | '.join(cells)} |")
    readme = root / "README.md"
    return files | {readme: link_readme(readme.read_text(encoding="utf-8"), rows)}


def main(arguments=None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(prog="python -m colab.links", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--repository",
        metavar="OWNER/NAME",
        help="default: that of the remote origin, if on GitHub; to check: as it is",
    )
    parser.add_argument("--ref", help="a branch or a tag; default: as it is")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if something would be written")
    options = parser.parse_args(arguments)
    now = setting(root)
    found = None if options.check else origin(root)  # so that a clone of a fork passes the check
    repository, ref = options.repository or found or now["repository"], options.ref or now["ref"]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        parser.error(f"--repository must be owner/name, got {repository!r}")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", ref):
        parser.error(f"--ref must be a branch or a tag, got {ref!r}")
    files = linked(root, repository, ref)
    other = {path: text for path, text in files.items() if path.read_text(encoding="utf-8") != text}
    if options.check and other:
        names = ", ".join(path.relative_to(root).as_posix() for path in other)
        print(f"Not what leads to {repository} at {ref}: {names}. Run `make relink`, and commit that.")
        return 1
    for path, text in other.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    print(f"{len(files)} files lead to {repository} at {ref}. Changed, and to be committed: {len(other)}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
