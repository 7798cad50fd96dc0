"""Every figure is drawn, labels its axes, has its legend on free ground, and leaves matplotlib's settings alone."""

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from repository import run_python

from helpers import mnist, plots
from helpers.benchmark.report import Row

RECORDS = [{"images": 10 * i, "loss": 1 / i, "accuracy": i / 5} for i in (1, 2, 3)]
CURVES = {"one": [1.0, 2.0], "two": [3.0, 4.0]}
TOKENS = torch.tensor([[0, 3, 0, 9], [1, 0, 2, 9]])
TEST = mnist.load(train=False)
DIGIT, LABELS = TEST.data[0], TEST.targets

# What each is called with; where a tuple, positional arguments.
FIGURES = {
    "ablations": ({"whole": [0.9, 0.8], "no gate": [0.5, 0.4]}, {"chance": 0.1}),
    "against_length": ([10, 20], CURVES, "seconds", "title"),
    "class_balance": ({"test": LABELS},),
    "confusion": (LABELS, LABELS.flip(0)),
    "copying": ({"one": [0.9, 0.5], "two": [0.2, 0.3]}, [10, 100], {"one": [0.9, 0.8]}),
    "costs": ([Row("length", "", "one", 1, n, seconds=n / 1e4, peak_bytes=n * 1000) for n in (10, 20)],),
    "digits": (TEST.data[:3], ["7", "2", "1"], 2),
    "discretizations": ([0.0, 0.5, 1.0], [1.0, 0.6, 0.4], [0.5, 1.0], {"Euler": [0.5, 0.3]}),
    "error_curves": ({"validation": ([1, 2], [0.9, 0.99])},),
    "impulse_responses": ({"fast": torch.rand(9), "slow": torch.rand(9), "none": torch.zeros(9)},),
    "initial_steps": (torch.rand(8) + 0.1, {"slowest": torch.rand(8) + 1}),
    "mamba_block": (16, 32, 8, 1, 4),
    "neighbors": (DIGIT, {"here": (10, 19), "below": (11, 19)}),
    "signal": (DIGIT,),
    "signals": ({"7": torch.randn(2, 40), "2": torch.randn(1, 40)},),
    "token_sequences": (TOKENS, ["first", "second"], 9),
    "training_curves": ({"one": RECORDS, "two": RECORDS}, {"linear": 0.9}),
}
WITHOUT_A_SCALE = {"mamba_block"}  # a drawing


@pytest.fixture(autouse=True)
def no_figures():
    plt.close("all")
    yield
    plt.close("all")


def test_all_of_them_are_drawn_here():
    assert FIGURES.keys() == set(plots.__all__)


@pytest.mark.parametrize("name", FIGURES)
def test_draws_one_figure_whose_axes_have_labels(name):
    before = dict(matplotlib.rcParams)
    assert getattr(plots, name)(*FIGURES[name]) is None, "IPython would show it twice"
    assert dict(matplotlib.rcParams) == before
    (number,) = plt.get_fignums()
    figure = plt.figure(number)
    figure.canvas.draw()
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert any(axes.has_data() or axes.patches for axes in shown)
    for axes in shown:
        picture = axes.get_images() and not axes.get_xticks().size
        if axes.has_data() and not picture and name not in WITHOUT_A_SCALE:
            # Axes that share a scale have its label at the edge of the figure; titles and names of rows are labels too.
            across = [axes, *axes.get_shared_x_axes().get_siblings(axes)]
            assert any(one.get_xlabel() for one in across)
            down = [other for other in shown if other.get_subplotspec().rowspan == axes.get_subplotspec().rowspan]
            rows = [label.get_text() for label in axes.get_yticklabels()]
            assert any(one.get_ylabel() for one in down) or any(text and not text[0].isdigit() for text in rows)


def test_confusion_shows_the_shares_of_each_digit():
    plots.confusion(LABELS, LABELS.flip(0))
    drawn = {text.get_text() for text in plt.gca().texts}
    shares = [((LABELS == i) & (LABELS.flip(0) == i)).sum() / (LABELS == i).sum() for i in range(10)]
    assert {f"{100 * share:.1f}" for share in shares} <= drawn


IN_A_NOTEBOOK = """
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.instance()
import matplotlib, torch
from helpers import plots
for _ in range(2):
    plots.signal(torch.zeros(28, 28))
from matplotlib_inline import backend_inline
print(len(backend_inline.show._to_draw), matplotlib.is_interactive())
"""


@pytest.mark.slow
def test_a_notebook_shows_every_figure_and_not_the_first_alone():
    """The first figure loads the notebook's backend, which changes settings that must outlive the figure."""
    run = run_python("-c", IN_A_NOTEBOOK, MPLBACKEND="module://matplotlib_inline.backend_inline")
    assert run.stdout == "2 True\n", run.stderr
