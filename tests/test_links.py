"""Badges, the set-up cell and Colab's metadata: all of it from one setting, in every notebook, and for any fork."""

import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import nbformat
import pytest

from colab import links

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LINK = r"https://colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob/([\w./-]+?)/notebooks/(\w+\.ipynb)"


@pytest.fixture
def copy(tmp_path):
    """The files that ``make links`` writes."""
    folder = tmp_path / "copy"
    (folder / "colab").mkdir(parents=True)
    shutil.copy(ROOT / "colab" / "links.json", folder / "colab")
    shutil.copy(ROOT / "README.md", folder)
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def contents(folder):
    paths = [folder / "README.md", *sorted((folder / "notebooks").glob("*.ipynb"))]
    return {path.name: path.read_bytes() for path in paths}


def test_everything_is_what_the_setting_says(copy):
    """To write it again changes nothing: no badge, cell or metadata was changed by hand or forgotten."""
    now = links.setting()
    assert links.main(["--repository", now["repository"], "--ref", now["ref"]], copy) == 0
    assert contents(copy) == contents(ROOT)
    assert links.setting(copy) == now


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
def test_a_fork_needs_one_command(copy, repository, ref):
    old = links.setting()["repository"]
    assert links.main(["--repository", repository, "--ref", ref], copy) == 0
    for name, text in contents(copy).items():
        text = text.decode()
        assert re.search(LINK, text) and set(m[:2] for m in re.findall(LINK, text)) == {(repository, ref)}
        assert old not in text and (name == "README.md" or f'repository, ref = \\"{repository}\\", \\"{ref}\\"' in text)
    again = contents(copy)
    links.main([], copy)
    assert contents(copy) == again, "without a remote all stays as it is"


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
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
def test_the_checkouts_own_remote(copy, address, expected):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    subprocess.run(["git", "init", "-q", copy], check=True, env=clean)
    if address:
        subprocess.run(["git", "-C", copy, "remote", "add", "origin", address], check=True, env=clean)
    links.main([], copy)
    assert links.setting(copy) == {**links.setting(), "repository": expected or links.setting()["repository"]}


def test_a_new_notebook_gets_all_of_it(copy):
    output = nbformat.v4.new_output("execute_result", execution_count=1, data={"text/plain": "1"})
    code = nbformat.v4.new_code_cell("1", execution_count=1, outputs=[output])
    cells = [nbformat.v4.new_markdown_cell("# Title\n\nText"), code]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"widgets": {}})
    nbformat.write(notebook, copy / "notebooks" / "B1_new.ipynb")
    links.main([], copy)
    new = nbformat.read(copy / "notebooks" / "B1_new.ipynb", as_version=4)
    assert re.fullmatch(r"# Title\n\n\[!\[Open in Colab\].*B1_new\.ipynb\)\n\nText", new.cells[0].source)
    assert [cell.execution_count for cell in [*new.cells[1:], *new.cells[2].outputs]] == [
        1,
        2,
        2,
    ] and "widgets" not in new.metadata
    assert f"B1 {links.BADGE}" in (copy / "README.md").read_text()


@pytest.mark.parametrize("arguments", [["--repository", "fork"], ["--repository", "a/b/c"], ["--ref", "a b"]])
def test_what_is_no_repository_is_refused(copy, arguments, capsys):
    before = contents(copy)
    with pytest.raises(SystemExit):
        links.main(arguments, copy)
    assert "must be" in capsys.readouterr().err and contents(copy) == before


def test_elsewhere_the_cell_does_nothing(monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    path, modules, space, said = list(sys.path), set(sys.modules), {}, io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        exec(links.cell(**links.setting()), space)
    assert set(space) == {"__builtins__", "os", "sys"} and said.getvalue() == ""
    assert sys.path == path and set(sys.modules) == modules


def test_run_keeps_what_colab_reads(tmp_path):
    notebook = nbformat.v4.new_notebook(metadata={"accelerator": "GPU", "colab": {"name": "x"}, "widgets": {}})
    sys.path.insert(0, str(ROOT / "notebooks"))
    try:
        import run
    finally:
        sys.path.remove(str(ROOT / "notebooks"))
    run.tidy(notebook)
    assert set(notebook.metadata) == {"accelerator", "colab", "kernelspec", "language_info"}
