"""Atomic writes: readers see the old file or the new one, never a partial one."""

import os
import tempfile
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Write ``content`` to another file next to ``path``, flush it to the disk, and rename it.

    Raises:
        OSError: if it cannot be written. Then ``path`` is as it was, and nothing else is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)  # mkstemp lets only its owner read
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


def check_folder(folder: Path) -> None:
    """Make sure that a folder is there and can be written to, before the work and not after it.

    Raises:
        OSError: if it cannot be made, or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass
