"""A compiled kernel is kept on the disk; a disk that fails costs time, and nothing else."""

import importlib.util
import warnings

import numba
import pytest
from numba.core.caching import IndexDataCacheFile

from helpers import jit


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A function that compiles a small kernel, as a new process would, and returns how often it was found on disk."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    numba.config.reload_config()  # which every compilation does, too
    monkeypatch.setattr(jit, "_warned", set())
    source = tmp_path / "small.py"
    source.write_text("def twice(x):\n    return 2 * x\n")

    def compile_and_call():
        spec = importlib.util.spec_from_file_location("small", source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        kernel = jit.cached_kernel(module.twice)
        assert kernel(21) == 42
        return sum(kernel.stats.cache_hits.values())

    yield compile_and_call
    monkeypatch.undo()
    numba.config.reload_config()


def files(tmp_path, pattern):
    return list((tmp_path / "cache").rglob(pattern))


def test_a_second_process_finds_what_the_first_has_compiled(compiled):
    assert compiled() == 0 and compiled() == 1


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("content", [b"", b"\x80\x05\x95", b"not a pickle"])
def test_a_damaged_cache_mends_itself(compiled, tmp_path, pattern, content):
    compiled()
    (damaged,) = files(tmp_path, pattern)
    damaged.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled() == 0 and compiled() == 1


def test_a_full_disk_is_said_once_with_folder_and_variable(compiled, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "_save_data", full)
    with pytest.warns(UserWarning, match=rf"cannot be kept in {tmp_path}/cache.*No space left.*NUMBA_CACHE_DIR"):
        compiled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled()


def test_no_folder_at_all_is_said_too(compiled, monkeypatch):
    def nowhere(*_):
        raise RuntimeError("cannot cache function 'twice': no locator available")

    monkeypatch.setattr(jit, "_Cache", nowhere)
    with pytest.warns(UserWarning, match=r"cannot be kept in any folder.*NUMBA_CACHE_DIR"):
        assert compiled() == 0


def test_a_change_in_what_kernels_are_made_of_counts(compiled, monkeypatch):
    compiled()
    monkeypatch.setattr(jit, "_age_of_parts", lambda: 0)
    assert compiled() == 0


def test_a_kernel_releases_the_gil_and_contracts_and_nothing_more():
    @jit.cached_kernel
    def kernel(x):
        return x

    assert kernel.targetoptions["nogil"] and kernel.targetoptions["fastmath"] == {"contract"}
