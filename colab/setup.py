"""Install what this machine can use of mamba-ssm, in seconds: ``python colab/setup.py``.

PyPI holds only the source of mamba-ssm, and building its CUDA kernel takes a CUDA compiler and half an hour. So:

* with a GPU, the wheel of upstream's release that fits this Python, torch, CUDA and C++ ABI, if there is one;
* otherwise its Python part, without the kernel: enough to read it, and to compare our scan with its slow reference.

Nothing else is touched, and nothing in the tutorial stops if this fails: the exit status says whether it worked.
"""

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

VERSION = "2.3.2.post1"
RELEASES = f"https://github.com/state-spaces/mamba/releases/download/v{VERSION}"
CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
PATIENCE = 600  # seconds for one installation; the builds that hang are those of the CUDA source, which is not built

# Without its kernel mamba_ssm does not import, unless something stands where the kernel's module would.
PYTHON_PART = """
import sys, types
sys.modules["selective_scan_cuda"] = types.ModuleType("selective_scan_cuda")
from mamba_ssm.ops.selective_scan_interface import selective_scan_ref
"""
KERNEL = "import torch, selective_scan_cuda; from mamba_ssm import Mamba"


def wheel_name(python: tuple[int, int], torch_version: str, cuda: str, cxx11_abi: bool, machine: str) -> str:
    """The name of upstream's release wheel for a Python (major, minor), a torch and its CUDA, ABI and processor."""
    cp = "cp{}{}".format(*python)
    torch = ".".join(torch_version.split(".")[:2])
    abi = str(cxx11_abi).upper()
    return f"mamba_ssm-{VERSION}+cu{cuda.split('.')[0]}torch{torch}cxx11abi{abi}-{cp}-{cp}-linux_{machine}.whl"


def pip(*arguments: str, **environment: str) -> None:
    constraints = ["-c", str(CONSTRAINTS)] if arguments[0] == "install" and CONSTRAINTS.exists() else []
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*command, *constraints, *arguments[1:]],
        env={**os.environ, **environment},
        timeout=PATIENCE,
        check=True,
        capture_output=True,
        text=True,
    )


def works(code: str) -> bool:
    """Whether the code runs in a process of its own, where a crash costs nothing."""
    try:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def install() -> str:
    """Install, and return the sentence that says what is there now."""
    if platform.system() != "Linux":
        return f"mamba-ssm runs on Linux only, this is {platform.system()}; the tutorial's own scans do its work."
    import torch

    gpu = torch.cuda.is_available()
    if importlib.util.find_spec("mamba_ssm"):
        version = importlib.metadata.version("mamba-ssm")
        if works(KERNEL):
            return f"mamba-ssm {version} is installed, with its CUDA kernel."
        if not gpu and works(PYTHON_PART):
            return f"mamba-ssm {version} is installed, its Python part only: there is no GPU here."

    needs = ["einops", "transformers", "huggingface_hub", "setuptools", "wheel", "packaging", "ninja"]
    if not importlib.util.find_spec("triton"):  # comes with torch's CUDA builds
        needs.append("triton")
    pip("install", *needs)
    if gpu:
        abi = torch.compiled_with_cxx11_abi()
        wheel = wheel_name(sys.version_info[:2], torch.__version__, torch.version.cuda, abi, platform.machine())
        try:
            pip("install", "--no-deps", f"{RELEASES}/{wheel}")
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            print(f"There is no wheel {wheel}.")
        else:
            if works(KERNEL):
                return f"mamba-ssm {VERSION} is installed, with its CUDA kernel, from {wheel}."
            pip("uninstall", "--yes", "mamba-ssm")
            print(f"{wheel} was installed, could not be imported, and was removed.")
    pip(
        "install",
        "--no-build-isolation",
        "--no-deps",
        f"mamba-ssm=={VERSION}",
        MAMBA_FORCE_BUILD="TRUE",  # or it looks for a wheel on the network
        MAMBA_SKIP_CUDA_BUILD="TRUE",
    )
    if not works(PYTHON_PART):
        raise RuntimeError("its Python part was installed but cannot be imported")
    why = "no wheel fits the kernel to this torch" if gpu else "there is no GPU here"
    return f"mamba-ssm {VERSION}: its Python part is installed, not its CUDA kernel: {why}."


def main() -> int:
    try:
        print(install())
        return 0
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines() or [str(error)]
        # pip's first error names the package; what follows is advice
        cause = next((line for line in lines if line.startswith("ERROR: ")), lines[-1])
        why = cause.removeprefix("ERROR: ").rstrip(".")
    except (subprocess.TimeoutExpired, RuntimeError, ImportError, OSError) as error:
        why = str(error)
    print(
        f"Warning: mamba-ssm could not be installed ({why}). The tutorial runs without it."
        " Try again: python colab/setup.py (or: make mamba-ssm)",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
