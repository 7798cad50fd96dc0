"""Trainings that are killed: a process that has everything loaded, and forks one life after another.

    python tests/support/killed_training.py FOLDER KILLS

Runs ``helpers.train`` once to its end in FOLDER/whole. Then again in FOLDER/killed, killing it with SIGKILL at a random
moment, KILLS times, every other time while a file is being written; and to its end. Prints how many kills of each sort.
"""

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

from helpers import files
from helpers.train import __main__ as command

# Real digits, the real loader, the real block, and few of each.
COMMAND = (
    "smnist --devices 1 --precision 32-true --batch-size 8 --epochs 0.05 --muon-learning-rate 0.02 --log-every 100"
    " --save-every 5 --set d_model=8 --set n_layer=1 --set d_state=4"
).split()


def life(folder, slow=False):
    """Start a training in a process of its own; its number."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    if slow:  # the moment between the first byte of a file and its renaming lasts longer, so that it can be met
        rename = files.os.replace
        files.os.replace = lambda *names: (time.sleep(0.05), rename(*names))
    with open(folder.with_suffix(".log"), "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os._exit(command.main([*COMMAND, "--output", str(folder)]))


def parts(folder):
    """The unfinished files, each with the time of its last change: an earlier life may have left one behind."""
    found = set()
    for path in folder.glob("*.part"):
        with contextlib.suppress(FileNotFoundError):  # finished between two lines
            found.add((path, path.stat().st_mtime_ns))
    return found


def main():
    root, kills = Path(sys.argv[1]), int(sys.argv[2])
    if os.waitpid(life(root / "whole"), 0)[1]:
        sys.exit((root / "whole.log").read_text()[-2000:])
    folder, chance = root / "killed", random.Random(0)
    folder.mkdir()
    inside = outside = 0
    while inside + outside < kills:
        writing = (inside + outside) % 2 == 1
        left, began = parts(folder), time.monotonic()
        pid, patience = life(folder, slow=writing), chance.uniform(0.3, 1.3)
        while not (parts(folder) - left if writing else time.monotonic() - began > patience):
            time.sleep(0.001)
            if os.waitpid(pid, os.WNOHANG)[0]:
                sys.exit(f"it ended after {inside + outside} kills\n" + (root / "killed.log").read_text()[-2000:])
        if writing:
            time.sleep(chance.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        met = bool(parts(folder) - left)
        inside, outside = inside + met, outside + (not met)
    if os.waitpid(life(folder), 0)[1]:
        sys.exit((root / "killed.log").read_text()[-2000:])
    print(inside, outside)


if __name__ == "__main__":
    main()
