"""Pages as on Colab, at home: what can be tested of it without building Debian in a folder."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from repository import NOTEBOOKS, ROOT

from colab import at_home, install

PINNED = re.compile(r"([\w.-]+)==([\w.]+)( +#.*)?")


def stream(name, text):
    return {"output_type": "stream", "name": name, "text": text}


def notebook(*cells):
    return {"cells": [{"cell_type": "markdown", "source": "# A page"}, *({"outputs": list(cell)} for cell in cells)]}


def test_what_a_reader_would_be_warned_of():
    warned = notebook(
        [stream("stdout", ["all well\n", "Not used: triton: it crashed.\n", "Verified:    not yet, time ran out\n"])],
        [stream("stdout", "torch cannot be used here: no.\n")],
        [
            stream("stderr", "/content/a.py:3: UserWarning: lost\n  warnings.warn('lost')\n"),
            stream("stderr", "/content/a.py:3: UserWarning: lost\n  warnings.warn('lost')\nsaid aside\n"),
        ],
        [{"output_type": "execute_result", "data": {"text/plain": ["DeprecationWarning('old')"], "image/png": "x"}}],
    )
    assert at_home.warnings(warned) == [
        "cell 2: Not used: triton: it crashed.",
        "cell 2: Verified:    not yet, time ran out",
        "cell 3: torch cannot be used here: no.",
        "cell 4: /content/a.py:3: UserWarning: lost",
        "cell 4: said aside",
        "cell 5: DeprecationWarning('old')",
    ]


def test_progress_bars_and_plain_words_are_no_warnings():
    bars = "\r  0%|          | 0/9 [00:00<?, ?it/s]\r100%|####| 9/9 [00:01<00:00, 9.1it/s]\n\r3it [00:00, 9.9it/s]\n"
    plain = notebook(
        [stream("stderr", bars)], [stream("stdout", "a warning to all; Verified:    forward and backward")]
    )
    assert at_home.warnings(plain) == []
    between = bars.replace("\n\r", "\nx.py:1: UserWarning: it is slow\n\r")
    assert at_home.warnings(notebook([stream("stderr", between)])) == ["cell 2: x.py:1: UserWarning: it is slow"]


def test_the_committed_pages_warn_of_nothing():
    for path in NOTEBOOKS:
        assert at_home.warnings(json.loads(path.read_text(encoding="utf-8"))) == [], path.name


def test_table():
    ran = at_home.Result("01_a", 61.7, ["cell 3: said aside"], "")
    failed = at_home.Result("02_b", 5, [], "ValueError: a|b")
    assert at_home.table([ran, failed]).splitlines() == [
        "| page | s | warnings | result |",
        "|---|---:|---:|---|",
        "| 01_a | 62 | 1 | ok |",
        "| 02_b | 5 | 0 | ValueError: a/b |",
        "",
        "* 01_a, cell 3: said aside",
    ]
    assert at_home.table([failed]).splitlines()[2:] == ["| 02_b | 5 | 0 | ValueError: a/b |"]


def test_pages_are_named_by_their_beginnings():
    assert at_home.choose([]) == [path.name for path in NOTEBOOKS]
    some = at_home.choose(["A1", "04"])
    assert [name[:2] for name in some] == ["04", "A1"]
    with pytest.raises(SystemExit, match=r"No page begins with 77\. There are: 01_"):
        at_home.choose(["01", "77"])


def test_settings_of_pip_are_taken_along_but_for_files_of_this_machine():
    listed = r"""
