"""The data that tables and the order of the pages are made from: complete, and what the records say."""

import re

import about
import nbformat
import pytest
from repository import NOTEBOOKS, ROOT

from colab import links
from helpers import experiments


def test_every_notebook_is_listed_the_appendices_last():
    pages = links.pages()  # raises if one is missing
    assert [page["appendix"] for page in pages] == sorted(page["appendix"] for page in pages)
    assert about.toctree(False).split() + about.toctree(True).split() == [page["file"][:-6] for page in pages]
    for page in pages:
        assert set(page) == {"file", "leaves_with", "run_seconds", "appendix"} and page["run_seconds"] > 0
        assert f"]({page['file']}) | {page['leaves_with']} | " in about.path_table()


def test_files_that_a_notebook_links_to_exist():
    """On the site these links lead to GitHub."""
    text = "".join(path.read_text(encoding="utf-8") for path in NOTEBOOKS)
    missing = [name for name in re.findall(r"\]\(\.\./([^)#]+)", text) if not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("seconds, told", [(2, "5 s"), (34, "35 s"), (89, "90 s"), (95, "2 min"), (200, "3 min")])
def test_run_times_as_they_are_told(seconds, told):
    assert links.duration(seconds) == told


def test_every_module_has_a_place_in_the_reference_behind_its_package():
    listed = about.listed("reference")
    paths = [path.relative_to(ROOT).with_suffix("").parts for path in (ROOT / "helpers").rglob("*.py")]
    modules = {".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in paths} - {"helpers"}
    assert sorted(listed) == sorted(modules)
    for place, module in enumerate(listed):
        package = module.rpartition(".")[0]
        assert package == "helpers" or package in listed[:place], module


def test_the_yardsticks_are_those_that_page_1_prints():
    kept = about.yardsticks()
    notebook = nbformat.read(ROOT / "notebooks" / kept["page"], as_version=4)
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    line = r"^(\w+) +(in order|permuted) +test accuracy ([\d.]+)% \(95 % interval ([\d.]+)% to ([\d.]+)%, n = 10,000"
    found = {
        name if order == "in order" else f"{name}, {order}": [float(number) for number in numbers]
        for name, order, *numbers in re.findall(line, printed, re.M)
    }
    assert found == {
        name: [round(100 * share, 2) for share in (record["test_accuracy"], *record["test_interval"])]
        for name, record in kept["yardsticks"].items()
    }
    for name, record in kept["yardsticks"].items():
        (epochs,) = re.findall(
            rf'"{name.partition(",")[0]}", \w+\.\w+, (\d+),', "".join(c.source for c in notebook.cells)
        )
        assert record["settings"]["epochs"] == int(epochs)


def test_a_row_of_results_has_the_numbers_of_its_record():
    rows = {row.get("record", row.get("yardstick")): about.result(row) for row in about.listed("results")}
    text = {name: " | ".join(cells[1:]).replace("\xa0", " ") for name, cells in rows.items()}
    assert text["psmnist"] == "pixel by pixel | 97.92 % | 97.62 to 98.18"
    assert text["convolutional, permuted"] == "all pixels at once | 95.61 % | 95.19 to 95.99"
    assert text["smnist"].endswith("; mean of 3 seeds: 99.21 %")


def test_seeds_differ_in_nothing_but_the_seed():
    compared = [row for row in about.listed("results") if "seeds" in row]
    assert compared
    for row in compared:
        first, *others = [experiments.read(name).record for name in (row["record"], *row["seeds"])]
        assert len({record["seed"] for record in (first, *others)}) == 1 + len(others)
        for other in others:
            assert other["arguments"] == first["arguments"] and other["settings"] == first["settings"]
