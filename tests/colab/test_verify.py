"""The proof of a kernel, made in a process of its own; that it fails for a wrong one is in the tests of bad wheels."""

import pytest

from colab import machine, steps, verify


@pytest.mark.slow
def test_the_proof_of_our_own_kernel_is_a_real_one():
    here = machine.probe(steps.Deadline(200))
    assert here.backends and (here.gpu is None) == (here.device == "cpu")
    errors = verify.verify(here.backends[0], here.device, here.dtypes(), steps.Deadline(200))
    assert list(errors) == here.dtypes() and errors["float32"] < 1e-5
    with pytest.raises(steps.Failed, match="it was built without selective_scan_cuda"):
        verify.verify("mamba_ssm", here.device, ["float32"], steps.Deadline(200))
