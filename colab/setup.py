"""Get the fastest selective scan that is proven to be right on this machine: ``python colab/setup.py``.

The first cell of every notebook calls :func:`main` on Colab. Candidates, in order: a kernel of mamba-ssm that is
already installed; the wheels of ``wheels.json`` that fit Python, torch, CUDA and ABI; then the tutorial's own kernels,
in Triton on a GPU and in Numba on a CPU, which need nothing installed. Each is run forward and backward in a process of
its own and held against the reference. One that fails is removed, with a line that says so, and the next one is tried.
On Colab all of it is over within two minutes, whatever hangs; if they run out, the tutorial's own kernel is used
unproven.

Nothing that is there is upgraded or replaced, nothing is compiled unless ``--build`` asks for it, and the exit status
says whether a kernel was proven.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import NamedTuple

if not __package__:  # run as a file: Python looks for packages in this folder, and not in the one above
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from colab import build, fetch, install, machine, python_part, verify, wheels
from colab.steps import ROOT, Deadline, Failed, TooSlow

SECONDS = 120  # for all of it, on Colab
PATIENCE = 600  # the same elsewhere, where nobody waits for a page and disks can be slow
RESERVE = 40  # of which our own kernels keep this much for their proof: Triton compiles for 10 seconds or more
WORTH = 5  # seconds below which no other candidate is begun
OWN = {
    "triton": "triton, the tutorial's own kernel for GPUs",
    "numba": "numba, the tutorial's own kernel for CPUs",
    "associative": "associative, in plain PyTorch: slower, but right",
    "reference": "reference, a loop in plain PyTorch: slow, but right",
}


class Choice(NamedTuple):
    """The kernel that the pages will use."""

    backend: str
    source: str  # what a reader is told it is
    errors: dict  # {dtype: largest error} of its proof, empty if there was none
    without: tuple = ()  # backends that failed and could not be removed


def choose(here: machine.Machine, deadline: Deadline, building: bool = False) -> Choice:
    """Try the candidates in order until one is proven; each that fails gets a line."""
    for_wheels, without = deadline.earlier(RESERVE), []
    if here.gpu:
        found = _installed(here, for_wheels, without)
        found = found or (_built(here) if building else _wheel(here, for_wheels))
        if found:
            return found
        if install.present() and "mamba_ssm" not in without:
            without.append("mamba_ssm")
    for backend in here.backends:
        try:
            errors = verify.verify(backend, here.device, here.dtypes(), deadline)
            return Choice(backend, OWN[backend], errors, tuple(without))
        except TooSlow:  # it may still be right: pages 4 and 5 hold it against the reference again
            return Choice(backend, OWN[backend], {}, tuple(without))
        except Failed as failure:
            print(f"Not used: {OWN[backend]}: {failure}.", flush=True)
            if backend in ("triton", "numba"):  # the others cannot be left out
                without.append(backend)
    raise Failed("no scan is right here, not even in plain PyTorch")


def upstream(here: machine.Machine, deadline: Deadline, network: bool = True) -> Choice | None:
    """Upstream's kernel, whatever it takes: the installed one, a wheel that fits, or one compiled in minutes."""
    return _installed(here, deadline, []) or (network and _wheel(here, deadline)) or _built(here)


def _installed(here, deadline, without):
    """The kernel that is already there, if it is right. A wrong one is removed on Colab, but nowhere else."""
    source = f"mamba_ssm {install.version() or 'of unknown version'}, already installed"
    if not install.present():
        if install.version():
            print(f"Not used: {source}: {install.LEFT_OUT}. Left in its place.", flush=True)
        return None
    try:
        return Choice("mamba_ssm", source, verify.verify("mamba_ssm", here.device, here.dtypes(), deadline))
    except Failed as failure:
        removed = machine.on_colab() and install.uninstall(deadline.earlier(-10))
        print(f"Not used: {source}: {failure}. {'Removed' if removed else 'Left in its place'}.", flush=True)
        if not removed:
            without.append("mamba_ssm")
        return None


