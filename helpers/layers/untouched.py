"""Whether a module may be replaced by a fused kernel that reads its weights."""

from torch.nn.modules import module as modules


def is_untouched(module, kind) -> bool:
    """Whether calling ``module`` does what its class, ``kind``, and its weights say, and nothing else.

    It does not if it is of another class (an adapter such as LoRA's, a quantized layer, a parametrized one), if a hook
    hangs on it (pruning, the older weight and spectral norms, or an observer), or if its ``forward`` was
    replaced. Then it must be called.
    """
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    if type(module) is not kind or any(hooks) or "forward" in vars(module):
        return False
    return not modules._has_any_global_hook()
