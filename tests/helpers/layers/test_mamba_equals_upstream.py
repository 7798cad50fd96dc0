"""Upstream's Triton kernel for one step, unmodified, beside ours: run by ``test_official.py``, by itself.

With TRITON_INTERPRET=1 it runs on the CPU, once the GPU that it wants to choose is left out. Where there is a GPU,
``upstream.py`` runs the real one.
"""

import contextlib
import os

import pytest
import torch
from test_scan import error

from helpers.layers import mamba
from helpers.scan import mamba_ssm_shim

assert os.environ.get("TRITON_INTERPRET") == "1", "this file is run by test_official.py"
mamba_ssm_shim.install()

from mamba_ssm.modules import mamba_simple  # noqa: E402


@pytest.mark.parametrize("options", [{"d_model": 16}, {"d_model": 6, "d_state": 4, "expand": 3, "d_conv": 2}])
def test_one_token_at_a_time(monkeypatch, options):
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    assert mamba_simple.selective_state_update is not None, "Triton is not installed"
    torch.manual_seed(0)
    theirs = mamba_simple.Mamba(**options)
    ours = mamba.Mamba(**options)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 10, options["d_model"])
    with torch.no_grad():
        _, state = ours(x[:, :6], return_state=True)
        # Upstream keeps one input more, which its step throws away first.
        window = torch.cat([torch.zeros_like(state.window[..., :1]), state.window], -1)
        h = state.h.clone()
        for t in range(6, 10):
            expected, window, h = theirs.step(x[:, t : t + 1], window, h)
            y, state = ours.step(x[:, t], state)
            assert error(y, expected[:, 0]) < 1e-6
            assert error(state.h, h) < 1e-6 and error(state.window, window[..., 1:]) < 1e-6
