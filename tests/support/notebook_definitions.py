"""What a notebook defines, without running its cells."""

import ast

import nbformat
import torch
from repository import ROOT


def definitions(name):
    """Execute the imports, functions, classes and constants (in capitals, written as such) of a notebook, no more."""
    path = ROOT / "notebooks" / f"{name}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    body = [node for c in cells if c.cell_type == "code" for node in ast.parse(c.source).body]
    defining = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef
    kept = [node for node in body if isinstance(node, defining) or _is_constant(node)]
    space = {"device": torch.device("cpu")}
    exec(compile(ast.Module(kept, []), path.name, "exec"), space)
    return space


def _is_constant(node):
    if not isinstance(node, ast.Assign):
        return False
    names = [name for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    literal = all(isinstance(part, ast.Constant | ast.Tuple | ast.Load) for part in ast.walk(node.value))
    return literal and all(name.id.isupper() for name in names)
