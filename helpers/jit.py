"""How our CPU kernels are compiled: by Numba, with a cache on disk that may fail without harm.

Numba writes what it has compiled next to the source, into the user's cache folder, or where ``NUMBA_CACHE_DIR`` says. A
file that was cut off there, a full disk or a folder that cannot be written to is no reason to give up a kernel.
"""

import functools
import inspect
import os
import warnings

from numba import njit
from numba.core.caching import FunctionCache, NullCache

from helpers import simd


def cached_kernel(function):
    """Compile a function that releases the GIL, rounds as :data:`helpers.simd.CONTRACT` says, and is cached."""
    compiled = njit(nogil=True, fastmath=simd.CONTRACT)(function)
    try:
        compiled._cache = _Cache(function)
    except RuntimeError as error:  # there is no folder that could be written to
        _warn("in any folder", error)
        compiled._cache = NullCache()
    return compiled


class _Cache(FunctionCache):
    """Numba's cache, but it recompiles what it cannot read, and goes on without what it cannot write."""

    def __init__(self, function):
        super().__init__(function)
        # Numba compares the time of the kernel's own file. That of helpers.simd counts as well.
        self._cache_file._source_stamp = (self._cache_file._source_stamp, _age_of_parts())

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever comes of reading a damaged file
            try:
                self.flush()  # so that it is written anew
            except OSError as error:
                _warn(f"in {self.cache_path}", error)
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception as error:
            _warn(f"in {self.cache_path}", error)


@functools.cache
def _age_of_parts():
    return os.stat(inspect.getsourcefile(simd)).st_mtime_ns


def _warn(where, error):
    if where not in _warned:  # once, and not for every kernel
        _warned.add(where)
        warnings.warn(
            f"Compiled kernels cannot be kept {where} ({error}). They are compiled anew in every process, which takes"
            " some seconds. NUMBA_CACHE_DIR names another folder to keep them in.",
            stacklevel=4,
        )


_warned = set()
