"""Put packages in place without touching any other.

pip installs a wheel of mamba-ssm without its dependencies. Where pip is missing or may not write, the wheel is unpacked
into a folder of ours, which goes on the path of this process and of those that it starts.
"""

import importlib
import importlib.machinery
import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from colab.steps import ROOT, Deadline, Failed, python, run

FOLDER = ROOT / "build" / "kernel"
PATIENCE = 60  # seconds
PACKAGE = "mamba-ssm"
NEEDS = ("einops", "transformers", "huggingface_hub", "packaging")  # what importing mamba_ssm needs besides torch
KERNEL = "selective_scan_cuda"
# As upstream's source is from the release after 2.3.2 on, unless MAMBA_KEEP_CUDA_BUILD=TRUE asks for more.
LEFT_OUT = f"it was built without {KERNEL}, the kernel of its Mamba-1"
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")


def present() -> bool:
    """Whether a kernel is installed, here or in our folder, right or not. A stand-in in memory does not count."""
    if FOLDER.is_dir():
        _use_folder()
    importlib.invalidate_caches()
    return importlib.machinery.PathFinder.find_spec(KERNEL) is not None


def version() -> str | None:
    """The installed version of mamba-ssm, or None where pip knows of none."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


def install(wheel: Path, deadline: Deadline) -> None:
    """Install a wheel and nothing else.

    Raises:
        colab.steps.Failed: if it can be neither installed nor unpacked.
    """
    try:
        # Not into the user site: not every process of this Python looks there.
        arguments = ("install", "--no-deps", "--no-index", "--no-user", "--force-reinstall", wheel)
        run(python(*PIP, *arguments), deadline, PATIENCE)
    except Failed as failure:
        try:
            shutil.rmtree(FOLDER, ignore_errors=True)
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(FOLDER)
        except (OSError, zipfile.BadZipFile) as problem:
            shutil.rmtree(FOLDER, ignore_errors=True)
            raise Failed(f"pip: {failure}; and it cannot be unpacked: {problem}") from None
        _use_folder()
    importlib.invalidate_caches()


def uninstall(deadline: Deadline) -> bool:
    """Remove mamba-ssm, wherever :func:`install` put it; returns whether it is gone."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    sys.path[:] = [place for place in sys.path if place != str(FOLDER)]
    rest = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place not in ("", str(FOLDER))]
    os.environ["PYTHONPATH"] = os.pathsep.join(rest)
    importlib.invalidate_caches()
    if version():
        try:
            run(python(*PIP, "uninstall", "--yes", PACKAGE), deadline, PATIENCE)
        except Failed:
            pass
        importlib.invalidate_caches()
    return not present() and version() is None


def _use_folder():
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
        paths = [str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def tutorial() -> list[str]:
    """What the pages themselves need, from the first part of ``requirements.txt``."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = text.partition("# running and testing")[0].splitlines()
    return [line for line in (line.partition("#")[0].strip() for line in lines) if line]


def missing(requirements) -> list[str]:
    """The requirements of which no version is installed. Any version will do: nothing is ever upgraded."""
    found = []
    for requirement in requirements:
        try:
            importlib.metadata.version(re.match(r"[\w.-]+", requirement)[0])
        except importlib.metadata.PackageNotFoundError:
            found.append(requirement)
    return found


def add(requirements: list[str], deadline: Deadline) -> None:
    """Install packages and what they need; everything that is already installed keeps its version.

    Raises:
        colab.steps.Failed: if that is impossible, or takes too long.
    """
    there = {d.name.lower(): d.version for d in importlib.metadata.distributions() if d.name}
    with tempfile.TemporaryDirectory() as folder:
        frozen = Path(folder) / "there.txt"
        frozen.write_text("".join(f"{name}=={version}\n" for name, version in there.items()), encoding="utf-8")
        run(python(*PIP, "install", "-c", frozen, *requirements), deadline, PATIENCE)
    importlib.invalidate_caches()
