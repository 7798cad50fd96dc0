"""``notebooks/run.py`` executes notebooks for real, saves them elsewhere, and stops at the first cell that fails."""

import textwrap

import nbformat
import pytest
from repository import run_python

pytestmark = pytest.mark.slow  # each starts a kernel


@pytest.fixture
def notebook(tmp_path):
    def make(*sources, tags=()):
        cells = [nbformat.v4.new_markdown_cell("# Title")]
        cells += [nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)}) for source in sources]
        path = tmp_path / "notebook.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return path

    return make


def run(*arguments):
    return run_python("notebooks/run.py", *arguments)


def test_run_saves_outputs_elsewhere_and_ends_with_the_results(notebook, tmp_path):
    source = "from tqdm import trange\nprint('accuracy 12 %')\nfor _ in trange(9, leave=False): pass"
    path = notebook(source, tags=["result"])
    before = path.read_bytes()
    done = run(path, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "[1/1] notebook:" in done.stdout and done.stdout.endswith("accuracy 12 %\n")
    assert str(tmp_path / "out") in done.stdout
    (cell,) = nbformat.read(tmp_path / "out" / "notebook.ipynb", as_version=4).cells[1:]
    assert cell.execution_count == 1 and [o.name for o in cell.outputs] == ["stdout"], "no progress bar is kept"
    assert path.read_bytes() == before, "the committed notebook stays as it is"


def test_a_warning_between_progress_bars_is_kept(notebook, tmp_path):
    source = """
    import sys, time, warnings
    from tqdm import tqdm
    for step in tqdm(range(8), desc="training", mininterval=0):
        for _ in tqdm(iter([1, 2]), leave=False, mininterval=0): pass
        if step == 3: warnings.warn("a loss was lost")
        if step == 5: print("said", "aside", sep="\\n", file=sys.stderr)
    """
    path = notebook(textwrap.dedent(source))
    done = run(path, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (cell,) = nbformat.read(tmp_path / "out" / "notebook.ipynb", as_version=4).cells[1:]
    assert {output.name for output in cell.outputs} == {"stderr"}
    said = "".join(output.text for output in cell.outputs)
    lines = [line for line in said.splitlines() if line.strip()]
    assert len(lines) == 4 and lines[0].endswith("UserWarning: a loss was lost"), said
    assert "warnings.warn" in lines[1] and lines[2:] == ["said", "aside"]


def test_run_in_place(notebook):
    path = notebook("1 + 1")
    assert run(path, "--in-place").returncode == 0
    (cell,) = nbformat.read(path, as_version=4).cells[1:]
    assert cell.execution_count == 1 and cell.outputs[0].data["text/plain"] == "2"


@pytest.mark.parametrize(
    "source, said",
    [("1 / 0", "ZeroDivisionError"), ("import time; time.sleep(60)", "timed out"), ("import os; os._exit(1)", "died")],
)
def test_failing_cell_stops_the_run(notebook, tmp_path, source, said):
    path = notebook("print('before')", source, "print('after')")
    done = run(path, "--output", tmp_path / "out", "--timeout", "5")
    assert done.returncode == 1
    assert "notebook: failed in cell 3 of 4" in done.stderr and said in done.stderr
    assert source in done.stderr or said == "died"
    kept = nbformat.read(tmp_path / "out" / "notebook.failed.ipynb", as_version=4)
    assert kept.cells[1].outputs[0].text == "before\n"
    assert not (tmp_path / "out" / "notebook.ipynb").exists()


def test_a_notebook_has_so_many_minutes_and_ends_in_the_cell_where_they_are_over(notebook, tmp_path):
    path = notebook(*["import time; time.sleep(3)"] * 20)
    done = run(path, "--output", tmp_path / "out", "--minutes", "0.12")
    assert done.returncode == 1 and "timed out" in done.stderr
    assert any(f"notebook: failed in cell {cell} of 21" in done.stderr for cell in (2, 3, 4, 5))


def test_run_names_a_notebook_that_is_not_there():
    done = run("none.ipynb")
    assert done.returncode == 2 and "there is no file none.ipynb; give a path" in done.stderr
