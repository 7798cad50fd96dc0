"""What all tests share."""

import helpers  # noqa: F401  before torch: it sets what torch reads when it is loaded

# isort: split
import pytest
import torch
from own_process import pytest_collection_modifyitems, pytest_runtest_makereport  # noqa: F401  hooks of pytest


@pytest.fixture
def set_threads():
    """``torch.set_num_threads``; afterwards the number is what it was."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
