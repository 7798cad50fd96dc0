"""``colab/setup.py`` without Colab and without a GPU: made wheels from a loopback server, real pip, real processes.

The machine is a fiction, a GPU whose device is the CPU; all else is real. What is installed goes into a virtual
environment of the tests, which sees the packages of the one they run in.
"""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import made
import pytest

from colab import build, fetch, install, machine, nvcc, setup, steps, verify, wheels

ROOT = Path(__file__).parent.parent
PYTHON = f"{sys.version_info[0]}{sys.version_info[1]}"
needs_gcc = pytest.mark.skipif(not made.POSSIBLE, reason="needs Linux, gcc and Python's headers")


def gpu(capability=(7, 5), torch="2.10.0+cu128", **other):
    """A machine with a GPU of this capability. Its device is the CPU, so that kernels can be run on it."""
    known = {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}.5",
        "torch": torch,
        "cuda": "12.8",
        "abi": True,
        "processor": "x86_64",
        "system": "Linux",
        "gpu": {(7, 5): "Tesla T4", (8, 0): "NVIDIA A100", (9, 0): "NVIDIA H100"}.get(capability),
        "capability": capability,
        "memory": 15.8,
        "device": "cpu",
        "backends": ("triton", "associative", "reference"),
    }
    return machine.Machine(**{**known, **other})


