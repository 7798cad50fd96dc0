"""The figures in experiments/README.md are those of the records that its tables name, and the README's are too."""

import json
import re
import statistics

import pytest

from helpers import experiments

NOTEBOOK = experiments.FOLDER / "README.md"
PUBLISHED = ("smnist", "psmnist", "generator")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
ACCURACIES = {"validation": "validation_accuracy", "test": "test_accuracy"}
BITS = {"validation bits": "validation_bits", "test bits": "test_bits"}


def _default(experiment, argument):
    return {"d_state": 8, "pooling": "mean", "periods": (4, 784), **experiment.record["arguments"]}[argument]


def _percent(value):
    return None if value is None else 100 * value


# What a column says of an experiment: numbers, in the order of the cell, or None where the cell must be empty.
MEASURED = {
    "validation": lambda e: _percent(e.record["validation_accuracy"]),
    "validation loss": lambda e: e.record["validation_loss"],
    "test": lambda e: _percent(e.record.get("test_accuracy")),
    **{column: lambda e, name=name: e.record[name] for column, name in BITS.items()},
    "test loss": lambda e: e.record["test_loss"],
    "95 % interval": lambda e: [100 * x for x in e.record["test_interval"]] if "test_interval" in e.record else None,
    "training loss": lambda e: e.log[-1]["loss"],
    "training, last epoch": lambda e: _percent(e.log[-1]["accuracy"]),
    "s/epoch": lambda e: e.record["seconds_per_epoch"],
    "images/s": lambda e: e.record["images_per_second"],
}
CHOSEN = {
    "parameters": lambda e: e.record["parameters"],
    "epochs": lambda e: e.record["settings"]["epochs"],
    "seed": lambda e: e.record["seed"],
    "Muon": lambda e: e.record["settings"]["muon_learning_rate"],
    "AdamW": lambda e: e.record["settings"]["learning_rate"],
    "dropout": lambda e: e.record["arguments"]["dropout"],
    "states": lambda e: _default(e, "d_state"),
    "RoPE periods": lambda e: _default(e, "periods") if e.record["arguments"]["mixer"] == "mamba-rope" else None,
}
WORDS = {
    "pooling": lambda e: _default(e, "pooling"),
    "deep supervision": lambda e: "yes" if e.record["settings"]["deep_supervision"] else "",
    "positional encoding": lambda e: "yes" if e.record["arguments"].get("positional_encoding") else "",
}


def tables():
    """Every table of the lab notebook: ``(header, rows)``, lists of the texts in the cells."""
    for block in re.findall(r"(?:^\|.*\n)+", NOTEBOOK.read_text(encoding="utf-8"), re.M):
        header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()]
        yield header, rows


def record_of(row):
    """The experiment that a row names in backticks, or None."""
    named = [name for cell in row for name in re.findall(r"^`([\w./-]+)`$", cell)]
    return experiments.read(named[0]) if named and ("/" in named[0] or named[0] in PUBLISHED) else None


def agrees(cell, expected, exactly=False):
    """Whether the numbers in a cell are the expected ones, to the decimals that are shown."""
    shown = [number.replace(",", "") for number in NUMBER.findall(cell)]
    if expected is None:
        return not shown
    expected = list(expected) if isinstance(expected, list | tuple) else [expected]
    if len(shown) != len(expected):
        return False
    decimals = [len(number.partition(".")[2]) for number in shown]
    return all(
        float(number) == (value if exactly else float(f"{value:.{places}f}"))
        for number, value, places in zip(shown, expected, decimals, strict=True)
    )


RECORDED = [(header, row) for header, rows in tables() for row in rows if record_of(row)]


@pytest.mark.parametrize("header, row", RECORDED, ids=[record_of(row).name for _, row in RECORDED])
def test_a_row_says_what_its_record_says(header, row):
    experiment, checked = record_of(row), 0
    for column, cell in zip(header, row, strict=True):
        if column in MEASURED:
            assert agrees(cell, MEASURED[column](experiment)), f"{column}: {cell}"
        elif column in CHOSEN:
            assert agrees(cell, CHOSEN[column](experiment), exactly=True), f"{column}: {cell}"
        elif column in WORDS:
            assert cell == WORDS[column](experiment), f"{column}: {cell}"
        checked += column in ACCURACIES or column in BITS
    assert checked, "a row that names a record shows an accuracy, or bits"