:env:.cert='/etc/some.pem'
:env:.timeout='180'
global.index-url='https://example.org/simple'
global.extra-index-url='\nfile:///here/simple\nhttps://example.org/more\nhttps://example.org/most'
global.timeout='15'
global.find-links='/here/wheels'
install.trusted-host='example.org'
site.proxy='file:nowhere'
"""
    assert at_home.pip_environment(listed) == {
        "PIP_CERT": "/etc/some.pem",
        "PIP_INDEX_URL": "https://example.org/simple",
        "PIP_EXTRA_INDEX_URL": "https://example.org/more https://example.org/most",
        "PIP_TIMEOUT": "180",
        "PIP_TRUSTED_HOST": "example.org",
    }
    assert at_home.pip_environment("") == {}


# ----------------------------------------------------------------------------------------- the versions of Colab


def test_every_line_is_one_version():
    lines = [line for line in at_home.RUNTIME.read_text().splitlines() if line and not line.startswith("#")]
    assert all(PINNED.fullmatch(line) for line in lines)
    names = [PINNED.fullmatch(line)[1] for line in lines]
    assert len(set(names)) == len(names)
    assert {"pip", "nbclient", "nbformat", "ipykernel", "numba", "jax"} <= set(names)


def test_the_tutorial_takes_colabs_versions_and_lacks_two_packages():
    versions = {name: version for name, version, _ in PINNED.findall(at_home.RUNTIME.read_text())}
    wanted = {each.name: each.specifier for each in map(Requirement, install.tutorial())}
    assert set(wanted) - set(versions) == {"lightning-fabric", "mnist1d"}
    assert all(versions[name] in wanted[name] for name in set(wanted) & set(versions))


# ------------------------------------------------------------------------------------------------ where it can run


@pytest.mark.parametrize(
    "change, said",
    [
        ((at_home.sys, "platform", "darwin"), "This needs Linux: .*, and this machine runs darwin."),
        ((at_home.os, "geteuid", lambda: 1000), "This needs root, .*: sudo make colab-at-home"),
        ((at_home, "ROOT", ROOT / "tests"), "This needs a clone of the repository, .* and .*tests is none."),
        ((at_home.shutil, "which", lambda name: None), "This needs the command debootstrap. .*apt-get install deboot"),
        ((at_home, "SPACE", 10**9), "Building this takes 1000000000 GB of disk, and .* GB free."),
    ],
)
def test_what_is_lacking_is_one_sentence(monkeypatch, capsys, tmp_path, change, said):
    monkeypatch.setattr(at_home.sys, "platform", "linux")
    monkeypatch.setattr(at_home.os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(at_home.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(at_home, "SPACE", 0)
    monkeypatch.setattr(at_home, "Home", None)  # nothing is built, whatever happens
    assert at_home.lacking(tmp_path) is None
    monkeypatch.setattr(*change)
    assert at_home.main(["--folder", str(tmp_path)]) == 1
    assert re.match(said, capsys.readouterr().err)
    assert not (tmp_path / "log.txt").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs the locks of a Unix system")
def test_two_runs_do_not_share_a_folder(monkeypatch, capsys, tmp_path):
    import fcntl

    monkeypatch.setattr(at_home, "lacking", lambda folder: None)
    monkeypatch.setattr(at_home, "Home", None)
    monkeypatch.setattr(at_home.signal, "signal", lambda *_: None)
    with open(tmp_path / "log.txt", "w") as log:
        log.write("of the first run")
        log.flush()
        fcntl.flock(log, fcntl.LOCK_EX)
        assert at_home.main(["01", "--folder", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"Another run is at work in {tmp_path}.\n"
    assert (tmp_path / "log.txt").read_text() == "of the first run"


# ------------------------------------------------------------------------------------- one folder, and many layers


@pytest.fixture
def home(tmp_path, monkeypatch):
    """In a folder of the tests'. What would run in namespaces of its own is noted, and answered as a test says."""
    if os.name != "posix":
        pytest.skip("needs the paths of a Unix system")
    monkeypatch.setattr(at_home, "RUNTIME", tmp_path / "runtime.txt")
    at_home.RUNTIME.write_text("pip==1.2\ntorch==3.4\n")
    (tmp_path / "home").mkdir()
    with open(tmp_path / "home" / "log.txt", "w") as log:
        home = at_home.Home(tmp_path / "home", log)
        home.commands, home.fails = [], "nothing"

        def run(command):
            home.commands.append(" ".join(map(str, command)))
            for name in ("opt", "etc", "root"):
                (home.root / name).mkdir(parents=True, exist_ok=True)
            return int(home.fails in home.commands[-1])

        monkeypatch.setattr(home, "_run", run)
        yield home


def test_it_is_built_once_and_again_when_the_versions_change(home, monkeypatch):
    monkeypatch.setenv("DEBIAN_MIRROR", "http://example.org/debian")
    home.build()
    bootstrap, venv, pip, rest = home.commands
    assert re.match(r"debootstrap .*\btrixie \S+/home/root http://example.org/debian", bootstrap)
    assert venv.endswith("python3 -m venv /opt/colab") and pip.endswith("pip==1.2")
    assert rest.endswith("-r /opt/runtime.txt") and (home.root / "opt" / "runtime.txt").exists()
    assert not any("overlay" in command for command in home.commands), "under the layers"
    (home.root / "kept").touch()
    home.build()
    assert len(home.commands) == 4 and (home.root / "kept").exists()
    at_home.RUNTIME.write_text("pip==1.2\ntorch==3.5\n")
    home.build()
    assert len(home.commands) == 8 and not (home.root / "kept").exists()


