"""The net holds: faults planted in a copy of a notebook, and which of the two checks goes red, where and why.

The copy is the first part of notebook 1, up to its training. It runs beside a copy of ``helpers``, so that these can be
damaged too. Code cells are counted from 1, as their execution counts are (nbval itself counts from 0).
"""

import shutil
import xml.etree.ElementTree

import nbformat
import pytest
from notebook_structure import problems
from repository import ROOT, run_python

from helpers import mnist

LIMIT = 40  # seconds a cell of the copy may take; the planted one sleeps for longer


class Copy:
    """A copy of the notebook and of the helpers, in a folder of its own."""

    def __init__(self, folder):
        self.path = folder / "copy.ipynb"
        self.helpers = folder / "helpers"
        # Compiled kernels are copied as well: the first cell that needs them would take long without.
        shutil.copytree(ROOT / "helpers", self.helpers, ignore=shutil.ignore_patterns("MNIST", "*.pyc"))
        # The editable installation would find in the real helpers what is missing in the copy.
        (folder / "sitecustomize.py").write_text(
            "import sys\n"
            "sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', '')]\n"
        )
        self.notebook = nbformat.read(ROOT / "notebooks" / "01_mnist_as_a_sequence.ipynb", as_version=4)
        titles = [cell.source.splitlines()[0] for cell in self.notebook.cells]
        del self.notebook.cells[titles.index("## Two yardsticks") :]

    def cell(self, words):
        """The one code cell that contains some words, and its number."""
        code = [cell for cell in self.notebook.cells if cell.cell_type == "code"]
        ((number, cell),) = ((i, c) for i, c in enumerate(code, start=1) if words in c.source)
        return number, cell

    def nbval(self):
        """Run nbval over the copy: ``{number of a cell that failed: why}``."""
        nbformat.write(self.notebook, self.path)
        report = self.path.with_suffix(".xml")
        command = ["-m", "pytest", "--nbval", "--nbval-current-env", f"--junitxml={report}", "-p", "no:cacheprovider"]
        command += ["--color=no", f"--nbval-cell-timeout={LIMIT}", self.path]
        environment = {"PYTHONPATH": str(self.path.parent), "MNIST_ROOT": str(mnist.ARCHIVES)}
        run = run_python(*command, cwd=self.path.parent, **environment)
        cases = list(xml.etree.ElementTree.parse(report).iter("testcase"))
        assert len(cases) == len([cell for cell in self.notebook.cells if cell.cell_type == "code"]), run.stdout
        red = {}
        for case in cases:
            failure = case.find("failure")
            if failure is not None:
                red[int(case.get("name").removeprefix("Cell ")) + 1] = failure.text
        assert (run.returncode == 0) == (not red), run.stdout
        return red

    def structure(self):
        nbformat.write(self.notebook, self.path)
        return problems(self.path)


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


def assert_red(found, expected):
    """Only the expected cells (or sentences) are red, each for the expected reason."""
    assert len(found) == len(expected), found
    if isinstance(found, dict):
        assert list(found) == list(expected), found
        found, expected = found.values(), expected.values()
    for text, reason in zip(found, expected, strict=True):
        assert reason in text


@pytest.mark.slow
def test_unplanted_copy_is_green(copy):
    assert copy.structure() == []
    assert copy.nbval() == {}


def change_number(cell):
    cell.outputs[0].text = cell.outputs[0].text.replace("every 28", "every 29")


def raise_error(cell):
    cell.source = cell.source.replace("28 * row + column", "28 * row + 28 * column + 784")


def hang(cell):
    cell.source = f"import time\n\ntime.sleep({20 * LIMIT})"


def strip_count(cell):
    cell.execution_count = None


def strip_count_and_output(cell):
    cell.execution_count, cell.outputs = None, []


def commit_error(cell):
    cell.outputs.append(nbformat.v4.new_output("error", ename="ValueError", evalue="planted", traceback=[]))


