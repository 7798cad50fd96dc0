"""Wheels of mamba-ssm, one by one and in their order: fetched from a loopback server, installed, proven, removed.

The machine is a fiction, a GPU whose device is the CPU; pip, the processes and what goes wrong in them are real. What
is installed goes into a virtual environment of the tests, which sees the packages of the one they run in.
"""

import importlib.metadata
import json
import os
import platform
import re
import sys
import threading
import time

import fake_wheels
import pytest
from fake_wheels import gpu

from colab import fetch, install, machine, setup, steps, verify, wheels

PYTHON = f"{sys.version_info[0]}{sys.version_info[1]}"
pytestmark = pytest.mark.slow  # processes, pip, and servers that are waited for
needs_gcc = pytest.mark.skipif(not fake_wheels.POSSIBLE, reason="needs Linux, gcc and Python's headers")


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    with fake_wheels.Server(tmp_path / "served") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.stopping.set()
        server.shutdown()


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    return fake_wheels.environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def place(environment, monkeypatch, tmp_path, server):
    """Everything that is installed or read goes to the tests' own places; the own kernels count as proven."""
    python, site = environment
    path = list(sys.path)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(install, "FOLDER", tmp_path / "kernel")
    monkeypatch.setattr(wheels, "TABLE", tmp_path / "wheels.json")
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.delenv("SCAN_WITHOUT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setattr(setup, "ROOT", tmp_path)  # where wheels are kept meanwhile
    real = verify.verify

    def version():  # where the tests run, too, mamba-ssm's Python part may be installed
        found = importlib.metadata.distributions(name=install.PACKAGE, path=[str(site), str(install.FOLDER)])
        return next((each.version for each in found), None)

    def proven(backend, *arguments):
        return {"float32": 1e-6} if backend in ("triton", "numba") else real(backend, *arguments)

    monkeypatch.setattr(install, "version", version)
    monkeypatch.setattr(verify, "verify", proven)
    yield site
    if install.version():
        assert install.uninstall(steps.Deadline(60))
    sys.path[:] = path


RELEASE = "mamba_ssm-2.3.2.post1+cu{cuda}torch{torch}cxx11abi{abi}-cp{python}-cp{python}-linux_{processor}.whl"


@pytest.fixture
def offer(server, place):
    """Serve wheels, each of a kind, as a table of entries; returns their names."""

    def make(*kinds, ways=(), hashes=(), index=False, **entry):
        entries, names = [], []
        for number, kind in enumerate(kinds):
            name = RELEASE.replace("post1+", f"post1+n{number}")
            file = name.format(cuda="12", torch="2.10", abi="TRUE", python=PYTHON, processor=platform.machine())
            if kind is not None:
                fake_wheels.wheel(server.folder, file, kind)
            listed = {"index": f"{server.address}index.html"} if index else {"address": server.address}
            entries.append(
                {
                    "source": f"wheel {number}",
                    "name": name,
                    "python": [PYTHON],
                    "torch": ["2.10"],
                    "cuda": ["12"],
                    "abi": ["TRUE"],
                    "processor": [platform.machine()],
                    "sha256": {file: hashes[number]} if number < len(hashes) else None,
                    **listed,
                    **entry,
                }
            )
            names.append(file)
        server.ways.update(zip(names, ways, strict=False))
        table = {"checked": "2026-11", "version": "2.3.2.post1", "wheels": entries}
        wheels.TABLE.write_text(json.dumps(table))
        return names

    return make


def choose(here=None, seconds=500):
    return setup.choose(here or gpu(), steps.Deadline(seconds))


# -------------------------------------------------------------------------------------------- the wheels, one by one


@needs_gcc
def test_a_wheel_that_fits_is_installed_proven_and_found_again(offer, place, capsys, monkeypatch):
    (name,) = offer("RIGHT", hashes=[])
    before = sorted(path.name for path in place.iterdir())
    choice = choose()
    assert choice.backend == "mamba_ssm" and choice.source == "mamba_ssm 2.3.2.post1, wheel 0" and choice.without == ()
    assert list(choice.errors) == ["float32"] and 0 < choice.errors["float32"] < 1e-5, "a T4 is proven in float32 alone"
    new = {path.name for path in place.iterdir()} - set(before)
    assert new == {
        "mamba_ssm",
        f"selective_scan_cuda{fake_wheels.SUFFIX}",
        f"{'-'.join(name.split('-')[:2])}.dist-info",
    }
    assert not list((setup.ROOT / "build" / "wheels").iterdir()), "the download is not kept"
    # The second time it is already there: nothing is asked for.
    offer(None)
    again = choose(gpu((8, 0)))
    assert again.backend == "mamba_ssm" and "already installed" in again.source
    assert list(again.errors) == ["float32", "bfloat16"], "and an A100 in both"
    assert capsys.readouterr().out == ""


BAD = {
    "LEFT_OUT": "it was built without selective_scan_cuda, the kernel of its Mamba-1",
    "MISSES": "ImportError: selective_scan_cuda.*: undefined symbol: torch_of_another_version",
    "CRASHES_AT_IMPORT": r"it crashed \(SIGABRT\)",
    "CRASHES": r"it crashed \(SIGSEGV\)",
    "WRONG": "it is wrong: float32 differs by 1e-02, more than 1e-03",
    "WRONG_BACKWARD": "it is wrong: float32 differs by 1e-02, more than 1e-03",
    "NAN_BACKWARD": "it is wrong: float32 differs by nan, more than 1e-03",
}


@needs_gcc
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_wheel_is_removed_and_the_next_kernel_is_taken(offer, place, capsys, kind):
    offer(kind)
    before = sorted(path.name for path in place.iterdir())
    choice = choose()
    assert choice.backend == "triton" and choice.without == ()
    line = rf"Not used: mamba_ssm 2.3.2.post1, wheel 0: {BAD[kind]}\. Removed\.\n"
    assert re.fullmatch(line, capsys.readouterr().out)
    assert sorted(path.name for path in place.iterdir()) == before


@needs_gcc
def test_a_wheel_that_hangs_is_ended(offer, monkeypatch, capsys):
    offer("HANGS")
    monkeypatch.setattr(verify, "PATIENCE", 15)
    assert choose().backend == "triton"
    assert "wheel 0: it took longer than 15 s. Removed." in capsys.readouterr().out


@needs_gcc
@pytest.mark.parametrize(
    "way, said",
    [
        ("broken", "the server says 503 Service Unavailable"),
        ("truncated", r"the download is incomplete: \d+ of \d+ bytes"),
        ("slow", "it took longer than 4 s"),
        ("silent", "it took longer than 4 s"),
    ],
)
def test_a_download_that_fails_is_left_and_the_next_wheel_is_taken(offer, monkeypatch, capsys, way, said):
    monkeypatch.setattr(fetch, "PATIENCE", 4)
    offer("RIGHT", ways=[way])
    assert choose().backend == "triton"
    assert re.fullmatch(rf"Not used: .*wheel 0: {said}\.\n", capsys.readouterr().out)
    assert not list((setup.ROOT / "build" / "wheels").glob("*.whl"))


@needs_gcc
def test_the_first_that_is_right_wins(offer, server, capsys):
    """Not there, not what its hash says, wrong, and then right; the one after that is not asked for."""
    names = offer(None, "RIGHT", "WRONG", "RIGHT", "RIGHT", hashes=["0" * 64, "0" * 64])
    choice = choose()
    assert choice.source == "mamba_ssm 2.3.2.post1, wheel 3"
    said = capsys.readouterr().out.splitlines()
    for line, reason in zip(said, ["there is no such file (404)", "its SHA-256 is", "it is wrong"], strict=True):
        assert reason in line
    assert server.asked == names[:4]


@needs_gcc
def test_an_index_gives_name_and_hash(offer, server, capsys):
    name = "mamba_ssm-{version}+cu.{cuda}.torch.{torch}-cp{python}-cp{python}-*linux*_{processor}.whl"
    file = f"mamba_ssm-2.3.2.post1+cu.12.8.torch.2.10-cp{PYTHON}-cp{PYTHON}-manylinux_2_28_{platform.machine()}.whl"
    path = fake_wheels.wheel(server.folder, file, "RIGHT")
    offer(None, index=True, name=name, cuda=["12.8"])
    page = "<html><a href='other-1.0-py3-none-any.whl#sha256=00'>other</a> <a href='{}#sha256={}'>this</a></html>"
    (server.folder / "index.html").write_text(page.format(file.replace("+", "%2B"), fake_wheels.sha256(path)))
    (wheel,) = wheels.fitting(gpu())
    folder = setup.ROOT / "some"
    assert fetch.fetch(wheel, folder, steps.Deadline(60)).read_bytes() == path.read_bytes()
    (server.folder / "index.html").write_text(page.format(file.replace("+", "%2B"), "0" * 64))
    with pytest.raises(steps.Failed, match=r"its SHA-256 is .*, not the published 00000000"):
        fetch.fetch(wheel, folder, steps.Deadline(60))
    (server.folder / "index.html").write_text("<html></html>")
    with pytest.raises(steps.Failed, match=r"127\.0\.0\.1 does not list it"):
        fetch.fetch(wheel, folder, steps.Deadline(60))


def test_what_is_no_wheel_is_not_kept(server, tmp_path):
    (server.folder / "a+b.whl").write_text("<html>Sign in</html>")
    wheel = wheels.Wheel("", "a+b.whl", server.address, None, None)
    with pytest.raises(steps.Failed, match="damaged: not a wheel"):
        fetch.fetch(wheel, tmp_path / "got", steps.Deadline(60))
    assert not list((tmp_path / "got").iterdir())


# ------------------------------------------------------------------------------------------------------ installation


@needs_gcc
@pytest.mark.parametrize(
    "pip, said",
    [
        ("raise ModuleNotFoundError(\"No module named 'pip'\")", "No module named 'pip'"),
        ("open('/proc/sys/kernel/version', 'w')", "."),  # what a read-only site-packages answers
    ],
)
def test_without_pip_or_where_it_may_not_write_the_wheel_is_unpacked(offer, place, monkeypatch, tmp_path, pip, said):
    offer("RIGHT")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "pip.py").write_text(pip)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    with pytest.raises(steps.Failed, match=said):
        steps.run(steps.python("-m", "pip"), steps.Deadline(20), 20)
    before = sorted(path.name for path in place.iterdir())
    assert choose().backend == "mamba_ssm"
    assert sorted(path.name for path in place.iterdir()) == before, "site-packages is as it was"
    assert (install.FOLDER / "mamba_ssm").is_dir() and sys.path[0] == str(install.FOLDER)
    assert os.environ["PYTHONPATH"].split(os.pathsep)[0] == str(install.FOLDER)
    assert install.uninstall(steps.Deadline(20)) and not install.FOLDER.exists()