NO_GPU = {"gpu": None, "capability": None, "memory": None, "backends": ("numba", "associative", "reference")}


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of a folder, each in the way that ``ways`` says: whole, slow, truncated, broken or silent."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.ways, self.asked = folder, {}, []
        self.address = f"http://127.0.0.1:{self.server_port}/"
        self.stopping = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.lstrip("/").replace("%2B", "+")
        self.server.asked.append(name)
        way, path = self.server.ways.get(name, "whole"), self.server.folder / name
        if way == "silent":
            self.server.stopping.wait(60)
            return
        if way == "broken" or not path.exists():
            self.send_error(503 if way == "broken" else 404)
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if way == "slow":
            for byte in content:
                self.wfile.write(bytes([byte]))
                if self.server.stopping.wait(0.2):
                    return
        self.wfile.write(content[: len(content) // 2] if way == "truncated" else content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    with Server(tmp_path / "served") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.stopping.set()
        server.shutdown()


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    return made.environment(tmp_path_factory.mktemp("environment"))


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

    def proven(backend, *arguments):
        return {"float32": 1e-6} if backend in ("triton", "numba") else real(backend, *arguments)

    monkeypatch.setattr(verify, "verify", proven)
    yield site
    if install.present():
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
            file = name.format(cuda="12", torch="2.10", abi="TRUE", python=PYTHON, processor="x86_64")
            if kind is not None:
                made.wheel(server.folder, file, kind)
            listed = {"index": f"{server.address}index.html"} if index else {"address": server.address}
            entries.append(
                {
                    "source": f"wheel {number}",
                    "name": name,
                    "python": [PYTHON],
                    "torch": ["2.10"],
                    "cuda": ["12"],
                    "abi": ["TRUE"],
                    "processor": ["x86_64"],
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
    assert new == {"mamba_ssm", f"selective_scan_cuda{made.SUFFIX}", f"{'-'.join(name.split('-')[:2])}.dist-info"}
    assert not list((setup.ROOT / "build" / "wheels").iterdir()), "the download is not kept"
    # The second time it is already there: nothing is asked for.
    offer(None)
    again = choose(gpu((8, 0)))
    assert again.backend == "mamba_ssm" and "already installed" in again.source
    assert list(again.errors) == ["float32", "bfloat16"], "and an A100 in both"
    assert capsys.readouterr().out == ""


BAD = {
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
    file = f"mamba_ssm-2.3.2.post1+cu.12.8.torch.2.10-cp{PYTHON}-cp{PYTHON}-manylinux_2_28_x86_64.whl"
    path = made.wheel(server.folder, file, "RIGHT")
    offer(None, index=True, name=name, cuda=["12.8"])
    page = "<html><a href='other-1.0-py3-none-any.whl#sha256=00'>other</a> <a href='{}#sha256={}'>this</a></html>"
    (server.folder / "index.html").write_text(page.format(file.replace("+", "%2B"), made.sha256(path)))
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
    wrong = made.wheel(setup.ROOT, name.replace("2.3.2.post1", "2.0"), "WRONG")
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


def test_what_is_missing_is_added_and_what_is_there_stays(place, tmp_path, monkeypatch):
    """A package that would want another numpy cannot have it."""
    served = tmp_path / "links"
    served.mkdir()
    for name, needs in (("tiny-one", "numpy"), ("tiny-two", "numpy<1")):
        package = name.replace("-", "_")
        info = f"{package}-1.0.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: {needs}\n"
        files = {f"{package}.py": "", f"{info}/METADATA": metadata, f"{info}/RECORD": ""}
        files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        with made.zipfile.ZipFile(served / f"{package}-1.0-py3-none-any.whl", "w") as archive:
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


# -------------------------------------------------------------------------------------------- what fits which machine


def test_the_table_is_well_formed():
    table = wheels.table()
    assert re.fullmatch(r"20\d\d-\d\d", table["checked"])
    release = r"mamba_ssm-[\w.]+\+cu\d\dtorch2\.\d+cxx11abi(TRUE|FALSE)-cp(3\d+)-cp\2-linux_(x86_64|aarch64)\.whl"
    listed = r"mamba_ssm-[\w.]+\+cu\.\d\d\.\d\.torch\.2\.\d+-cp(3\d+)-cp\1-\*linux\*_(x86_64|aarch64)\.whl"
    for entry in table["wheels"]:
        assert set(entry) - {"address", "index"} == {"source", "name", "sha256", *made_for()}
        assert ("address" in entry) != ("index" in entry)
        assert (entry.get("address") or entry["index"]).startswith("https://")
        for values in product(*(entry[key] for key in made_for())):
            name = entry["name"].format(version=table["version"], **dict(zip(made_for(), values, strict=True)))
            assert re.fullmatch(release if "address" in entry else listed, name), name
        assert all(re.fullmatch("[0-9a-f]{64}", hash) for hash in (entry["sha256"] or {}).values())


def product(*lists):
    import itertools

    return itertools.product(*lists)


def made_for():
    return ("python", "torch", "cuda", "abi", "processor")


@pytest.mark.parametrize(
    "here, expected",
    [
        # Colab's runtime 2026.04: the release wheel fits exactly.
        ({"python": "3.12.13", "torch": "2.10.0+cu128"}, ["cu12torch2.10cxx11abiTRUE-cp312-cp312-linux_x86_64"]),
        # 2026.07 and 2026.08: no release for torch 2.11, but a prebuilt one, and an older one that is said to work.
        (
            {"python": "3.13.15", "torch": "2.11.0+cu128"},
            ["cu.12.8.torch.2.11-cp313-cp313-*linux*_x86_64", "cu12torch2.10cxx11abiTRUE-cp313-cp313-linux_x86_64"],
        ),
        (
            {"python": "3.12.1", "torch": "2.12.1+cu130", "cuda": "13.0"},
            ["cu13torch2.10cxx11abiTRUE-cp312-cp312-linux_x86_64"],
        ),
        (
            {"python": "3.10.1", "torch": "2.6.0", "cuda": "11.8", "abi": False, "processor": "aarch64"},
            ["cu11torch2.6cxx11abiFALSE-cp310-cp310-linux_aarch64"],
        ),
        ({"python": "3.9.1"}, []),
        ({"python": "3.12.1", "torch": "2.15.0+cu132", "cuda": "13.2"}, []),
        ({"cuda": None}, []),
        ({"system": "Windows"}, []),
        (NO_GPU, []),
    ],
)
def test_which_wheels_fit(here, expected):
    assert [wheel.name for wheel in wheels.fitting(gpu(**here))] == [f"mamba_ssm-2.3.2.post1+{n}.whl" for n in expected]


@pytest.mark.parametrize(
    "capability, dtypes, line",
    [
        ((7, 5), ["float32"], "Tesla T4, compute capability 7.5, 16 GB; float32 only, it has no bfloat16"),
        ((8, 0), ["float32", "bfloat16"], "NVIDIA A100, compute capability 8.0, 16 GB"),
        ((9, 0), ["float32", "bfloat16"], "NVIDIA H100, compute capability 9.0, 16 GB"),
    ],
)
def test_what_a_capability_means(monkeypatch, capability, dtypes, line):
    """Asked of torch, which is made to say that there is such a GPU."""
    import torch

    from helpers import benchmark, runs
    from helpers.scan import fused_gpu

    properties = type("Properties", (), {"total_memory": 15.8e9})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: gpu(capability).gpu)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr("helpers.scan.backends", lambda device: ["triton", "associative", "reference"])
    here = machine.describe()
    assert (here.device, here.capability, here.dtypes()) == ("cuda", capability, dtypes)
    assert str(here).splitlines()[1] == f"GPU:         {line}"
    assert benchmark.device().type == "cuda" and fused_gpu.available("cuda")
    if capability < (8, 0):
        assert runs.faster_in_bfloat16(torch.device("cuda")) is False, "whatever is measured"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (6, 1))
    assert not fused_gpu.available("cuda")


# --------------------------------------------------------------------------------------------------- our own kernels


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

    return make


def test_own_kernels_in_their_order(answers, capsys):
    right, wrong, late = {"float32": 1e-6}, steps.Failed("it is wrong"), steps.TooSlow("it took longer than 40 s")
    answers(triton=right, numba=right, associative=right)
    assert choose(gpu(torch="2.15"))[::3] == ("triton", ())
    assert choose(gpu(**NO_GPU))[::3] == ("numba", ())
    answers(triton=wrong, numba=wrong, associative=right)
    assert choose(gpu(torch="2.15"))[::3] == ("associative", ("triton",))
    assert choose(gpu(**NO_GPU))[::3] == ("associative", ("numba",))
    assert capsys.readouterr().out.count("it is wrong.\n") == 2
    answers(triton=late)
    assert choose(gpu(torch="2.15"))[::2] == ("triton", {}), "with the time over it is Triton, and nothing is claimed"
    answers(triton=wrong, associative=wrong, reference=wrong)
    with pytest.raises(steps.Failed, match="no scan is right here"):
        choose(gpu(torch="2.15"))


@pytest.fixture
def scan(monkeypatch):
    """``helpers.scan`` where every backend says that it runs, and what is left out is read anew."""
    from helpers import scan
    from helpers.scan import fused_gpu

    monkeypatch.setattr(scan.official, "available", lambda device: True)
    monkeypatch.setattr(fused_gpu, "available", lambda device: True)
    monkeypatch.setattr(scan, "_numba_works", lambda: True)

    def forget():
        scan._without.cache_clear()
        scan._runs.cache_clear()

    forget()
    yield scan
    forget()


@pytest.mark.parametrize("name", ["mamba_ssm", "triton", "numba"])
def test_what_is_left_out_is_not_chosen(scan, monkeypatch, name):
    monkeypatch.setenv("SCAN_WITHOUT", f"{name}, ")
    assert {*scan.backends("cuda"), *scan.backends("cpu")} == set(scan.BACKENDS) - {name}


def test_a_misspelt_backend_is_refused(scan, monkeypatch):
    monkeypatch.setenv("SCAN_WITHOUT", "tritn")
    with pytest.raises(ValueError, match="SCAN_WITHOUT must name some of mamba_ssm, triton, numba, got 'tritn'"):
        scan.backends("cpu")


def test_the_proof_of_our_own_kernel_is_a_real_one():
    """On this machine, and a proof that fails when the kernel is wrong is in the tests of bad wheels."""
    here = machine.probe(steps.Deadline(200))
    assert here.backends and (here.gpu is None) == (here.device == "cpu")
    errors = verify.verify(here.backends[0], here.device, here.dtypes(), steps.Deadline(200))
    assert list(errors) == here.dtypes() and errors["float32"] < 1e-5
    with pytest.raises(steps.Failed, match="ModuleNotFoundError: No module named 'selective_scan_cuda'"):
        verify.verify("mamba_ssm", here.device, ["float32"], steps.Deadline(200))


# --------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def command(answers, monkeypatch):
    """``main`` on a machine made to measure, after whose Python part nobody asks."""

    def make(here, **given):
        answers(**given)
        monkeypatch.setattr(machine, "probe", lambda deadline: here)
        monkeypatch.setattr(setup.python_part, "ready", lambda: "Its Python part is there.")
        monkeypatch.delenv("SCAN_WITHOUT", raising=False)

    return make


def test_four_lines(command, capsys, monkeypatch):
    command(gpu(torch="2.15.0+cu132", cuda="13.2"), triton={"float32": 3e-7})
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-7")
    monkeypatch.setattr(install, "missing", lambda requirements: [])
    for _ in range(2):  # safe to run twice
        assert setup.main([]) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"Runtime:     Colab release-colab-7, Python {gpu().python}, torch 2.15.0+cu132",
            "GPU:         Tesla T4, compute capability 7.5, 16 GB; float32 only, it has no bfloat16",
            "Scan kernel: triton, the tutorial's own kernel for GPUs",
            "Verified:    forward and backward equal the reference, float32 differs by 3e-07",
        ]
    assert "SCAN_WITHOUT" not in os.environ


def test_a_cpu_runtime(command, capsys):
    command(gpu(**NO_GPU), numba={"float32": 3e-7})
    assert setup.main([]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1:3] == ["GPU:         none", "Scan kernel: numba, the tutorial's own kernel for CPUs"]
    assert said[4:] == ["Its Python part is there."], "elsewhere than on Colab"


def test_what_could_not_be_removed_is_left_out(command, capsys):
    command(gpu(torch="2.15"), triton=steps.Failed("it crashed (SIGSEGV)"), associative={"float32": 1e-6})
    assert setup.main([]) == 0
    assert os.environ.pop("SCAN_WITHOUT") == "triton"
    assert "Not used: triton, the tutorial's own kernel for GPUs: it crashed (SIGSEGV).\n" in capsys.readouterr().out


def test_torch_that_does_not_import(command, capsys, monkeypatch):
    def fails(deadline):
        raise steps.Failed("No module named 'torch'")

    monkeypatch.setattr(machine, "probe", fails)
    assert setup.main([]) == 1
    assert "torch cannot be used here: No module named 'torch'. The pages need it." in capsys.readouterr().out


def test_what_colab_lacks_is_named_if_it_cannot_be_had(command, capsys, monkeypatch):
    command(gpu(torch="2.15"), triton={"float32": 1e-6})
    monkeypatch.setenv("COLAB_RELEASE_TAG", "")
    monkeypatch.setattr(install, "missing", lambda requirements: ["lightning-fabric>=2.5"])
    monkeypatch.setattr(install, "add", lambda *arguments: steps.run(["false"], *arguments[1:], 9))
    assert setup.main([]) == 0
    said = capsys.readouterr().out
    assert "Missing: lightning-fabric>=2.5 could not be installed: exit status 1. Run this cell again" in said


@needs_gcc
def test_two_minutes_are_two_minutes(offer, command, monkeypatch, capsys):
    """A silent server, at a scale of 1 to 6: all is over in time, and the time for our own kernel is kept."""
    offer("RIGHT", "RIGHT", ways=["silent", "silent"])
    monkeypatch.setattr(setup, "SECONDS", 20)
    monkeypatch.setattr(setup, "RESERVE", 7)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "")
    monkeypatch.setattr(install, "missing", lambda requirements: [])
    monkeypatch.setattr(fetch, "PATIENCE", 10)
    asked, began = [], time.monotonic()
    command(gpu(), triton={"float32": 1e-6})
    answer = verify.verify
    monkeypatch.setattr(verify, "verify", lambda *a: asked.append(a[-1].left()) or answer(*a))
    assert setup.main([], began=began - 3) == 0
    assert time.monotonic() - began < 17 and asked[0] > 6
    assert capsys.readouterr().out.count("Not used") in (1, 2)


@pytest.mark.skipif(os.name != "posix", reason="kills by process group")
def test_a_step_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    code = (
        f"import os, subprocess; open({str(tmp_path / 'id')!r}, 'w').write(str(subprocess.Popen(['sleep', '99']).pid))"
    )
    code += "; import time; time.sleep(99)"
    began = time.monotonic()
    with pytest.raises(steps.TooSlow, match="it took longer than 3 s"):
        steps.run(steps.python("-c", code, tmp_path / "id"), steps.Deadline(100), 3)
    assert time.monotonic() - began < 20
    time.sleep(1)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "id").read_text()), 0)
    with pytest.raises(steps.TooSlow, match="no time was left for it"):
        steps.run(["true"], steps.Deadline(-1), 3)