# In the order of the page; no other cell needs what is damaged.
FAULTS = [
    ("mnist.sequences(", strip_count_and_output, "execution count None, expected", None),
    ("training_set = mnist.load", commit_error, "an error output is committed: ValueError", "Missing output fields"),
    ("always answering", strip_count, "execution count None, expected", "Unrun reference cell has outputs"),
    ("digit[row, column]", raise_error, None, "IndexError"),
    ("ink every", change_number, None, "every 29"),
    ("randperm", hang, None, f"Timeout of {LIMIT} seconds exceeded"),
]


@pytest.mark.slow
def test_faults_in_single_cells(copy):
    """All in one copy, because each takes its time to run."""
    in_structure, in_nbval = [], {}
    for words, plant, said_by_structure, said_by_nbval in FAULTS:
        number, cell = copy.cell(words)
        plant(cell)
        if said_by_structure:
            in_structure.append(f"cell {number}: {said_by_structure}")
        if said_by_nbval:
            in_nbval[number] = said_by_nbval
    assert_red(copy.structure(), in_structure)
    assert_red(copy.nbval(), in_nbval)


@pytest.mark.slow
def test_what_the_structure_sees_and_nbval_does_not(copy):
    """Widget state, cells in another order, and that no cell is compared."""
    copy.notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    assert_red(copy.structure(), ["widget state"])
    number, cell = copy.cell("training_set = mnist.load")
    _, after = copy.cell("always answering")
    cells = copy.notebook.cells
    i, j = cells.index(cell), cells.index(after)
    cells[i], cells[j] = after, cell
    order = [
        f"cell {number}: execution count {number + 1}, expected {number}",
        f"cell {number + 1}: execution count {number}, expected {number + 1}",
    ]
    assert_red(copy.structure(), ["widget state", *order])
    for cell in cells:
        if cell.cell_type == "code" and cell.outputs:
            cell.metadata["tags"] = ["nbval-ignore-output"]
    change_number(copy.cell("ink every")[1])
    red = copy.structure()
    assert "no cell that prints is compared" in red[-1]
    assert sum("nothing in it is measured" in text for text in red) > 1
    assert copy.nbval() == {}


@pytest.mark.slow
def test_renamed_helper_function(copy):
    text = (copy.helpers / "mnist.py").read_text()
    text = text.replace("def sequences(", "def flattened(").replace("read=sequences", "read=flattened")
    (copy.helpers / "mnist.py").write_text(text)
    number, _ = copy.cell("mnist.sequences(")
    assert copy.structure() == []
    red = copy.nbval()
    assert min(red) == number and "has no attribute 'sequences'" in red[number]


@pytest.mark.parametrize(
    "plant, said",
    [
        (lambda cell: cell.metadata.update(tags=["nbval-skip"]), "no cell is skipped"),
        (lambda cell: cell.metadata.update(tags=["raises-exception"]), "no cell is skipped, or expected to fail"),
        (lambda cell: cell.update(source="# NBVAL_SKIP\n" + cell.source), "a comment speaks to nbval"),
        (lambda cell: cell.update(source="%tiem 1"), "not plain Python"),
        (lambda cell: cell.update(source=""), "empty"),
        (lambda cell: cell.update(source=cell.source + ";"), "ends in a semicolon"),
        (lambda cell: cell.metadata.update(tags=["nbval-ignore-output"]), "nothing in it is measured"),
        (lambda cell: cell.outputs.append(nbformat.v4.new_output("stream", name="stderr", text="x")), "on stderr"),
        (lambda cell: cell.outputs[0].update(text="/home/me/mnist"), "a place on the author's machine"),
    ],
)
def test_what_the_structure_alone_can_see(copy, plant, said):
    number, cell = copy.cell("digit[row, column]")
    plant(cell)
    red = copy.structure()
    assert any(text.startswith(f"cell {number}: ") and said in text for text in red), red


def test_a_formula_whose_backslash_was_eaten(copy):
    copy.notebook.cells[0].source += " $x^\top$"
    assert any("such as \\top" in problem for problem in copy.structure())
