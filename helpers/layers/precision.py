"""What a layer keeps in float32 when the rest of it is in half precision."""

import torch
from torch import nn


class Float32Parameters(nn.Module):
    """A module some of whose parameters keep float32 at least under ``.to(dtype)``, ``.half()`` and ``.bfloat16()``.

    Half precision is for what is multiplied once. A rate that decides what is left after a thousand steps needs all its
    digits. It is a few numbers a channel, so nothing is saved by cutting them.
    """

    float32_parameters = ()  # their names, of this module's own parameters

    def _apply(self, fn, recurse=True):
        own = [self._parameters[name] for name in self.float32_parameters]
        careful = {id(x) for x in own} | {id(x.grad) for x in own if x is not None and x.grad is not None}

        def moved_not_cut(x):
            y = fn(x)
            cut = id(x) in careful and torch.promote_types(y.dtype, torch.float32) != y.dtype
            return x.to(y.device) if cut else y

        return super()._apply(moved_not_cut, recurse)


def precise(x):
    """In float32 at least: decay rates close to zero, and sums over many steps, need its digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