# ----------------------------------------------------------------------------------------------------------- compiling


def test_one_architecture_and_a_line_for_each_file(tmp_path):
    real, compiled = tmp_path / "nvcc", tmp_path / "compiled"
    real.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    real.chmod(0o755)
    arguments = "-gencode arch=compute_80,code=sm_80 --generate-code=arch=compute_90,code=sm_90 -O3 -c a.cu -o a.o"
    environment = {"REAL_NVCC": str(real), "ONLY_ARCHITECTURE": "75", "COMPILED": str(compiled)}
    command = [sys.executable, build.WRAPPER, *arguments.split()]
    assert subprocess.run(command, env={**os.environ, **environment}).returncode == 0
    assert (tmp_path / "said").read_text() == "-O3 -c a.cu -o a.o -gencode arch=compute_75,code=sm_75\n"
    assert compiled.read_text() == "a.cu\n"
    assert nvcc.for_one(["-arch=sm_70", "x.cu"], "90") == ["x.cu", "-gencode", "arch=compute_90,code=sm_90"]


@pytest.mark.parametrize("works", [True, False])
def test_a_build_is_asked_for_and_shows_where_it_is(offer, command, monkeypatch, tmp_path, capsys, works):
    """With a stand-in for pip, which takes its time, compiles a file, and leaves a wheel."""
    command(gpu(), mamba_ssm={"float32": 1e-6}, triton={"float32": 1e-6})
    offer()
    wheel = tmp_path / "made.whl"
    wheel.write_bytes(b"")
    (tmp_path / "home" / "bin").mkdir(parents=True)
    (tmp_path / "home" / "bin" / "nvcc").write_text("")
    (tmp_path / "home" / "bin" / "nvcc").chmod(0o755)
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "pip.py").write_text(
        "import os, sys, time\n"
        "assert os.environ['ONLY_ARCHITECTURE'] == '75' and 'nvcc.py' in os.environ['PYTORCH_NVCC']\n"
        "open(os.environ['COMPILED'], 'a').write('a.cu\\n')\n"
        "time.sleep(2.5)\n"
        + (
            "open(os.path.join(sys.argv[sys.argv.index('--wheel-dir') + 1], 'mamba_ssm-1.whl'), 'w')\n"
            if works
            else "sys.exit('a.cu(3): error: no such thing')\n"
        )
    )
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.setattr(install, "missing", lambda requirements: [])
    monkeypatch.setattr(install, "install", lambda path, deadline: None)
    assert setup.main(["--build"]) == 0
    said = capsys.readouterr().out
    assert "\rCompiling for sm_75: 1 files, 0 min" in said
    if works:
        assert "Scan kernel: mamba_ssm 2.3.2.post1, compiled here\n" in said
    else:
        assert "the compilation failed: a.cu(3): error: no such thing." in said and "Scan kernel: triton" in said


