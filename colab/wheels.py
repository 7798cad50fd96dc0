"""Which wheels of mamba-ssm are known, and which of them fit a machine. The table is ``wheels.json``.

An entry of ``wheels`` is one pattern of names:

* ``source``: what a reader is told; ``python``, ``torch``, ``cuda``, ``abi``, ``processor``: what it is for, tried in
  the order of the table. A ``cuda`` without a dot means all its minor versions.
* ``name``: the file's name, with these in braces.
* ``address``, where the file lies under that name, or ``index``, a page in the form of Python's package indexes
  (PEP 503) that lists it, with its hash; there ``*`` in the name matches anything.
* ``sha256``: ``{name: hash}`` where hashes are published, else null.
"""

import json
from pathlib import Path
from typing import NamedTuple

from colab.machine import Machine

TABLE = Path(__file__).parent / "wheels.json"


class Wheel(NamedTuple):
    """A wheel that may fit, and where to fetch it: under ``name`` at ``address``, or from the page ``index``."""

    source: str
    name: str
    address: str | None
    index: str | None
    sha256: str | None


def table() -> dict:
    return json.loads(TABLE.read_text(encoding="utf-8"))


def fitting(machine: Machine) -> list[Wheel]:
    """The wheels for this machine, best first; none where there is no CUDA, or no Linux."""
    if machine.system != "Linux" or machine.gpu is None or machine.cuda is None:
        return []
    has = {
        "python": "".join(machine.python.split(".")[:2]),
        "torch": ".".join(machine.torch.split(".")[:2]),
        "abi": str(machine.abi).upper(),
        "processor": machine.processor,
    }
    known, found = table(), []
    for entry in known["wheels"]:
        cuda = [cuda for cuda in (machine.cuda, machine.cuda.split(".")[0]) if cuda in entry["cuda"]]
        if cuda and all(value in entry[key] for key, value in has.items()):
            values = {"version": known["version"], "cuda": cuda[0], **has}
            name = entry["name"].format(**values)
            address = entry.get("address")
            found.append(
                Wheel(
                    source=entry["source"],
                    name=name,
                    address=address and address.format(**values),
                    index=entry.get("index"),
                    sha256=(entry["sha256"] or {}).get(name),
                )
            )
    return found
