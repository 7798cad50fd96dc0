"""Does a kernel work here? It is compiled and run once, forward and backward, before anything rests on it."""

import warnings
from concurrent.futures import ThreadPoolExecutor


def kernel_works(probe, what: str, instead: str) -> bool:
    """Call ``probe``, which compiles a kernel and runs it: ``False``, and a warning, if it raises anything.

    It runs in a thread of its own. The first caller may be inside ``torch.no_grad``, a checkpoint, a transform of
    ``torch.func``, a fake or a tracing mode, or on another default device. All of these belong to a thread, and none of
    them should decide the answer. (The default dtype belongs to the process, so a probe names its dtype.)

    Args:
        probe: a function without arguments.
        what: the kernel, for the warning.
        instead: what takes its place, for the warning.
    """
    try:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(probe).result()
    except Exception as error:  # whatever a compiler can raise: what takes its place is slower, but right
        reason = (str(error).splitlines() or [""])[0]
        warnings.warn(f"{what} cannot be used here: {instead}. {type(error).__name__}: {reason}", stacklevel=3)
        return False
    return True
