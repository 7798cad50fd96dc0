"""What all tests share. Torch is loaded where it is needed: the first process of pytest-xdist only shares out."""

import helpers  # noqa: F401  before torch: it sets what torch reads when it is loaded

# isort: split
import pytest
from own_process import pytest_collection_modifyitems, pytest_runtest_makereport  # noqa: F401  hooks of pytest
from workers import pytest_xdist_make_scheduler  # noqa: F401  and of pytest-xdist


@pytest.fixture
def set_threads():
    """``torch.set_num_threads``; afterwards the number is what it was."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