def test_a_build_needs_a_gpu_and_a_compiler(tmp_path, monkeypatch):
    with pytest.raises(steps.Failed, match="no NVIDIA GPU"):
        build.build(gpu(**NO_GPU), tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(steps.Failed, match="no CUDA compiler"):
        build.build(gpu(), tmp_path)


# ---------------------------------------------------------------------------------------------------------- the report


def test_report(monkeypatch, capsys):
    """All of it, at a small size. The proofs are canned: they are made above."""
    from colab import report

    def answer(backend, *arguments):
        if backend == "associative":
            raise steps.Failed("it is wrong")
        return {"float32": 3e-7, "bfloat16": 2e-3}

    monkeypatch.setattr(verify, "verify", answer)
    monkeypatch.setattr(machine, "probe", lambda deadline: gpu(**NO_GPU))
    monkeypatch.setattr(setup, "main", lambda arguments: print("Scan kernel: numba"))
    monkeypatch.setattr(report.benchmark, "device", lambda: report.torch.device("cpu"))
    timings = report.timings
    monkeypatch.setattr(report, "timings", lambda names, device: timings(names, device, batch=1, length=20))
    assert report.main(["--images", "50"]) == 0
    said = capsys.readouterr().out
    assert f"torch {report.torch.__version__}" in said and "```\nScan kernel: numba\n```" in said
    assert re.search(r"\| numba +\| +3e-07 \| +2e-03 \| +\|", said)
    assert re.search(r"\| associative +\| +- \| +- \| it is wrong +\|", said)
    timed = said.partition("batch 1, length 20")[2]
    assert re.search(r"\| numba +\| +[\d.]+ \| +[\d.]+ \|", timed) and "associative" not in timed
    assert re.search(r"smnist: \d+\.\d\d% .*50 digits\), in .*; its record says 98\.96% of all\.\n$", said)
