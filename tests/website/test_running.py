"""The page "Running it" shows what the first cell prints, and the commands that there are."""

import re

import pytest
from fake_wheels import NO_GPU, gpu
from repository import ROOT

from colab import install, machine, python_part, setup, steps, verify, wheels

TEXT = (ROOT / "website" / "running.md").read_text(encoding="utf-8")


def says(monkeypatch, capsys, here, backend, answer):
    """The lines of the first cell on a machine made to measure."""

    def proof(asked, *arguments):
        if asked != backend or isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(verify, "verify", proof)
    monkeypatch.setattr(install, "present", lambda: False)
    monkeypatch.setattr(install, "version", lambda: None)
    monkeypatch.setattr(install, "missing", lambda requirements: [])
    monkeypatch.setattr(machine, "probe", lambda deadline: here)
    monkeypatch.setattr(python_part, "ready", lambda: "")
    monkeypatch.setattr(wheels, "fitting", lambda here: [])
    monkeypatch.delenv("SCAN_WITHOUT", raising=False)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_...")
    setup.main([])
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    "here, backend, answer, lines",
    [
        (gpu(), "triton", {"float32": 3e-7}, [1, 2, 3]),
        (gpu(), "triton", steps.TooSlow("it took longer than 40 s"), [2, 3]),
        (gpu(**NO_GPU), "numba", {"float32": 3e-7}, [1, 2]),
    ],
    ids=["no wheel fits", "too slow", "no GPU"],
)
def test_the_lines_of_the_first_cell(monkeypatch, capsys, here, backend, answer, lines):
    said = says(monkeypatch, capsys, here, backend, answer).splitlines()
    for line in lines:
        assert f"\n{said[line]}\n" in TEXT


def test_a_wheel_that_fits_and_one_that_is_wrong(monkeypatch, capsys):
    source = f"mamba_ssm {wheels.table()['version']}, {wheels.table()['wheels'][0]['source']}"
    assert f"\nScan kernel: {source}\n" in TEXT
    bound = verify.BOUNDS["float32"]
    wrong = f"it is wrong: float32 differs by {0.2:.0e}, more than {bound:.0e}"

    def fails(*arguments):
        raise steps.Failed(wrong)

    monkeypatch.setattr(install, "missing", lambda needs: [])
    monkeypatch.setattr(install, "install", lambda *given: None)
    monkeypatch.setattr(install, "uninstall", lambda deadline: True)
    monkeypatch.setattr(install, "present", lambda: False)
    monkeypatch.setattr(install, "version", lambda: None)
    monkeypatch.setattr(verify, "verify", fails)
    monkeypatch.setattr(setup.fetch, "fetch", lambda wheel, folder, deadline: ROOT / "build" / "no-such-wheel")
    first = wheels.fitting(gpu())[:1]
    monkeypatch.setattr(wheels, "fitting", lambda here: first)
    setup._wheel(gpu(), steps.Deadline(60))
    assert f"\n{capsys.readouterr().out.strip()}\n" in TEXT


def test_the_commands_are_those_of_the_project():
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    by_hand = re.search(r"```\n(python3 -m venv.*?)```", contributing, re.S)[1].splitlines()[1:]
    for line in by_hand:
        assert line.replace("/bin/", "\\Scripts\\").replace("/", "\\") in TEXT
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`?make (\w+)", TEXT)) - {"so"}:
        assert re.search(rf"^{target}:", makefile, re.M), target
