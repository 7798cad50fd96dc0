"""A file that is written is whole, readable by others, and alone in its folder; or all is as it was."""

import os
import sys

import pytest

from helpers import files


def test_write_makes_the_folder_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    for content in (b"first", b"then"):
        files.write(path, content)
        assert path.read_bytes() == content and os.listdir(path.parent) == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_what_was_written_can_be_read_by_others(tmp_path):
    files.write(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    def fails(*_):
        raise OSError("no space")

    files.write(tmp_path / "file", b"old")
    monkeypatch.setattr(files.os, step, fails)
    with pytest.raises(OSError, match="no space"):
        files.write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_check_folder_makes_it_and_leaves_nothing_in_it(tmp_path):
    files.check_folder(tmp_path / "a" / "b")
    assert os.listdir(tmp_path / "a" / "b") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        files.check_folder(tmp_path / "file")
