"""What PyTorch may ask of an operator besides its gradient: a second one, tangents, a transform, an export.

The fused kernels compute an output and a gradient. Everything beyond that is rare, and comes from the same formula in
plain PyTorch, whose derivatives are right without being written by hand.
"""

import torch
from torch.autograd import forward_ad


def only_plain() -> bool:
    """Whether nothing but plain PyTorch will do: under ``torch.func``, in forward-mode differentiation, in an export.

    An operator of ours would silently drop tangents (``jvp``, ``jacfwd``, ``dual_level``), and raise under ``grad`` and
    ``vmap``. An exported program must run in places where our operators do not exist.
    """
    active = forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()
    return active or torch.compiler.is_exporting()


def gradients(function, tensors, slopes) -> list:
    """The gradients of a function in plain PyTorch, as something that can be differentiated again.

    Args:
        function: takes ``tensors`` and returns a tuple of tensors.
        tensors: several may be None.
        slopes: the gradient of each result, or None.

    Returns:
        A gradient for each of ``tensors``; None for what is None.
    """
    # Views: one of them may have been computed from another, and only the way through the function counts.
    views = [None if x is None else x.view_as(x).requires_grad_(True) for x in tensors]
    pairs = [(y, slope.to(y.dtype)) for y, slope in zip(function(*views), slopes, strict=True) if slope is not None]
    given = [x for x in views if x is not None]
    outputs, slopes = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(outputs, given, slopes, create_graph=True, allow_unused=True))
    return [None if x is None else next(found) for x in views]


def differentiate_again(backward, plain) -> None:
    """Let an operator that computes gradients be differentiated itself, any number of times.

    Args:
        backward: the operator. It returns a list of tensors.
        plain: the same by way of :func:`gradients`, with the same arguments.
    """

    def keep(ctx, inputs, output):
        ctx.places = [place for place, x in enumerate(inputs) if isinstance(x, torch.Tensor)]
        ctx.others = [None if isinstance(x, torch.Tensor) else x for x in inputs]
        ctx.save_for_backward(*(inputs[place] for place in ctx.places))

    def differentiate(ctx, slopes):
        arguments = list(ctx.others)
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            for place, x in zip(ctx.places, ctx.saved_tensors, strict=True):
                # A view: one argument may have been computed from another, and this is not the way to that one.
                arguments[place] = x.view_as(x) if x.requires_grad else x
            asked = [place for place in ctx.places if arguments[place].requires_grad]
            pairs = [
                (g, slope)
                for g, slope in zip(plain(*arguments), slopes, strict=True)
                if g is not None and slope is not None and g.requires_grad
            ]
            outputs, slopes = zip(*pairs, strict=True) if pairs else ((), ())
            found = torch.autograd.grad(
                outputs, [arguments[place] for place in asked], slopes, allow_unused=True, create_graph=again
            )
        results = [None] * len(arguments)
        for place, g in zip(asked, found, strict=True):
            results[place] = g
        return tuple(results)

    backward.register_autograd(differentiate, setup_context=keep)


def refuse_batched(gradient) -> None:
    """Say what to do instead where ``is_grads_batched`` has sent many gradients at once.

    Raises:
        RuntimeError: if it has.
    """
    if torch._C._functorch.is_legacy_batchedtensor(gradient):
        raise RuntimeError(
            "the fused kernels take one gradient at a time, and not many, as is_grads_batched=True and vectorize=True"
            " send them. torch.func.jacrev, and torch.func.vmap of torch.func.vjp, can do it"
        )
