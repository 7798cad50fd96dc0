"""Every test of a figure begins and ends with none."""

import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def no_figures():
    plt.close("all")
    yield
    plt.close("all")
