"""Looking at what flows between the modules of a model, or changing it, for a while."""

from contextlib import contextmanager


@contextmanager
def forward_hooks(hooks):
    """Within this context ``(module, function)`` are forward hooks, as ``register_forward_hook`` takes them."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
