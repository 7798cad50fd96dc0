"""Where things are in this repository, and its Python in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def run_python(*arguments, cwd=ROOT, **environment) -> subprocess.CompletedProcess:
    """Run Python with these arguments and additional environment variables; what it printed is text."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})
