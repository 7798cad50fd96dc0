"""Everything that names this repository, from one setting, ``links.json``: ``make links REPO=owner/name REF=tag``.

Writes the badges of the README and of every notebook, and the notebooks' second cell, which fetches the repository on
Colab. Without arguments the repository is the checkout's own remote ``origin`` on GitHub, if it has one, and the ref
stays as it is. A ref is a branch or a tag.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- badges: made by `make links` -->", "<!-- end of badges -->"
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
TAGS = ["setup", "remove-cell"]  # remove-cell: the rendered pages leave it out

CELL = """\
# @title On Colab, run this first: it fetches the tutorial and proves its scan kernel. Elsewhere it does nothing.
import os
import sys

if "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ:
    import subprocess
    import time

    repository, ref = "{repository}", "{ref}"
    began, home = time.monotonic(), os.path.abspath(repository.partition("/")[2])
    if not os.path.isdir(home):
        os.environ["GIT_TERMINAL_PROMPT"] = "0"  # a question would hang
        subprocess.run(["rm", "-rf", home + ".part"])
        clone = ["git", "clone", "--quiet", "--depth", "1", "--branch", ref, f"https://github.com/{{repository}}"]
        if subprocess.run(["timeout", "60", *clone, home + ".part"]).returncode:
            raise RuntimeError(f"{{repository}} has no {{ref}}, or is not reached. Its README says what a fork needs.")
        os.rename(home + ".part", home)
    sys.path[:0] = [] if home in sys.path else [home]
    from colab import setup

    setup.main([], began)
"""


def setting(root: Path = ROOT) -> dict:
    """``{"repository": "owner/name", "ref": "main"}``, as it is now."""
    return json.loads((root / "colab" / "links.json").read_text(encoding="utf-8"))


def origin(root: Path) -> str | None:
    """``owner/name`` of the checkout's remote ``origin``, or None if it has none on GitHub."""
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        address = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(\.git)?/?\s*$", address)
    return found and found[1]


def page(name: str, repository: str, ref: str) -> str:
    """Where Colab opens a notebook."""
    return f"https://colab.research.google.com/github/{repository}/blob/{ref}/notebooks/{name}"


def badge(name: str, repository: str, ref: str) -> str:
    return f"{BADGE}({page(name, repository, ref)})"


def cell(repository: str, ref: str) -> str:
    """The source of the set-up cell."""
    return CELL.format(repository=repository, ref=ref).rstrip()


def write_notebook(path: Path, repository: str, ref: str) -> None:
    """Its badge, its set-up cell, what Colab reads in its metadata. A new cell moves the execution counts by one."""
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    title, _, text = first.source.partition("\n\n")
    text = text.partition("\n\n")[2] if text.startswith(BADGE) else text
    first.source = f"{title}\n\n{badge(path.name, repository, ref)}\n\n{text}".rstrip()

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
    path.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8", newline="\n")


def write_readme(path: Path, names: list[str], repository: str, ref: str) -> None:
    """A badge for each notebook, between the two lines that say so."""
    text = path.read_text(encoding="utf-8")
    badges = "\n".join(f"{name.partition('_')[0].lstrip('0')} {badge(name, repository, ref)}" for name in names)
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{path} must have a line {BEGIN} and below it a line {END}")
    path.write_text(f"{before}{begin}\n{badges}\n{end}{after}", encoding="utf-8", newline="\n")


def main(arguments=None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(prog="make links", description=__doc__.partition("\n")[0])
    parser.add_argument("--repository", metavar="OWNER/NAME", help="default: that of the remote origin, if on GitHub")
    parser.add_argument("--ref", help="a branch or a tag; default: as it is")
    options = parser.parse_args(arguments)
    now = setting(root)
    repository, ref = options.repository or origin(root) or now["repository"], options.ref or now["ref"]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        parser.error(f"REPO must be owner/name, got {repository!r}")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", ref):
        parser.error(f"REF must be a branch or a tag, got {ref!r}")
    text = json.dumps({"repository": repository, "ref": ref}, indent=2) + "\n"
    (root / "colab" / "links.json").write_text(text, encoding="utf-8", newline="\n")
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    for path in notebooks:
        write_notebook(path, repository, ref)
    write_readme(root / "README.md", [path.name for path in notebooks], repository, ref)
    print(f"{len(notebooks)} notebooks and the README now lead to {repository} at {ref}. Commit that.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
