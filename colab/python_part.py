"""The Python part of mamba-ssm, without its kernel: enough to compare our block and our scan with upstream's.

Its source installs in seconds if the kernel is not compiled. This is for your own computer: on Colab, nothing is
installed that the pages do not need.
"""

from colab import wheels
from colab.install import NEEDS, PACKAGE, PIP, version
from colab.steps import ROOT, Deadline, python, run

CONSTRAINTS = ROOT / "constraints.txt"
PATIENCE = 600  # seconds for all of it
BUILDING = ("setuptools", "wheel", "ninja")

# Without its kernel mamba_ssm 2.3.2 does not import, unless another module goes by the kernel's name.
IMPORTS = """
import sys, types
sys.modules["selective_scan_cuda"] = types.ModuleType("selective_scan_cuda")
from mamba_ssm.ops.selective_scan_interface import selective_scan_ref
"""


def ready() -> str:
    """Install it if it is missing, and return a sentence that says what is there.

    Raises:
        colab.steps.Failed: if it cannot be installed, or not imported afterwards.
    """
    deadline = Deadline(PATIENCE)
    if version() is None:
        constraints = ("-c", CONSTRAINTS) if CONSTRAINTS.exists() else ()
        # triton comes with torch's CUDA builds, and then in the one version that fits
        run(python(*PIP, "install", *constraints, *NEEDS, *BUILDING, "triton"), deadline, PATIENCE)
        source = ("--no-build-isolation", "--no-deps", f"{PACKAGE}=={wheels.table()['version']}")
        # FORCE: or it looks for a wheel on the network. SKIP: the kernel, which takes half an hour.
        skipping = {"MAMBA_FORCE_BUILD": "TRUE", "MAMBA_SKIP_CUDA_BUILD": "TRUE"}
        run(python(*PIP, "install", *source), deadline, PATIENCE, **skipping)
    run(python("-c", IMPORTS), deadline, PATIENCE)
    return f"mamba-ssm {version()}: its Python part is installed, not its CUDA kernel."
