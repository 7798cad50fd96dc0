"""How the tests are shared out where there are several workers: ``pytest -n 2``, of pytest-xdist.

Each test goes to the worker that is free first, but for those of some files: what they share would be made once by each
worker, and takes long. They stay together, and go first, because they are many: the end is made of single tests, in
their usual order. (Marks ``xdist_group`` could say the same. With pytest 9.2 they do nothing: pytest-xdist #1386.)

To be imported before torch: a worker, and what it starts, has no more threads than its part of the processors.
"""

import os

import pytest

SHARE = {
    "the processes of own_process.py": (
        "helpers/conv/test_triton_kernel.py",
        "helpers/layers/test_mamba_equals_upstream.py",
        "helpers/scan/test_triton_kernel.py",
        "helpers/scan/test_upstream_scan.py",
    ),
    "the pages and a browser": tuple(
        f"website/test_{name}.py" for name in ("site", "try", "exercises", "explorables", "finish", "looking")
    ),
    "results of the oracle": ("helpers/scan/test_scan.py",),
}
GROUPS = {f"tests/{file}": shared for shared, files in SHARE.items() for file in files}

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    threads = max(1, os.cpu_count() // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may be missing
def pytest_xdist_make_scheduler(config, log):
    if config.option.dist != "load":  # what -n alone means
        return None
    assert all((config.rootpath / file).is_file() for file in GROUPS), "a file in SHARE has another name now"
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return GROUPS.get(nodeid.partition("::")[0], nodeid)

    return Scheduling(config, log)
