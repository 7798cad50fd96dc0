"""Prove a scan kernel, in a process of its own: ``python -m colab.verify BACKEND DEVICE DTYPE...``.

The kernel runs forward and backward on the device that the notebook will use, at the tutorial's length and at one that
no kernel's block divides. Output and all gradients are held against the reference, a plain loop in float64. Prints the
largest ``max|x - y| / max|y|`` for each dtype, as JSON.
"""

import functools
import importlib
import itertools
import json
import sys

from colab import install
from colab.steps import Deadline, Failed, python, run

# max|x - y| / max|y|, of the output and of every gradient: several times the error of a right kernel (about 1e-6, and
# 4e-3), and far below that of a wrong one. Upstream's own tests allow 6e-4 and 3e-2 of each number, plus 2e-3 and 5e-2.
BOUNDS = {"float32": 1e-3, "bfloat16": 3e-2}
BATCH, DIM, D_STATE, LENGTHS = 2, 64, 16, (37, 784)
PATIENCE = 60  # seconds; importing mamba_ssm and its dependencies can take half of it on a cold disk


def verify(backend: str, device: str, dtypes: list[str], deadline: Deadline) -> dict[str, float]:
    """Prove one backend of ``helpers.scan`` on a device: the largest error in each dtype.

    Raises:
        colab.steps.Failed: if it does not import, crashes, hangs or is wrong.
    """
    return json.loads(run(python("-m", "colab.verify", backend, device, *dtypes), deadline, PATIENCE, SCAN_WITHOUT=""))


def kernel(backend: str):
    """The scan of one backend: no other takes its place."""
    from helpers.scan import mamba_ssm_kernel, selective_scan

    if backend != "mamba_ssm":
        return functools.partial(selective_scan, backend=backend)
    try:
        importlib.import_module(mamba_ssm_kernel.KERNEL)
    except ModuleNotFoundError:
        raise Failed(install.LEFT_OUT) from None
    if not mamba_ssm_kernel.compiled():
        raise Failed(f"{mamba_ssm_kernel.KERNEL} is not compiled")
    return mamba_ssm_kernel.scan


def error(scan, device: str, dtype: str, length: int) -> float:
    """The largest error of a scan's output and gradients."""
    import torch

    from helpers.testing import exact_scan, scan_inputs, with_gradients, worst_error

    inputs, dy = scan_inputs(BATCH, length, device, DIM, D_STATE)
    kind = getattr(torch, dtype)  # of what varies along the sequence; the rest is float32, as in a block
    inputs = {k: x.detach().to(kind if x.dim() == 3 else x.dtype).requires_grad_() for k, x in inputs.items()}
    dy = dy.to(kind)
    found = with_gradients(lambda: scan(*inputs.values(), delta_softplus=True), inputs, dy)
    return worst_error(found, exact_scan(inputs, dy))


def main(backend: str, device: str, *dtypes: str) -> int:
    try:
        scan, found = kernel(backend), dict.fromkeys(dtypes, 0.0)
        for length, dtype in itertools.product(LENGTHS, dtypes):
            differs = error(scan, device, dtype, length)
            if not differs <= BOUNDS[dtype]:  # also if it is NaN
                raise Failed(f"it is wrong: {dtype} differs by {differs:.0e}, more than {BOUNDS[dtype]:.0e}")
            found[dtype] = max(found[dtype], differs)
    except Exception as problem:  # whatever a broken package raises
        reason = str(problem).strip().splitlines() or [""]
        print(reason[0] if isinstance(problem, Failed) else f"{type(problem).__name__}: {reason[0]}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
