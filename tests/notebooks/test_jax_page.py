"""The scans of appendix A1, as they are printed there, against the oracle; and the page where JAX is missing."""

import importlib.util
import os

import nbformat
import numpy as np
import oracle
import pytest
from nbclient import NotebookClient
from notebook_definitions import definitions
from repository import ROOT

STEM = "A1_the_scan_in_jax"
PAGE = ROOT / "notebooks" / f"{STEM}.ipynb"
pytestmark = pytest.mark.slow  # JAX compiles, and the page is run
BOUNDS = {"float32": 2e-5, "float64": 1e-12}  # the largest error over the largest number of an array


@pytest.fixture(params=BOUNDS)
def dtype(request):
    """A precision, with JAX set to it: what the switch was before, it is afterwards."""
    if importlib.util.find_spec("jax") is None and not os.environ.get("CI"):
        pytest.skip("JAX is not installed: pip install jax")
    import jax

    jax.config.update("jax_platforms", "cpu")  # as on the page
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param == "float64")
    yield np.dtype(request.param)
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("scan", ["loop", "parallel_scan", "loop_by_rows"])
def test_scans_written_out_equal_the_oracle(scan, dtype):
    page = definitions(STEM)
    arguments, weights = page["example"](56, dtype)
    exact = [x.astype(np.float64) for x in arguments]
    gradients = oracle.selective_scan_backward(*(w.astype(np.float64) for w in weights), *exact)
    expected = dict(zip(("y", "last state"), oracle.selective_scan(*exact), strict=True)) | gradients

    program, _ = page["with_gradients"](page[scan], 56, dtype)
    for (name, true), x in zip(expected.items(), program(arguments, weights), strict=True):
        assert x.dtype == dtype, name
        assert abs(np.asarray(x) - true).max() < BOUNDS[dtype.name] * abs(true).max(), name


def test_page_without_jax_says_so_and_goes_on():
    notebook = nbformat.read(PAGE, as_version=4)
    hide = """
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "jax" else find_spec(name, *rest)
"""
    notebook.cells.insert(0, nbformat.v4.new_code_cell(hide))
    NotebookClient(notebook, kernel_name="python3", timeout=300).execute()
    printed = ["".join(o.get("text", "") for o in c.outputs) for c in notebook.cells if c.cell_type == "code"]
    sentence = "JAX is not installed, so the cells below do nothing"
    (said,) = (number for number, text in enumerate(printed) if text.startswith(sentence))
    assert printed[said].count("\n") == 1 and said < 5 < len(printed)
    assert not any(printed[said + 1 :])
