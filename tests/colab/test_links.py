"""The README's table of pages, badges, the set-up cell and Colab's metadata: from one setting, and for any fork."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml
from repository import NOTEBOOKS, ROOT, run_python

from colab import links

LINK = r"https://colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob/([\w./-]+?)/notebooks/(\w+\.ipynb)"
GIT = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
# Git without this machine's settings, nor those of a commit that runs these tests in a hook.
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


@pytest.fixture
def copy(tmp_path):
    """A smaller tutorial: the files that ``make relink`` reads and writes, with two notebooks."""
    folder, pages = tmp_path / "copy", links.pages()[::5]
    notebooks = [f"notebooks/{page['file']}" for page in pages]
    for name in ("README.md", "colab/__init__.py", "colab/links.py", "colab/links.json", *notebooks):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "website").mkdir()
    (folder / "website" / "pages.json").write_text(json.dumps({"notebooks": pages}), "utf-8")
    links.main([], folder)
    return folder


def contents(folder):
    paths = [folder / "README.md", *sorted((folder / "notebooks").glob("*.ipynb"))]
    return {path.name: path.read_bytes() for path in paths}


def git(*arguments, cwd=None):
    return subprocess.run(["git", *map(str, arguments)], cwd=cwd, env=CLEAN, check=True, capture_output=True, text=True)


def test_everything_is_what_the_setting_says(capsys):
    """No badge, row, cell or metadata was changed by hand or forgotten."""
    assert links.main(["--check"]) == 0, capsys.readouterr().out


def test_every_link_leads_to_a_notebook_that_is_here():
    now, found = links.setting(), []
    for text in contents(ROOT).values():
        text = text.decode()
        matches = re.findall(LINK, text)
        assert len(matches) == text.count("colab.research.google.com/github/") > 0
        found += matches
    names = [path.name for path in NOTEBOOKS]
    assert {match[:2] for match in found} == {(now["repository"], now["ref"])}
    assert sorted(match[2] for match in found) == sorted(2 * names), "in the README and on the page itself"


def test_the_readme_has_a_row_for_each_page():
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition(links.BEGIN)[2].partition(links.END)[0]
    rows = [line.strip("| ").split(" | ") for line in table.split("\n") if "](notebooks/" in line]
    for (badge, link, leaves_with, time), page in zip(rows, links.pages(), strict=True):
        title = nbformat.read(ROOT / "notebooks" / page["file"], as_version=4).cells[0].source.split("\n")[0]
        assert badge == links.badge(page["file"], **links.setting())
        assert f"# {link}" == f"# [{title[2:]}](notebooks/{page['file']})"
        assert leaves_with == page["leaves_with"] and re.fullmatch(r"\d+ (s|min)", time)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_asks_colab_for_the_same(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata["accelerator"] == "GPU"
    assert notebook.metadata["colab"] == {"name": path.name, "provenance": [], "toc_visible": True}
    assert "widgets" not in notebook.metadata
    assert f"](https://colab.research.google.com/github/{links.setting()['repository']}" in notebook.cells[0].source
    second, *others = notebook.cells[1:]
    assert second.source == links.cell(**links.setting()) and second.outputs == []
    assert second.metadata["tags"] == ["setup", "remove-cell"]
    assert not any("setup" in cell.metadata.get("tags", []) for cell in others)


@pytest.mark.parametrize("repository, ref", [("me/my.fork", "v1.0"), ("some-one/mamba", "a/branch-of-mine")])
def test_a_fork_needs_one_command(copy, repository, ref, capsys):
    old, before = links.setting()["repository"], contents(copy)
    assert links.main(["--repository", repository, "--check"], copy) == 1
    assert repository in capsys.readouterr().out and contents(copy) == before
    assert links.main(["--repository", repository, "--ref", ref], copy) == 0
    for name, text in contents(copy).items():
        text = text.decode()
        assert re.search(LINK, text) and set(m[:2] for m in re.findall(LINK, text)) == {(repository, ref)}
        assert old not in text and (name == "README.md" or f'repository, ref = \\"{repository}\\", \\"{ref}\\"' in text)
    again = contents(copy)
    links.main([], copy)
    assert contents(copy) == again, "without a remote all stays as it is"
    assert links.main(["--check"], copy) == links.main(["--check", "--repository", repository], copy) == 0


@pytest.mark.parametrize("name", ["README.md", "notebooks/01_mnist_as_a_sequence.ipynb"])
def test_the_check_names_a_file_that_leads_elsewhere(copy, name, capsys):
    path = copy / name
    path.write_text(path.read_text("utf-8").replace(links.setting()["repository"], "some/other", 1), "utf-8")
    assert links.main(["--check"], copy) == 1
    assert f": {name}. Run `make relink`" in capsys.readouterr().out


@GIT
@pytest.mark.parametrize(
    "address, expected",
    [
        ("https://github.com/me/fork.git", "me/fork"),
        ("https://github.com/me/fork", "me/fork"),
        ("git@github.com:me/fork.git", "me/fork"),
        ("ssh://git@github.com/me/fork.name/", "me/fork.name"),
        ("https://example.org/me/fork.git", None),
        ("/srv/fork", None),
        (None, None),
    ],
)
def test_the_checkouts_own_remote(tmp_path, address, expected):
    git("init", "-q", tmp_path)
    if address:
        git("remote", "add", "origin", address, cwd=tmp_path)
    assert links.origin(tmp_path) == expected


@GIT
def test_without_arguments_it_leads_to_the_remote(copy):
    git("init", "-q", copy)
    git("remote", "add", "origin", "https://github.com/me/fork", cwd=copy)
    links.main([], copy)
    assert links.setting(copy) == {**links.setting(), "repository": "me/fork"}


def test_a_new_notebook_gets_all_of_it(copy):
    output = nbformat.v4.new_output("execute_result", execution_count=1, data={"text/plain": "1"})
    code = nbformat.v4.new_code_cell("1", execution_count=1, outputs=[output])
    cells = [nbformat.v4.new_markdown_cell("# B1. New\n\nText"), code]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"widgets": {}})
    nbformat.write(notebook, copy / "notebooks" / "B1_new.ipynb")
    with pytest.raises(SystemExit, match=r"pages\.json must list every notebook .* B1_new\.ipynb"):
        links.main([], copy)

    path = copy / "website" / "pages.json"
    data = json.loads(path.read_text("utf-8"))
    data["notebooks"].append({"file": "B1_new.ipynb", "leaves_with": "nothing", "run_seconds": 7, "appendix": True})
    path.write_text(json.dumps(data), "utf-8")
    links.main([], copy)
    new = nbformat.read(copy / "notebooks" / "B1_new.ipynb", as_version=4)
    assert re.fullmatch(r"# B1\. New\n\n\[!\[Open in Colab\].*B1_new\.ipynb\)\n\nText", new.cells[0].source)
    assert [part.execution_count for part in [*new.cells[1:], *new.cells[2].outputs]] == [1, 2, 2]
    assert "widgets" not in new.metadata
    assert ") | [B1. New](notebooks/B1_new.ipynb) | nothing | 5 s |" in (copy / "README.md").read_text("utf-8")


@pytest.mark.parametrize("arguments", [["--repository", "fork"], ["--repository", "a/b/c"], ["--ref", "a b"]])
def test_what_is_no_repository_is_refused(copy, arguments, capsys):
    before = contents(copy)
    with pytest.raises(SystemExit):
        links.main(arguments, copy)
    assert "must be" in capsys.readouterr().err and contents(copy) == before


@pytest.mark.slow
def test_it_needs_nbformat_and_no_other_package_of_ours():
    code = "import sys; from colab import links; print(sorted({'helpers', 'numpy', 'torch'} & set(sys.modules)))"
    assert run_python("-c", code).stdout == "[]\n"


# --- the set-up cell --------------------------------------------------------------------------------------------------

SPACE = "import os, sys; before = set(sys.modules); space = {}; exec(os.environ.pop('CELL'), space); "


def test_elsewhere_the_cell_imports_helpers_and_does_no_more(monkeypatch):
    for name in ("COLAB_RELEASE_TAG", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    told = "print(sorted(space.keys() - {'__builtins__'}), set(sys.modules) - before, os.environ['OMP_WAIT_POLICY'])"
    run = run_python("-c", SPACE + told, CELL=links.cell(**links.setting()))
    assert run.stdout == "['helpers', 'on_colab', 'os', 'sys'] {'helpers'} PASSIVE\n", run.stderr


def test_on_colab_helpers_is_imported_from_the_clone_before_the_kernel_is_proven(tmp_path, monkeypatch):
    """A clone whose packages say when they are loaded."""
    monkeypatch.setenv("COLAB_RELEASE_TAG", "1")
    clone = tmp_path / "fork"
    for name, text in (
        ("helpers/__init__.py", "print('helpers')"),
        ("colab/__init__.py", "print('colab')"),
        ("colab/setup.py", "def main(arguments, began): print('proven', arguments, type(began).__name__)"),
    ):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text(text)
    run = run_python("-c", SPACE, cwd=tmp_path, CELL=links.cell("me/fork", "main"))
    first, *others = run.stdout.splitlines()
    assert first.startswith("Fetching the tutorial"), "a minute of silence would be taken for a fault"
    assert others == ["helpers", "colab", "proven [] float"], run.stderr


def test_run_keeps_what_colab_reads(monkeypatch):
    notebook = nbformat.v4.new_notebook(metadata={"accelerator": "GPU", "colab": {"name": "x"}, "widgets": {}})
    monkeypatch.syspath_prepend(ROOT / "notebooks")
    import run

    run.tidy(notebook)
    assert set(notebook.metadata) == {"accelerator", "colab", "kernelspec", "language_info"}


# --- the workflow that does it on GitHub ------------------------------------------------------------------------------


@GIT
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the workflow runs on Linux")
def test_the_workflow_commits_once_and_then_nothing(copy, tmp_path):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "relink.yml").read_text(encoding="utf-8"))
    steps = [step["run"] for step in workflow["jobs"]["relink"]["steps"] if "run" in step]
    install, link = steps
    assert install == "python -m pip install nbformat"
    assert workflow["permissions"] == {"contents": "write"} and workflow["concurrency"]["cancel-in-progress"]

    origin = tmp_path / "origin.git"
    git("init", "-q", "--bare", "-b", "trunk", origin)
    git("init", "-q", "-b", "trunk", copy)
    git("add", "--all", cwd=copy)
    git("-c", "user.name=me", "-c", "user.email=me@example.org", "commit", "-qm", "A copy", cwd=copy)
    git("push", "-q", origin, "trunk", cwd=copy)
    environment = CLEAN | {
        "GITHUB_REPOSITORY": "me/fork",
        "REF": "trunk",
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
    }

    def log():
        return git("log", "--format=%an: %s", "trunk", cwd=origin).stdout.splitlines()

    for turn in ("first", "second"):
        clone = tmp_path / turn
        git("clone", "-q", origin, clone)
        subprocess.run(["sh", "-e", "-c", link], cwd=clone, env=environment, check=True, capture_output=True)
        assert log() == ["github-actions[bot]: Badges and first cells lead to me/fork", "me: A copy"], turn
        assert git("status", "--porcelain", cwd=clone).stdout == ""
        assert links.setting(clone) == {"repository": "me/fork", "ref": "trunk"}
        assert links.main(["--check", "--repository", "me/fork", "--ref", "trunk"], clone) == 0


def test_a_page_opened_without_the_tutorial_says_what_to_do(monkeypatch):
    cell = next(cell for cell in nbformat.read(NOTEBOOKS[0], as_version=4).cells if cell.cell_type == "code")
    monkeypatch.setitem(sys.modules, "helpers", None)
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"not installed in this Python.*`make setup`, or `pip install -r"):
        exec(cell.source, {})
