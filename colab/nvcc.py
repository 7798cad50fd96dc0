"""Stands in for the CUDA compiler while ``build`` is at work: the same command, for one architecture only.

Reads ``REAL_NVCC``, ``ONLY_ARCHITECTURE`` ("75") and ``COMPILED``, a file that gets a line for each one compiled.
"""

import os
import subprocess
import sys


def for_one(arguments: list[str], architecture: str) -> list[str]:
    """The arguments without their architectures, and with this one."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and not argument.startswith(("-gencode", "--generate-code", "-arch=", "--gpu-architecture=")):
            kept.append(argument)
        skip = argument in ("-gencode", "--generate-code")
    return [*kept, "-gencode", f"arch=compute_{architecture},code=sm_{architecture}"]


def main() -> int:
    arguments = for_one(sys.argv[1:], os.environ["ONLY_ARCHITECTURE"])
    status = subprocess.call([os.environ["REAL_NVCC"], *arguments])
    if status == 0 and "-c" in arguments:
        with open(os.environ["COMPILED"], "a") as file:
            file.write(arguments[arguments.index("-c") + 1] + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
