"""Where the pages are built nothing is lost: a folder is only cleared by who made it."""

import importlib.util
import sys

import pytest
from repository import ROOT

spec = importlib.util.spec_from_file_location("website_build", ROOT / "website" / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)


@pytest.mark.parametrize("place", ["blog", "blog-source"])
def test_what_others_have_written_is_refused_and_left_alone(tmp_path, monkeypatch, capsys, place):
    mine = tmp_path / place / ".git" / "config"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    monkeypatch.setattr(sys, "argv", ["build.py", "--output", str(tmp_path / "blog")])
    with pytest.raises(SystemExit) as stop:
        build.main()
    said = f"{tmp_path / place} is not empty, and was not made by"
    assert stop.value.code == 2 and said in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "site").write_text("mine")
    with pytest.raises(FileExistsError, match="nothing was deleted"):
        build.make_empty(tmp_path / "site")
    assert (tmp_path / "site").read_text() == "mine"


def test_an_own_or_empty_folder_is_cleared(tmp_path):
    (tmp_path / "site").mkdir()
    build.make_empty(tmp_path / "site")
    (tmp_path / "site" / "index.html").write_text("old")
    build.make_empty(tmp_path / "site")
    assert [path.name for path in (tmp_path / "site").iterdir()] == [build.MARK]
