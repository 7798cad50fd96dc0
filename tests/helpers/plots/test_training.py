"""How trainings went: what is lost on the left, what is right on the right."""

import matplotlib.pyplot as plt
import pytest
from figures import curves, drawn, says, texts

from helpers import plots

LOGS = {
    "one": [{"images": 10, "loss": 2.0, "accuracy": 0.25}, {"images": 20, "loss": 1.5, "accuracy": 0.5}],
    "two": [{"images": 30, "loss": 0.5, "accuracy": 0.75}],
}


def test_training_curves():
    plots.training_curves(LOGS, {"linear": 0.923, "chance": 0.1})
    left, right = drawn()
    (legend,) = plt.gcf().legends
    assert texts(legend.get_texts()) == ["one", "two", "linear: 92.3%", "chance: 10.0%"]
    assert curves(left, legend) == {"one": [[10, 20], [2, 1.5]], "two": [[30], [0.5]]}
    found = curves(right, legend)
    assert found["one"] == [[10, 20], [0.25, 0.5]] and found["two"] == [[30], [0.75]]
    assert found["linear: 92.3%"][1] == [0.923] * 2 and found["chance: 10.0%"][1] == [0.1] * 2
    assert [axes.get_ylabel() for axes in (left, right)] == ["training loss (nats)", "training accuracy"]
    assert [axes.get_xlabel() for axes in (left, right)] == ["images seen (thousands)"] * 2
    assert left.get_ylim()[0] == 0 and right.get_ylim() == (0, 1) and says(right.yaxis, 0.5) == "50%"


def test_training_curves_of_something_else_than_images():
    plots.training_curves(LOGS, examples="signals")
    assert [axes.get_xlabel() for axes in drawn()] == ["signals seen (thousands)"] * 2


@pytest.mark.parametrize("levels", [0, 4])
def test_training_curves_with_any_number_of_levels(levels):
    plots.training_curves(LOGS, {str(i): i / 10 for i in range(levels)} or None)
    drawn()
    expected = ["one", "two", "0: 0.0%", "1: 10.0%", "2: 20.0%", "3: 30.0%"]
    assert texts(plt.gcf().legends[0].get_texts()) == expected[: 2 + levels]


def test_error_curves_show_what_was_wrong():
    plots.error_curves({"training": ([10, 20], [0.5, 0.75]), "validation": ([20], [0.995])})
    (axes,) = drawn()
    found = curves(axes, axes.get_legend())
    assert found == {"training": [[10, 20], [0.5, 0.25]], "validation": [[20], pytest.approx([0.005])]}
    assert axes.get_yscale() == "log" and (axes.get_xlabel(), axes.get_ylabel()) == (
        "images seen (thousands)",
        "wrong answers",
    )
    assert says(axes.yaxis, 0.005) == axes.yaxis.get_minor_formatter()(0.005, 0) == "0.5%"
