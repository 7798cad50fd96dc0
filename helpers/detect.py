"""Does a kernel work here? It is compiled and run once, forward and backward, before anything rests on it."""

import warnings

import torch


def kernel_works(probe, what: str, instead: str) -> bool:
    """Call ``probe``, which compiles a kernel and runs it: ``False``, and a warning, if it raises anything.

    Args:
        probe: a function without arguments.
        what: the kernel, for the warning.
        instead: what takes its place, for the warning.
    """
    try:
        with torch.inference_mode(False), torch.enable_grad():
            probe()
    except Exception as error:  # whatever a compiler can raise: what takes its place is slower, and as right
        reason = (str(error).splitlines() or [""])[0]
        warnings.warn(f"{what} cannot be used here: {instead}. {type(error).__name__}: {reason}", stacklevel=3)
        return False
    return True
