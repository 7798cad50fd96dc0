"""The committed notebooks keep to the structure that ``notebook_structure.py`` states."""

import pytest
from notebook_structure import problems
from repository import NOTEBOOKS


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 8


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_structure(path):
    found = problems(path)
    assert not found, "\n".join(found)
