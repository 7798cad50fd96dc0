"""Where the pages are built nothing is lost: a folder is only cleared by who made it, and figures keep their colors."""

import base64
import importlib.util
import io
import sys

import nbformat
import numpy as np
import pytest
from PIL import Image
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


def test_figures_keep_their_colors_and_weigh_less():
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 400, dtype=np.uint8)
    picture = np.stack([np.tile(ramp, (300, 1)), np.tile(ramp[::-1], (300, 1)), np.full((300, 400), 90, np.uint8)], -1)
    picture[100:200] = random.choice([[0, 114, 178], [255, 255, 255], [230, 159, 0]], (100, 400))

    def page(png):
        output = nbformat.v4.new_output("display_data", {"image/png": base64.b64encode(png).decode()})
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output])])

    file = io.BytesIO()
    Image.fromarray(picture).convert("RGBA").save(file, "PNG")  # as matplotlib does
    notebook = page(file.getvalue())
    build.lighten(notebook)
    lighter = base64.b64decode(notebook.cells[0].outputs[0].data["image/png"])
    found = np.asarray(Image.open(io.BytesIO(lighter)).convert("RGB"))
    assert found.shape == picture.shape and abs(found.astype(int) - picture).max() <= 4
    assert len(lighter) < 0.6 * len(file.getvalue())
