"""What the tests of the set-up share: answers instead of proofs, and a machine made to measure."""

import pytest

from colab import install, machine, setup, verify


@pytest.fixture
def answers(monkeypatch):
    """What each backend's proof answers: errors, or a failure to raise."""

    def make(**given):
        def answer(backend, *arguments):
            if isinstance(given[backend], Exception):
                raise given[backend]
            return given[backend]

        monkeypatch.setattr(verify, "verify", answer)
        monkeypatch.setattr(install, "present", lambda: False)
        monkeypatch.setattr(install, "version", lambda: None)

    return make


@pytest.fixture
def command(answers, monkeypatch):
    """``main`` on a machine made to measure, after whose Python part nobody asks."""

    def make(here, **given):
        answers(**given)
        monkeypatch.setattr(machine, "probe", lambda deadline: here)
        monkeypatch.setattr(setup.python_part, "ready", lambda: "Its Python part is there.")
        monkeypatch.delenv("SCAN_WITHOUT", raising=False)

    return make
