"""What holds for every figure: one is drawn, nothing is returned, all curves are there, and a notebook shows it."""

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from figures import drawn, texts
from repository import run_python

from helpers import plots
from helpers.benchmark.report import Row

RECORDS = [{"images": 10 * i, "loss": 1 / i, "accuracy": i / 5} for i in (1, 2, 3)]
IMAGE, LABELS = torch.zeros(28, 28), torch.arange(10)


def seven(value):
    """One more than there are colors."""
    return {name: value for name in "abcdefg"}


# What each is called with.
FIGURES = {
    "ablations": ({"whole": [0.9, 0.8]}, seven(0.1)),
    "accuracy_bars": (seven(0.9), "ab"),
    "accuracy_dots": (seven(0.9),),
    "accuracy_of_seeds": ({"row": seven([0.9, 0.8])}, {"a": {"row": (0.6, 0.95)}}),
    "against_length": ({"title": seven({10: 1.0, 20: 2.0})}, "seconds"),
    "banded": ({"one": seven({1: (0.5, 0.4, 0.6), 2: (0.6, 0.5, 0.7)})}, "rows", "accuracy"),
    "bits_of_digits": (seven(torch.rand(9) + 0.1),),
    "bits_of_seeds": (seven([1.0, 0.9]),),
    "bits_per_pixel": (seven(1.0), dict(zip("abcdefg", "abcdefg", strict=True))),
    "blocks_of_a_matrix": (5,),
    "bounds": ({"one": seven(1.0), "two": seven(2.0)}, "microseconds"),
    "by_length": (seven([{8: 0.9, 16: 0.5}]), (9, 12)),
    "carried": ([1, 10], [64, 640], seven(100)),
    "clocks": ({name: torch.ones(60) for name in "abcde"},),
    "confusion": (LABELS, LABELS),
    "copying": (seven([[0.9, 0.5]]), [10, 100], {}),
    "copying_beyond": ([10, 100], seven([[0.9, 0.5], [0.8, 0.4]]), 0.125),
    "correlation": ([0.8, 0.5, -0.1, 0.7], (2, 4)),
    "cost_in_pieces": (seven(100.0), seven(0.5)),
    "costs": ([Row("length", "", name, 1, 10, seconds=1, peak_bytes=1000) for name in "abcdefg"],),
    "costs_of_layers": ({f"{n}, ms": seven({10: 1.0, 100: 2.0}) for n in "abcd"}, {"a, ms": seven({1000: 3.0})}),
    "damaged": ({"clocks": {"4 pixels": seven((0.5, 0.4, 0.6))}}, 0.99),
    "deletion": (IMAGE, {"one": torch.randn(784)}, [0.1, 0.5], seven([(0.8, 0.7, 0.9), (0.5, 0.4, 0.6)])),
    "depth_and_work": ([4, 8], seven(([2, 3], [8, 24]))),
    "digit_rows": ({"one": torch.zeros(2, 28, 28), "two": torch.zeros(1, 28, 28)}, {"one": ["a", "b"]}, 14),
    "digits": ([IMAGE] * 3, ["7", "2", "1"], 2),
    "discretizations": ([0.0, 1.0], [1.0, 0.4], [1.0], seven([0.3]), seven(torch.rand(9) + 1)),
    "distances": ({"layer 1": seven((torch.rand(60), torch.rand(60) / 9)), "layer 2": seven((torch.rand(60), 0.1))},),
    "doubling": (8,),
    "enlarged": ({"small": IMAGE, "large": torch.zeros(56, 56)},),
    "error_curves": (seven(([1, 2], [0.9, 0.99])),),
    "error_orders": ([0.1, 0.2], seven([0.1, 0.4])),
    "fused_or_not": (),
    "gates": ({"before": seven((torch.rand(9), torch.rand(9))), "after": seven((torch.rand(9), torch.rand(9)))},),
    "gradients_of_indices": (4,),
    "hidden_matrices": ({"S4D": torch.randn(60, 60), "Mamba": torch.randn(60, 60)}, 28),
    "impulse_responses": ({"fast": torch.rand(9), "slow": torch.rand(9)}, seven(torch.rand(9))),
    "initial_steps": (torch.rand(8) + 0.1, seven(torch.rand(8) + 1)),
    "ink_and_memory": (
        {"small": seven((*torch.rand(3, 9), 1.0)), "large": seven((*torch.rand(3, 9), 1.0))},
        seven(torch.rand(9)),
    ),
    "joining_rounds": ({"loop": [[(0, 1)], [(1, 2)]]}, 3),
    "ladder": (seven(1.5), "milliseconds"),
    "layouts": (),
    "looking_back": (IMAGE, (100, 500), torch.rand(2, 3, 784)),
    "losses_by_processes": (seven([2.0, 1.0]),),
    "mamba_block": (16, 32, 8, 1, 4),
    "matrices": ({"mask": torch.rand(4, 4), "scores": torch.randn(4, 4)},),
    "memory_kept": ([1, 784], seven([1.0, 2.0])),
    "moved_and_kept": ({"a": 2.0, "b": 20.0}, {"a": 3.0, "b": 30.0}, ("must", "arguments")),
    "palettes": (torch.tensor([5, 80]), torch.rand(2), seven(torch.rand(5))),
    "pixel_classifier": (32, 2),
    "powers_of_two": ({2: 1e-3, 3: 1e-4}, {"float32": 6e-8}),
    "predicted_levels": (IMAGE, [40, 80], torch.full((2, 256), 1 / 256)),
    "reach": ({"before": torch.eye(9)[4], "after": torch.ones(9)}, 4),
    "reading": (IMAGE, torch.rand(3, 10), (8, 16, 28)),
    "reading_orders": (3, 2),
    "reading_progress": ([0.1] * 28, [(0.05, 0.2)] * 28, {digit: torch.arange(9) for digit in range(10)}),
    "recall_strip": (list("a1b2a"), torch.randn(5, 6, 4), {"whole": torch.rand(5, 2, 8)}, ["a", "b"], (0, 1), 2),
    "redrawn": (torch.rand(2, 28, 28), seven(torch.rand(2, 28, 28)), seven({5: (0.5, 0.4, 0.6), 6: (0.5, 0.4, 0.6)})),
    "roofline": ([2, 4], seven([1.0, 0.5]), {"reached": [0.3, 0.2]}),
    "signal": (IMAGE,),
    "signals": ({"7": torch.ones(7, 40), "2": torch.ones(1, 40)},),
    "spectra": (seven(torch.rand(9) + 0.1),),
    "spiral": (torch.arange(3.0), torch.rand(3, 2), torch.arange(2.0), seven(torch.rand(2, 2)), torch.ones(2)),
    "step_as_gate": (torch.rand(5), seven(torch.rand(5)), seven(torch.rand(5))),
    "step_functions": (torch.arange(3.0), seven((torch.ones(3), torch.ones(3))), seven(torch.ones(3))),
    "step_maps": (IMAGE, seven(torch.rand(784))),
    "step_sizes": (torch.tensor([0, 3, 9]), {"before": torch.rand(3, 4), "after": torch.rand(3, 5)}, 9),
    "strokes": ({"bar": IMAGE, "dash": IMAGE},),
    "surprise": (torch.zeros(2, 28, 28), torch.rand(2, 28, 28), ["a", "b"]),
    "three_blocks": (),
    "times": (seven({4: 1.0, 8: 2.0}), "states"),
    "token_sequences": (torch.tensor([[0, 3, 0, 9], [1, 0, 2, 9]]), ["first", "second"], 9),
    "training_curves": (seven(RECORDS), seven(0.9)),
    "truncated": (seven([[0.9, 0.5, 0.7], [0.8, 0.6, 0.7]]),),
    "turning_pairs": ({"one": torch.ones(3) + 0j, "other": torch.ones(3) * 1j},),
    "two_views": (torch.eye(9)[2], torch.rand(9), torch.rand(9, 2), torch.rand(9), (3, 7)),
    "untrained_outputs": (IMAGE, {"one": torch.rand(28, 28), "other": torch.rand(28, 28)}),
    "way_back": (),
    "where_positions_meet": (),
    "written_by": (torch.rand(7, 3), ["key", "value", "key"]),
}


def test_all_of_them_are_drawn_here():
    assert FIGURES.keys() == set(plots.__all__)


@pytest.mark.parametrize("name", FIGURES)
def test_draws_one_figure_with_all_that_it_was_given(name):
    before = dict(matplotlib.rcParams)
    assert getattr(plots, name)(*FIGURES[name]) is None, "IPython would show it twice"
    assert dict(matplotlib.rcParams) == before
    legends = [*plt.gcf().legends, *(one.get_legend() for one in drawn() if one.get_legend())]
    assert not legends or set("abcdefg") <= {text[0] for legend in legends for text in texts(legend.get_texts())}


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
