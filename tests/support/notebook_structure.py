"""The structural check: what must be true of a committed notebook and nbval cannot see.

The rule of comparison, which this file enforces:

* every cell runs; none is skipped, none is expected to fail;
* every cell's text is compared with the committed one, unless the cell is tagged ``nbval-ignore-output``;
* only a cell that shows something measured may be so tagged: a time, an accuracy, a version, the difference that
  ``check`` holds below its bound. Measured is what comes out of one of the functions in ``MEASURES``, and whatever is
  computed from that;
* every notebook has at least one compared cell that prints.
"""

import ast
from pathlib import Path

import nbformat
from repository import ROOT

MEASURES = {"describe", "median_seconds", "time_once", "time_interleaved", "perf_counter", "fit", "evaluate"}
MEASURES |= {"faster_in_bfloat16", "check", "thread_time"}
FORBIDDEN_TAGS = {"nbval-skip", "nbval-raises-exception", "raises-exception", "nbval-check-output"}
LARGEST = 1.5e6  # bytes; larger pages are slow to open and GitHub may refuse to show them


def problems(path: Path) -> list[str]:
    """What is wrong with the notebook at ``path``, a sentence each; empty if nothing is."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (ValueError, nbformat.ValidationError) as error:
        return [f"not a valid notebook: {error}"]
    found = []
    if "widgets" in notebook.metadata:
        found.append("the metadata hold widget state, which stops GitHub from rendering the page")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel must be python3")
    if path.stat().st_size > LARGEST:
        found.append(f"{path.stat().st_size / 1e6:.1f} MB, at most {LARGEST / 1e6} are allowed")
    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        found.append("the first cell must be text that starts with the title")
    if any("\t" in cell.source for cell in notebook.cells if cell.cell_type == "markdown"):
        found.append("a text has a tab in it: a formula whose \\t was read as one, such as \\top")

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    measured = set(MEASURES)
    compared = 0
    for number, cell in enumerate(code, start=1):
        # Cells are counted from 1 here, as the execution counts are; nbval counts code cells from 0.
        found += [f"cell {number}: {problem}" for problem in _cell_problems(cell, number, measured)]
        prints = any(_text(output) for output in cell.outputs)
        compared += prints and not _exempt(cell)
    if not compared:
        found.append("no cell that prints is compared: nbval would accept any output")
    return found


def _cell_problems(cell, number, measured):
    if not cell.source.strip():
        yield "empty"
    if cell.execution_count != number:
        yield f"execution count {cell.execution_count}, expected {number}: run all cells in order"
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"an error output is committed: {output.ename}"
        if output.get("name") == "stderr":
            yield "output on stderr is committed: a warning or a progress bar"
        if any("widget" in kind for kind in output.get("data", {})):
            yield "a widget is committed: use the text progress bar"
        for place in ("/home/", "/root/", "/Users/", "/tmp/", "C:\\", str(ROOT)):
            if place in _text(output):
                yield f"the output names a place on the author's machine ({place})"
    tags = set(cell.metadata.get("tags", []))
    for tag in sorted(tags & FORBIDDEN_TAGS):
        yield f"tag {tag}: no cell is skipped, or expected to fail, and comparison is the rule"
    if cell.source.rstrip().endswith(";"):
        yield "ends in a semicolon: under nbval IPython does not see it, and shows the value"
    if "NBVAL_" in cell.source:
        yield "a comment speaks to nbval: use a tag"
    try:
        tree = ast.parse(cell.source)
    except SyntaxError:
        yield "not plain Python: a misspelt magic passes nbval unseen, so there are none"
        return
    _spread(tree, measured)
    if _exempt(cell) and not _names(tree) & measured:
        yield "exempt from comparison, but nothing in it is measured"


def _exempt(cell):
    return "nbval-ignore-output" in cell.metadata.get("tags", [])


def _text(output):
    return output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))


def _names(tree):
    """All names and attributes that a piece of code mentions."""
    return {node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)}  # fmt: skip


def _spread(tree, measured):
    """Add to ``measured`` what the code computes from what is measured."""
    for _ in range(2):  # twice, for what a loop computes in one round and uses in the next
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                if _names(node) & measured:
                    measured.add(node.name)
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", None) in ("append", "extend", "update"):
                if any(_names(argument) & measured for argument in node.args):
                    measured |= _names(node.func.value)
            elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.For | ast.comprehension):
                source = node.iter if isinstance(node, ast.For | ast.comprehension) else node.value
                if source is not None and _names(source) & measured:
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    measured |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