def _wheel(here, deadline):
    """The first wheel that fits and is right. None is tried while a kernel is there that could not be removed, and
    none in place of another version, even if that has no kernel."""
    folder = ROOT / "build" / "wheels"
    if install.version() not in (None, wheels.table()["version"]):
        return None
    for wheel in wheels.fitting(here):
        if install.present() or deadline.left() < WORTH:
            break
        source = f"mamba_ssm {wheels.table()['version']}, {wheel.source}"
        path = None
        try:
            path = fetch.fetch(wheel, folder, deadline)
            return _proven(path, source, here, deadline)
        except Failed as failure:
            print(f"Not used: {source}: {failure}.", flush=True)
        finally:
            if path:
                path.unlink(missing_ok=True)
    return None


def _built(here):
    """The kernel, compiled here if it is right. It has no deadline: it was asked for, and shows its progress."""
    source = f"mamba_ssm {wheels.table()['version']}, compiled here"
    try:
        return _proven(build.build(here, ROOT / "build" / "wheels"), source, here, Deadline(SECONDS))
    except Failed as failure:
        print(f"Not used: {source}: {failure}.", flush=True)
        return None


def _proven(path, source, here, deadline):
    """Install a wheel and prove it; what fails is removed again."""
    try:
        needs = install.missing(install.NEEDS)
        if needs:
            install.add(needs, deadline)
        install.install(path, deadline)
        return Choice("mamba_ssm", source, verify.verify("mamba_ssm", here.device, here.dtypes(), deadline))
    except Failed as failure:
        removed = install.uninstall(deadline.earlier(-10))  # within what is kept for our own kernels
        raise Failed(f"{failure}. {'Removed' if removed else 'It could not be removed'}") from None


def _complete(deadline):
    """Install what the pages need and Colab lacks."""
    lacking = install.missing(install.tutorial())
    try:
        if lacking:
            install.add(lacking, deadline)
    except Failed as failure:
        print(
            f"Missing: {', '.join(lacking)} could not be installed: {failure}. Run this cell again; pages that need"
            " them stop where they import them.",
            flush=True,
        )


def main(arguments=None, began: float | None = None) -> int:
    """Run the command, or the first cell's part of it.

    Args:
        arguments: of the command.
        began: the ``time.monotonic()`` from which the two minutes count.

    Returns:
        The exit status: 0 if a kernel was proven.
    """
    parser = argparse.ArgumentParser(prog="python colab/setup.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--build", action="store_true", help="compile upstream's kernel for this GPU, if need be")
    options = parser.parse_args(arguments)
    deadline = Deadline(SECONDS if machine.on_colab() else PATIENCE, began)
    os.environ.pop("SCAN_WITHOUT", None)  # from an earlier run: everything is asked anew
    if machine.on_colab():
        _complete(deadline.earlier(2 * RESERVE))
    try:
        here = machine.probe(deadline.earlier(RESERVE))
    except Failed as failure:
        print(f"torch cannot be used here: {failure}. The pages need it. Run this again, or restart the runtime first.")
        return 1
    print(here, flush=True)
    try:
        choice = choose(here, deadline, options.build)
    except Failed as failure:
        print(f"This torch cannot be trusted: {failure}. Restart the runtime, and run this again.")
        return 1
    if choice.without:
        os.environ["SCAN_WITHOUT"] = ",".join(choice.without)
    print(f"Scan kernel: {choice.source}")
    errors = ", ".join(f"{dtype} differs by {error:.0e}" for dtype, error in choice.errors.items())
    proof = f"forward and backward equal the reference, {errors}" if errors else "not yet, time ran out; page 4 does"
    print(f"Verified:    {proof}", flush=True)
    if choice.backend != "mamba_ssm" and here.system == "Linux" and not machine.on_colab():
        try:
            print(python_part.ready())
        except Failed as failure:
            print(
                f"Warning: mamba-ssm's Python part could not be installed ({failure}). The tutorial runs without it."
                " Try again: python colab/setup.py (or: make install-mamba-ssm)",
                file=sys.stderr,
            )
            return 1
    return 0 if choice.errors else 1


if __name__ == "__main__":
    sys.exit(main())
