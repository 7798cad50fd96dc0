"""One deadline for everything, and steps that run in processes of their own: one that hangs or crashes does not take
the notebook with it. Standard library only: it works where torch does not.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Failed(Exception):
    """A step did not do what it should; the message is the end of a sentence that says why."""


class TooSlow(Failed):
    """A step was not done in time: whether it would have succeeded is not known."""


class Deadline:
    """A moment on the monotonic clock, shared by all steps.

    Args:
        seconds: from now.
        began: or from this ``time.monotonic()``.
    """

    def __init__(self, seconds: float, began: float | None = None):
        self.end = (time.monotonic() if began is None else began) + seconds

    def left(self) -> float:
        return self.end - time.monotonic()

    def earlier(self, seconds: float) -> "Deadline":
        """A deadline some seconds before this one, which are left for what comes later."""
        return Deadline(self.left() - seconds)


def python(*arguments) -> list[str]:
    """A command for :func:`run`: this Python, with some arguments."""
    return [sys.executable, *map(str, arguments)]


def run(command: list[str], deadline: Deadline, limit: float, **environment: str) -> str:
    """Run a command in the repository's root and return the last line that it prints.

    Args:
        command: the program and its arguments.
        deadline: when all of it must be over.
        limit: seconds that this command may take.
        environment: variables to set besides those of this process.

    Raises:
        Failed: if it exits with an error or crashes.
        TooSlow: if it takes too long. Then it and all that it started are killed.
    """
    seconds = min(limit, deadline.left())
    if seconds <= 0:
        raise TooSlow("no time was left for it")
    # Files, not pipes: a pipe stays open as long as any grandchild lives.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=error,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TooSlow(f"it took longer than {seconds:.0f} s") from None
        finally:
            _kill(process)
        out.seek(0), error.seek(0)
        said, complaint = (file.read().decode(errors="replace") for file in (out, error))
    if code < 0:
        raise Failed(f"it crashed ({signal.Signals(-code).name})")
    if code:
        raise Failed(_cause(complaint) or f"exit status {code}")
    return (said.strip().splitlines() or [""])[-1]


def _kill(process):
    """End the process and what it started; what cannot be killed is not waited for."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)  # its session is its own, so this is not ours
        except (ProcessLookupError, PermissionError):
            pass
    elif process.poll() is None:
        process.kill()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        pass


def _cause(complaint):
    """The line that names the cause: pip's first error, else the last line, without the folders of files."""
    lines = complaint.strip().splitlines() or [""]
    line = next((line for line in lines if line.startswith("ERROR: ")), lines[-1])
    line = re.sub(r"(?<![:/\w])/(?:[^/\s]+/)+", "", line.removeprefix("ERROR: ").strip().rstrip("."))
    return line if len(line) <= 200 else line[:197] + "..."