@needs_gcc
@pytest.mark.parametrize("on_colab", [True, False])
def test_what_is_installed_and_wrong(offer, place, monkeypatch, capsys, server, on_colab):
    """Is removed on Colab, and the wheel tried. Elsewhere it is its owner's: it stays, and is kept from being used."""
    (name,) = offer("RIGHT")
    wrong = fake_wheels.wheel(setup.ROOT, name.replace("2.3.2.post1", "2.0"), "WRONG")
    install.install(wrong, steps.Deadline(60))
    monkeypatch.setattr(machine, "on_colab", lambda: on_colab)
    choice = choose()
    said = capsys.readouterr().out
    assert "Not used: mamba_ssm 2.0+n0cu12torch2.10cxx11abitrue, already installed: it is wrong" in said.replace(
        "TRUE", "true"
    )
    if on_colab:
        assert said.endswith(" Removed.\n") and choice.source == "mamba_ssm 2.3.2.post1, wheel 0"
        assert choice.without == ()
    else:
        assert said.endswith(" Left in its place.\n") and choice.backend == "triton" and not server.asked
        assert choice.without == ("mamba_ssm",)


@needs_gcc
@pytest.mark.parametrize("on_colab", [True, False])
def test_what_is_installed_without_its_kernel(offer, place, monkeypatch, capsys, server, on_colab):
    """As upstream's next release is built: that is said, the package stays, and our own kernel is taken."""
    offer("RIGHT")
    install.install(fake_wheels.wheel(setup.ROOT, "mamba_ssm-2.4-py3-none-any.whl", "LEFT_OUT"), steps.Deadline(60))
    monkeypatch.setattr(machine, "on_colab", lambda: on_colab)
    choice = choose()
    assert choice.backend == "triton" and choice.without == () and not server.asked
    assert capsys.readouterr().out == (
        "Not used: mamba_ssm 2.4, already installed: it was built without selective_scan_cuda, the kernel of its "
        "Mamba-1. Left in its place.\n"
    )
    assert install.version() == "2.4" and not install.present()