def test_every_record_has_a_row():
    shown = {record_of(row).name for _, row in RECORDED}
    there = {e.name for e in experiments.find("*/*") if not e.name.startswith(("gpu/", "table-", "inside/", "longer/"))}
    assert shown == there | set(PUBLISHED)


def test_the_rows_of_page_1_say_what_the_yardsticks_say():
    kept = json.loads((experiments.FOLDER / "yardsticks.json").read_text(encoding="utf-8"))["yardsticks"]
    shown = []
    for header, rows in tables():
        for row in rows:
            if named := re.match("page 1: `(.+)`", row[1]):
                yardstick, cells = kept[named[1]], dict(zip(header, row, strict=True))
                assert agrees(cells["test"], 100 * yardstick["test_accuracy"])
                assert agrees(cells["95 % interval"], [100 * bound for bound in yardstick["test_interval"]])
                assert agrees(cells["epochs"], yardstick["settings"]["epochs"], exactly=True)
                shown.append(named[1])
    assert shown == list(kept)


def test_means_are_those_of_the_rows_above():
    found = 0
    for header, rows in tables():
        for number, row in enumerate(rows):
            if not row[0].replace("*", "").startswith("mean"):
                continue
            above = [record_of(other).record for other in rows[:number]]
            for column, cell in zip(header, row, strict=True):
                if column in ACCURACIES:
                    values = [100 * record[ACCURACIES[column]] for record in above]
                    assert agrees(cell, [statistics.mean(values), statistics.stdev(values)]), cell
                    found += 1
    assert found == 4  # two tables of one epoch, and validation and test of the three seeds


def test_gpu_tables_say_what_their_records_say():
    shown = set()
    for header, rows in tables():
        named = re.match(r"`(gpu/\w+)` (\w+)", header[0])
        if not named:
            continue
        values = experiments.read(named[1]).record["measurements"][named[2]]["values"]
        assert [re.match("`(.+?)`", row[0])[1] for row in rows] == list(values)
        for (first, *cells), value in zip(rows, values.values(), strict=True):
            value = [value[column] for column in header[1:]] if isinstance(value, dict) else value
            assert agrees(" ".join(cells), value), first
        shown.add(named.groups())
    assert shown == {
        ("gpu/h100", "scan"),
        ("gpu/h100", "layers"),
        ("gpu/h200", "scan_by_length"),
        ("gpu/h200", "classifiers"),
    }


def test_the_number_of_models_scored_on_the_test_digits_is_said():
    text = NOTEBOOK.read_text(encoding="utf-8")
    (counts,) = [[int(row[1]) for row in rows] for header, rows in tables() if header[1:] == ["models"]]
    everything = [*map(experiments.read, PUBLISHED), *experiments.find("*/*")]
    assert counts[0] == sum("test_accuracy" in e.record or "test_bits" in e.record for e in everything)
    assert f"**{sum(counts)} models have been scored on the 10,000 test digits:**" in text


def test_the_readme_has_the_same_figures():
    readme = (experiments.FOLDER.parent / "README.md").read_text(encoding="utf-8")
    seeds = [experiments.read(name).record["test_accuracy"] for name in ("smnist", "smnist/seed1", "smnist/seed2")]
    records = (
        "smnist",
        "psmnist",
        "recipe/recipe",
        "recipe/identity",
        "small/s4d-muon0.02-lr0.003",
        "small/mamba-muon0.02-lr0.003",
    )
    for accuracy in [statistics.mean(seeds), *(experiments.read(name).record["test_accuracy"] for name in records)]:
        assert f"{100 * accuracy:.2f} %" in readme


def test_the_generator_costs_what_page_8_and_the_readme_say():
    said = f"{experiments.read('generator').record['test_bits']:.2f} bits per pixel"
    root = experiments.FOLDER.parent
    for path in ("README.md", "notebooks/08_drawing_digits.ipynb"):
        assert said in (root / path).read_text(encoding="utf-8"), path


def test_deleted_pixels_are_those_of_the_record():
    record = experiments.read("inside/deletion").record
    text = NOTEBOOK.read_text(encoding="utf-8")
    for said, share in (("With a tenth of the ink deleted", 0.1), ("with three fifths", 0.6)):
        place = record["shares"].index(share)
        *others, last = (str(counts[place]) for counts in record["kept"].values())
        assert f"{said} {', '.join(others)} and {last}" in re.sub(r"\s+", " ", text)
    assert record["digits"] == 1000 and list(record["kept"])[2:] == ["looked at most", "at random"]
