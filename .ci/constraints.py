"""Write constraints.txt: the newest versions that fit together, for each Python given on the command line.

    python .ci/constraints.py python3.10 python3.11 python3.12 python3.13

Nothing is installed. Run the tests afterwards: only then are the versions known to work together.
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What colab/setup.py adds for mamba-ssm.
EXTRAS = ["einops", "transformers", "huggingface_hub", "setuptools", "wheel", "packaging", "ninja", "triton"]
HEAD = """\
# Versions that are known to work together: `make test` passed with them, on Linux. `make run` and `make test` install
# these; `make run CONSTRAINTS=` takes the newest instead. Written by .ci/constraints.py.
"""


def resolve(python):
    """The versions that pip would install for this interpreter: its minor version, and ``{name: version}``."""
    command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    run = subprocess.run(
        [*command, "-r", ROOT / "requirements.txt", *EXTRAS], stdout=subprocess.PIPE, text=True, check=True
    )
    report = json.loads(run.stdout[run.stdout.index("{") :])
    found = {
        item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"] for item in report["install"]
    }
    return report["environment"]["python_version"], {name: v.partition("+")[0] for name, v in found.items()}


def main():
    by_python = dict(resolve(python) for python in sys.argv[1:])
    names = sorted({name for versions in by_python.values() for name in versions})
    first, last = min(by_python, key=_number), max(by_python, key=_number)
    lines = []
    for name in names:
        pythons = defaultdict(list)
        for python, versions in by_python.items():
            if name in versions:
                pythons[versions[name]].append(python)
        for version, those in sorted(pythons.items(), key=lambda item: _number(item[1][0])):
            low, high = min(those, key=_number), max(those, key=_number)
            bounds = ([f"python_version >= '{low}'"] if low != first else []) + (
                [f"python_version <= '{high}'"] if high != last else []
            )
            lines.append(f"{name}=={version}" + (f" ; {' and '.join(bounds)}" if bounds else ""))
    (ROOT / "constraints.txt").write_text(HEAD + "\n".join(lines) + "\n")


def _number(python):
    return tuple(map(int, python.split(".")))


if __name__ == "__main__":
    main()