@needs_gcc
def test_a_wheel_completes_the_same_version_without_its_kernel(offer, place, capsys):
    """Which is what ``make setup`` leaves where no wheel could be had."""
    offer("RIGHT")
    version = wheels.table()["version"]
    bare = fake_wheels.wheel(setup.ROOT, f"mamba_ssm-{version}-py3-none-any.whl", "LEFT_OUT")
    install.install(bare, steps.Deadline(60))
    assert install.version() == version and not install.present()
    assert choose().source == f"mamba_ssm {version}, wheel 0" and install.present()
    assert "it was built without selective_scan_cuda" in capsys.readouterr().out


def test_what_pip_cannot_remove_is_not_called_removed(place, monkeypatch):
    install.install(fake_wheels.wheel(setup.ROOT, "mamba_ssm-2.4-py3-none-any.whl", "LEFT_OUT"), steps.Deadline(60))
    with monkeypatch.context() as broken:
        broken.setattr(install, "PIP", ("-c", "raise SystemExit(1)"))
        assert not install.uninstall(steps.Deadline(60)) and install.version() == "2.4"
    assert install.uninstall(steps.Deadline(60)) and install.version() is None


def test_what_is_missing_is_added_and_what_is_there_stays(place, tmp_path, monkeypatch):
    """A package that would want another numpy cannot have it."""
    served = tmp_path / "links"
    served.mkdir()
    for name, version, needs in (("tiny-one", "1.0", "numpy"), ("tiny-two", "1.0", "numpy<1"), ("numpy", "0.9", "")):
        package = name.replace("-", "_")
        info = f"{package}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        metadata += f"Requires-Dist: {needs}\n" * bool(needs)
        files = {f"{package}.py": "", f"{info}/METADATA": metadata, f"{info}/RECORD": ""}
        files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        with fake_wheels.zipfile.ZipFile(served / f"{package}-{version}-py3-none-any.whl", "w") as archive:
            for place_in_it, content in files.items():
                archive.writestr(place_in_it, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(served))
    assert install.missing(["numpy>=99", "tiny-one>=1  "]) == ["tiny-one>=1  "], "a version that is there will do"
    install.add(["tiny-one"], steps.Deadline(100))
    assert install.missing(["tiny-one"]) == []
    with pytest.raises(steps.Failed):
        install.add(["tiny-two"], steps.Deadline(100))
    assert install.missing(["tiny-two"]) == ["tiny-two"] and not list(place.glob("numpy*"))
    assert {"torch", "lightning-fabric", "mnist1d"} <= {re.split("[><=]", r)[0] for r in install.tutorial()}
    assert not {"pytest", "ruff"} & {re.split("[><=]", r)[0] for r in install.tutorial()}


# ------------------------------------------------------------------------------------------------------- the deadline


@needs_gcc
def test_silent_servers_leave_the_time_that_our_own_kernel_needs(offer, monkeypatch, capsys):
    """Two minutes, at a scale of 1 to 6: the wheels are given up while there is time for a proof."""
    offer("RIGHT", "RIGHT", ways=["silent", "silent"])
    monkeypatch.setattr(setup, "SECONDS", 20)
    monkeypatch.setattr(setup, "RESERVE", 7)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "")
    monkeypatch.setattr(install, "missing", lambda requirements: [])
    monkeypatch.setattr(fetch, "PATIENCE", 10)
    monkeypatch.setattr(machine, "probe", lambda deadline: gpu())
    left, answer = [], verify.verify
    monkeypatch.setattr(verify, "verify", lambda *given: left.append(given[-1].left()) or answer(*given))
    assert setup.main([], began=time.monotonic() - 3) == 0
    assert len(left) == 1 and left[0] > 5, "seconds, when the first proof was asked for: that of our own kernel"
    assert capsys.readouterr().out.count("Not used") in (1, 2)
