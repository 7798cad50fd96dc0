"""The committed notebooks keep to the structure, and what they write out by hand equals the helpers."""

import ast
from pathlib import Path

import nbformat
import pytest
import torch
from structure import problems

from helpers.scan import associative, selective_scan

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def definitions(name):
    """Execute the imports, functions and classes of a notebook, and nothing else."""
    (path,) = (p for p in NOTEBOOKS if p.stem == name)
    cells = nbformat.read(path, as_version=4).cells
    body = [node for c in cells if c.cell_type == "code" for node in ast.parse(c.source).body]
    kept = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)]
    space = {"SEED": 0, "device": torch.device("cpu")}
    exec(compile(ast.Module(kept, []), path.name, "exec"), space)
    return space


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {"01_mnist_as_a_sequence", "04_selective_scan", "06_training"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_structure(path):
    assert problems(path) == []


@pytest.mark.parametrize("scan", ["loop", "unbound_loop", "parallel_scan"])
def test_scans_written_out_equal_the_helper(scan):
    page = definitions("04_selective_scan")
    arguments = page["example"](100, dtype=torch.float64)
    ours = selective_scan(*arguments, backend="reference")
    theirs = page[scan](*arguments)
    torch.testing.assert_close(theirs, ours, rtol=1e-12, atol=1e-14)
    weight = torch.randn_like(ours)
    for name, x, y in zip(
        "u delta A B C".split(),
        torch.autograd.grad((theirs * weight).sum(), arguments),
        torch.autograd.grad((ours * weight).sum(), arguments),
        strict=True,
    ):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("dtype, bound", [(torch.float32, 2e-6), (torch.float64, 1e-14)])
def test_kernel_written_out_equals_the_helper(dtype, bound):
    page = definitions("04_selective_scan")
    arguments = page["example"](100, dtype=dtype)
    expected = selective_scan(*arguments, backend="numba")
    assert page["difference"](page["by_hand"](*arguments), expected) < bound


def test_doubling_written_out_equals_the_helper():
    a, b = torch.rand(37, 3, dtype=torch.float64), torch.randn(37, 3, dtype=torch.float64)
    _, h = definitions("04_selective_scan")["prefixes"](a, b)
    torch.testing.assert_close(h, associative.states(a, b, torch.zeros(3, dtype=torch.float64)))
