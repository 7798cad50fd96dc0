"""The oracle's hand-derived gradient, which judges the kernels', is that of the oracle."""

import numpy as np
import oracle
import pytest
from scan_cases import FORMS, arguments


@pytest.mark.parametrize("delta_softplus", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("left_out", [(), ("D",), ("z",), ("delta_bias", "initial_state"), ("D", "z", "initial_state")])
def test_the_oracles_gradient_is_that_of_the_oracle(form, left_out, delta_softplus):
    """Central differences in float64: their own error is about 1e-9."""
    given = {name: x.numpy() for name, x in arguments(3, form, without=left_out).items()}
    y, last = oracle.selective_scan(**given, delta_softplus=delta_softplus)
    rng = np.random.default_rng(0)
    dy, dlast = rng.normal(size=y.shape), rng.normal(size=last.shape)

    def total():
        y, last = oracle.selective_scan(**given, delta_softplus=delta_softplus)
        return (dy * y).sum() + (dlast * last).sum()

    found = oracle.selective_scan_backward(dy, dlast, **given, delta_softplus=delta_softplus)
    assert found.keys() == given.keys()
    for name, x in given.items():
        expected = np.zeros(x.shape)
        for at in np.ndindex(x.shape):
            value, sides = x[at], []
            for side in (1e-5, -1e-5):
                x[at] = value + side
                sides.append(total())
            x[at] = value
            expected[at] = (sides[0] - sides[1]) / 2e-5
        assert abs(found[name] - expected).max() / abs(expected).max() < 1e-7, name
