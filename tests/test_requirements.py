"""What is installed: ranges in requirements.txt, and in constraints.txt the versions that were tested together."""

import importlib.metadata
import os
import sys

import pytest
from packaging.requirements import Requirement
from repository import ROOT

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]


def requirements(name):
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


def applies(requirement, python):
    return requirement.marker is None or requirement.marker.evaluate({"python_version": python})


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_every_requirement_within_its_range(python):
    pins = [pin for pin in requirements("constraints.txt") if applies(pin, python)]
    names = [pin.name for pin in pins]
    assert len(names) == len(set(names)), "one version a package"
    versions = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}
    for requirement in requirements("requirements.txt"):
        if not applies(requirement, python):
            continue
        assert requirement.specifier.contains(versions[requirement.name]), requirement


def test_what_is_tested_here_is_what_the_constraints_say():
    python = "{}.{}".format(*sys.version_info)
    other = []
    for pin in requirements("constraints.txt"):
        if applies(pin, python):
            try:
                version = importlib.metadata.version(pin.name)
            except importlib.metadata.PackageNotFoundError:
                continue  # of another platform, or of the optional mamba-ssm
            if not pin.specifier.contains(version, prereleases=True):
                other.append(f"{pin.name} {version}, not {pin.specifier}")
    if other and os.environ.get("CONSTRAINTS") == "":
        pytest.skip(f"run with the newest versions: {'; '.join(other)}")
    assert not other
