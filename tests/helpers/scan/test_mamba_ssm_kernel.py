"""Upstream's kernel behind our interface: what it is not asked for. Its numbers are in ``test_upstream_scan.py``."""

import warnings

import pytest
import torch
from scan_cases import arguments

from helpers.scan import mamba_ssm_kernel


@pytest.mark.parametrize(
    "change, said",
    [
        ({"u": torch.zeros(2, 4, 9, dtype=torch.float64)}, "u must be float32, float16 or bfloat16 .* torch.float64"),
        ({"u": torch.zeros(2, 4, 9, dtype=torch.int64)}, "u must be float32, .* got torch.int64"),
        ({"u": torch.zeros(0, 4, 9)}, r"u must be .* 1 <= batch .* got \(0, 4, 9\)"),
        ({"u": torch.zeros(2, 65536, 9, device="meta")}, r"u must be .* dim <= 65535 .* got \(2, 65536, 9\)"),
        ({"u": torch.zeros(2**17, 2**12, 2049, device="meta")}, r"u must be smaller .* makes 3221225472 numbers"),
        ({"A": torch.zeros(4, 3, dtype=torch.complex64)}, "A must be real .* got torch.complex64"),
        ({"A": torch.zeros(4, 257)}, r"A must be .* d_state <= 256 .* got \(4, 257\)"),
        ({"A": torch.zeros(4, 0)}, r"A must be .* 1 <= d_state .* got \(4, 0\)"),
        ({"initial_state": torch.zeros(2, 4, 3)}, r"initial_state must be None .* got \(2, 4, 3\)"),
    ],
)
def test_what_the_kernel_has_no_answer_for_is_refused(change, said):
    given = arguments(dtype=torch.float32) | {"initial_state": None}
    assert mamba_ssm_kernel.refusal(given["u"], given["A"], None) is None
    just_small_enough = torch.zeros(2**17, 2**12, 2048, device="meta")
    assert mamba_ssm_kernel.refusal(just_small_enough, given["A"]) is None
    with pytest.raises(ValueError, match=said):
        mamba_ssm_kernel.scan(**(given | change))


@pytest.mark.skipif(mamba_ssm_kernel.available("cuda"), reason="mamba-ssm's kernel is here")
def test_without_a_gpu_or_a_kernel_it_is_not_available():
    mamba_ssm_kernel._imports.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not any(mamba_ssm_kernel.available(device) for device in ("cuda", "cpu", torch.device("meta")))