@pytest.mark.parametrize("fails", ["debootstrap", "-r /opt/runtime.txt"])
def test_what_was_interrupted_is_begun_again(home, fails):
    """Also if the versions are those of a folder that was there before."""
    home.build()
    versions = at_home.RUNTIME.read_text()
    at_home.RUNTIME.write_text(versions + "jax==5.6\n")
    home.fails = fails
    with pytest.raises(SystemExit, match=r"failed: see .*log\.txt"):
        home.build()
    first = len(home.commands)
    home.fails = "nothing"
    at_home.RUNTIME.write_text(versions)
    home.build()
    assert len(home.commands) - first == 4


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_git_finds_the_commit_where_github_would_be(home, tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    (checkout / "colab").mkdir(parents=True)
    (checkout / "colab" / "links.json").write_text('{"repository": "a/b", "ref": "v2"}')
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(checkout)]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(at_home, "ROOT", checkout)
    monkeypatch.setattr(at_home, "GIT", git)
    home.build()
    assert re.fullmatch(r"commit [0-9a-f]+", home.publish())
    clone = ["git", "clone", "--quiet", "--depth", "1", "--branch", "v2", home.bare.as_uri(), str(tmp_path / "clone")]
    subprocess.run(clone, check=True)
    assert (tmp_path / "clone" / "colab" / "links.json").exists()
    read = [
        "git",
        "config",
        "--file",
        str(home.root / "root" / ".gitconfig"),
        "url.file:///opt/repository.git.insteadof",
    ]
    assert subprocess.run(read, capture_output=True, text=True).stdout == "https://github.com/a/b\n"
    shallow = tmp_path / "shallow"
    subprocess.run([*git, "commit", "-qm", "more", "--allow-empty"], check=True)
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", checkout.as_uri(), str(shallow)], check=True)
    monkeypatch.setattr(at_home, "GIT", ["git", "-C", str(shallow)])
    assert home.publish().startswith("commit ")
    monkeypatch.setattr(at_home, "GIT", git)
    (checkout / "new").touch()
    assert home.publish().endswith("without uncommitted changes")


def test_a_page_has_a_fresh_runtime_and_its_outputs_are_kept(home, monkeypatch):
    name = NOTEBOOKS[0].name
    home.build()
    home.publish()
    seen = []

    def run(command):
        upper = home.layer / "upper"
        seen.append(sorted(path.name for path in (upper / "content").iterdir()))
        seen.append(sorted(path.name for path in (upper / "opt").iterdir()))
        assert "overlay" in command[2] and f"COLAB_RELEASE_TAG={at_home.RELEASE}" in command
        assert "rm -rf $site/triton;" in command[-1] and command[-1].endswith(f"/content/{name} --output /opt/pages")
        failed = len(seen) > 2
        (upper / "opt" / "pages").mkdir()
        suffix = ".failed.ipynb" if failed else ".ipynb"
        page = notebook([stream("stderr", "said aside\n")])
        (upper / "opt" / "pages" / name).with_suffix(suffix).write_text(json.dumps(page))
        home.log.write("a line\nValueError: no\n\n" if failed else "done\n")
        home.log.flush()
        return int(failed)

    monkeypatch.setattr(home, "_run", run)
    ran, failed = home.page(name, ["triton"]), home.page(name, ["triton"])
    assert seen == [[name], ["run.py"]] * 2
    assert ran[:1] + ran[2:] == (name.removesuffix(".ipynb"), ["cell 2: said aside"], "")
    assert failed[2:] == (["cell 2: said aside"], "ValueError: no")
    kept = sorted(path.name for path in (home.folder / "pages").iterdir())
    assert kept == [name.replace(".ipynb", ".failed.ipynb")], "of the last run alone"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs Linux and root")
def test_no_mount_and_no_process_outlives_a_command(tmp_path):
    with open(tmp_path / "log.txt", "w") as log:
        home, inside = at_home.Home(tmp_path, log), tmp_path / "inside"
        inside.mkdir()
        if home._run(["true"]):
            pytest.skip("namespaces are not allowed here")
        code = f"mount -t tmpfs none {inside}; touch {inside}/file; sleep 1234.5 & test -e {inside}/file"
        assert home._run(["sh", "-euc", code]) == 0
    assert not list(inside.iterdir())
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 1234.5" not in running.splitlines()


def test_make_calls_it():
    text = (ROOT / "Makefile").read_text()
    assert "\n\t@$(PYTHON) -m colab.at_home $(PAGES)\n" in text
