"""Whether a kernel works is found out in the same way whoever asks first, and whatever is going on there."""

import contextlib
import warnings

import pytest
import torch
from repository import run_python
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from helpers import conv, scan
from helpers.detect import kernel_works
from helpers.layers import Mamba

needs_numba = pytest.mark.skipif("numba" not in scan.backends("cpu"), reason="Numba does not work here")


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def inside(context):
    def ask(question):
        with context():
            question()

    return ask


def traced(question):
    torch.jit.trace(lambda x: (question(), x + 1)[1], torch.ones(1), check_trace=False)


CONTEXTS = {
    "no_grad": inside(torch.no_grad),
    "inference_mode": inside(torch.inference_mode),
    "autocast": inside(lambda: torch.autocast("cpu", torch.bfloat16)),
    "float16": inside(lambda: default_dtype(torch.float16)),
    "float64": inside(lambda: default_dtype(torch.float64)),
    "meta": inside(lambda: torch.device("meta")),
    "fake tensors": inside(FakeTensorMode),
    "no saved tensors": inside(lambda: torch.autograd.graph.disable_saved_tensors_hooks("none")),
    "saved on the CPU": inside(torch.autograd.graph.save_on_cpu),
    "checkpoint": lambda ask: checkpoint(lambda x: (ask(), x * 2)[1], torch.ones(1), use_reentrant=False),
    "func.grad": lambda ask: torch.func.grad(lambda x: (ask(), x.sum())[1])(torch.ones(2)),
    "func.vmap": lambda ask: torch.func.vmap(lambda x: (ask(), x)[1])(torch.ones(2)),
    "func.jvp": lambda ask: torch.func.jvp(lambda x: (ask(), x)[1], (torch.ones(2),), (torch.ones(2),)),
    "jit.trace": traced,
}


@needs_numba
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:FutureWarning", "ignore:.*torch.jit.trace.*:DeprecationWarning")
@pytest.mark.parametrize("kernels", [scan, conv], ids=["scan", "conv"])
@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_it_does_not_matter_who_asks_first(kernels, context):
    answers = []

    def ask():
        kernels._numba_works.cache_clear()
        answers.append(kernels._numba_works())

    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The fused CPU")
        context(ask)
    assert answers and all(answers)


FIRST = {
    "export": "torch.export.export(block, (x,))",
    "jit.trace": "torch.jit.trace(block, x, check_trace=False)",
    "checkpoint": "torch.utils.checkpoint.checkpoint(block, x.requires_grad_(), use_reentrant=False).sum().backward()",
}


@needs_numba
@pytest.mark.slow
@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_the_first_call_of_a_process(first):
    code = f"""if True:
        import torch, torch.utils.checkpoint
        from helpers.layers import Mamba
        from helpers.scan import backends
        block, x = Mamba(16), torch.randn(2, 20, 16)
        {first}
        print(backends("cpu")[0])
    """
    run = run_python("-W", "ignore", "-c", code)
    assert (run.returncode, run.stdout) == (0, "numba\n"), run.stderr


def test_a_kernel_that_fails_is_named_once_with_its_reason():
    def fails():
        raise RuntimeError("no compiler\nand more")

    with pytest.warns(UserWarning, match="^Our kernel cannot be used here: another is. RuntimeError: no compiler$"):
        assert kernel_works(fails, "Our kernel", "another is") is False
    assert kernel_works(lambda: None, "Our kernel", "another is") is True


def test_a_block_on_the_meta_device_has_shapes():
    with torch.device("meta"):
        assert Mamba(8)(torch.randn(2, 5, 8)).shape == (2, 5, 8)
