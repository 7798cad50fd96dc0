"""Upstream's scan on the stand-in for its kernel, and our way to its kernel: ``helpers.scan.mamba_ssm_kernel``."""

import functools

import pytest
import torch
from scan_cases import FORMS, assert_equal, error, with_gradients
from upstream import BOUND, inputs, interface, on_the_stand_in

from helpers.scan import mamba_ssm_kernel, selective_scan

pytestmark = pytest.mark.own_process()
assert_equal = functools.partial(assert_equal, bound=BOUND)


def upstream_scan(**given):
    y, last_state = interface.selective_scan_fn(**given, return_last_state=True)
    # Upstream leaves a fixed B out of the last state: see selective_scan_fwd_kernel.cuh; seen on an H200.
    return y, last_state * given["B"] if given["B"].dim() == 2 else last_state


def reference_scan(**given):
    """In float64 on the CPU, so that the bound is that of the other side."""
    given = {name: x.cpu().double() if torch.is_tensor(x) else x for name, x in given.items()}
    return selective_scan(**given, return_last_state=True, backend="reference")


@pytest.mark.parametrize("delta_softplus", [True, False])
@pytest.mark.parametrize("left_out", [(), ("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
@pytest.mark.parametrize("form", FORMS)
def test_upstreams_function_in_all_its_forms(stand_in, form, left_out, delta_softplus):
    given = inputs(form=form, length=7, without=("initial_state", *left_out))
    theirs, ours = (functools.partial(x, delta_softplus=delta_softplus) for x in (upstream_scan, reference_scan))
    assert_equal(with_gradients(theirs, given), with_gradients(ours, given))


@pytest.mark.parametrize("complex_A", [False, pytest.param(True, marks=on_the_stand_in)])
@pytest.mark.parametrize("form", FORMS)
def test_upstreams_function_equals_upstreams_reference(form, complex_A):
    given = inputs(form=form, complex_A=complex_A)
    slow = functools.partial(interface.selective_scan_ref, return_last_state=True)
    fast, slow = (functools.partial(x, delta_softplus=True) for x in (upstream_scan, slow))
    assert_equal(with_gradients(fast, given), with_gradients(slow, given))


# --- our way to the kernel --------------------------------------------------------------------------------------------


def our_scan(**given):
    return mamba_ssm_kernel.scan(**given, return_last_state=True)


@pytest.mark.parametrize("B_form", FORMS)
@pytest.mark.parametrize("C_form", FORMS)
def test_in_all_forms(B_form, C_form):
    given = inputs(form=B_form) | {"C": inputs(form=C_form, seed=1)["C"]}
    ours, reference = (functools.partial(x, delta_softplus=True) for x in (our_scan, reference_scan))
    assert_equal(with_gradients(ours, given), with_gradients(reference, given))


@pytest.mark.parametrize("B_groups, C_groups", [(2, 1), (1, 4), (2, 4), (4, 4), (None, 4)])
def test_with_groups_of_two_sizes(B_groups, C_groups):
    given = inputs(form="groups", groups=B_groups) if B_groups else inputs(form="fixed")
    given["C"] = inputs(form="groups", groups=C_groups, seed=1)["C"]
    assert_equal(with_gradients(our_scan, given), with_gradients(reference_scan, given))


@pytest.mark.parametrize("length", [1, 128, 130, 2048, 2050])
@pytest.mark.parametrize("left_out", [("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
def test_without_what_is_optional(left_out, length):
    given = inputs(length=length, without=("initial_state", *left_out))
    given |= {name: x.abs() for name, x in given.items() if name.startswith("delta")}  # as there is no softplus
    assert_equal(with_gradients(our_scan, given), with_gradients(reference_scan, given))
    last = our_scan(**given)[1]
    assert last.shape == (2, 4, 3) and last.dtype == torch.float32
    assert torch.equal(mamba_ssm_kernel.scan(**given), our_scan(**given)[0])


@pytest.mark.parametrize("kept", [(), ("A", "D", "delta_bias"), ("delta",), ("B", "C"), ("z",)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", FORMS)
def test_in_half_precision(form, dtype, kept):
    """What is float32 beside a half-precision u keeps its digits."""
    given = {name: x if name in kept else x.to(dtype) for name, x in inputs(form=form, length=30).items()}
    if "delta" in kept:
        given["delta"] = given["delta"] * 2.0**-20 + 1  # digits that half precision does not have
    y, last = our_scan(**given, delta_softplus=True)
    expected, expected_last = reference_scan(**given, delta_softplus=True)
    assert (y.dtype, last.dtype) == (dtype, torch.float32)
    assert error(y, expected) < torch.finfo(dtype).eps and error(last, expected_last) < BOUND


def test_takes_float64_beside_float32():
    given = {name: x if name == "u" else x.double() for name, x in inputs().items()}
    found = with_gradients(our_scan, given)
    assert_equal(found, with_gradients(reference_scan, given))
    assert found["y"].dtype == found["last_state"].dtype == torch.float32 and found["dA"].dtype == torch.float64


def test_from_any_strides(monkeypatch):
    """Views, and an address that is not a multiple of 16: at length 128 the kernel reads 16 bytes at a time."""
    given = inputs(length=128)
    views = {name: x.transpose(0, -1).contiguous().transpose(0, -1) for name, x in given.items()}
    shifted = {name: torch.cat([x.new_ones(1), x.flatten()])[1:].view(x.shape) for name, x in given.items()}
    expected = with_gradients(reference_scan, given)
    seen = []

    def looked_at(function):
        def call(*arguments):
            tensors = [x for x in arguments if torch.is_tensor(x)]
            seen.append(all(x.is_contiguous() and x.data_ptr() % 16 == 0 for x in tensors))
            return function(*arguments)

        return call

    kernel = interface.selective_scan_cuda
    for name in ("fwd", "bwd"):
        monkeypatch.setattr(kernel, name, looked_at(getattr(kernel, name)))

    def cut(**x):  # so that the gradient that comes back is a view, too
        y, last = our_scan(**x)
        return torch.cat([torch.zeros_like(y[..., :1]), y], -1)[..., 1:], last

    for strided in (views, shifted):
        assert all(strided[name].data_ptr() % 16 or not strided[name].is_contiguous() for name in ("u", "delta", "B"))
        assert_equal(with_gradients(cut, strided), expected)
    assert seen == [True] * 4


def test_has_no_gradient_through_the_last_state():
    given = {name: x.requires_grad_() for name, x in inputs().items()}
    y, last = our_scan(**given)
    with pytest.raises(RuntimeError, match="no gradient through the last state with backend 'mamba_ssm'"):
        (y.sum() + last.sum()).backward()
    y, last = our_scan(**given)
    with pytest.raises(RuntimeError, match="no gradient through the last state"):
        last.sum().backward()
    y, last = our_scan(**given)
    (y.sum() + last.detach().sum()).backward()
    assert given["u"].grad is not None
    with torch.no_grad():
        assert not our_scan(**given)[1].requires_grad
