"""What the tests of scans and layers share."""

import pytest


@pytest.fixture(params=["kernel", "oracle"])
def stand_in(request):
    """Upstream's package with the stand-in for its kernel, twice: on our own kernel, and on the oracle."""
    import upstream

    yield from upstream.stand_in(request.param)
