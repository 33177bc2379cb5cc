"""Figures are drawn without a screen, and closed after every test."""

import matplotlib
import pytest

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures():
    """Of tests and doctests alike."""
    yield
    import matplotlib.pyplot as plt

    plt.close("all")
