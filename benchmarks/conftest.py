"""One BLAS thread, the table of ratios at the end of a run, and the file they are kept in."""

import os

# Read once, when NumPy is loaded.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import json
import platform
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import scipy
from threadpoolctl import threadpool_info

RESULTS = Path(__file__).parent / "results" / "curvature.json"
MEASURED: list[dict] = []


@pytest.fixture
def record():
    """A list that takes a benchmark's row of the table."""
    return MEASURED


def pytest_terminal_summary(terminalreporter):
    """Every figure beside its goal."""
    if not MEASURED:
        return
    terminalreporter.section("against the goals")
    for row in MEASURED:
        goal = "-" if row["goal"] is None else f"{row['goal']:.2f}"
        figures = f"{row['ratio']:8.2f} {row['ratio_of_minima']:8.2f} {goal:>6}"
        terminalreporter.line(f"{figures}   {row['measured']}")
    terminalreporter.line("(ratio of medians, ratio of minima, goal)")


def pytest_sessionfinish(session):
    """Keep the figures, if every benchmark of the files was run and asked to be kept."""
    if MEASURED and session.config.getoption("--keep"):
        RESULTS.parent.mkdir(exist_ok=True)
        content = {"machine": machine(), "figures": MEASURED}
        RESULTS.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def pytest_addoption(parser):
    """``--keep`` writes the figures to benchmarks/results."""
    parser.addoption("--keep", action="store_true", help=f"write the figures to {RESULTS.name}")


def machine() -> dict:
    """What the figures were measured on."""
    return {
        "date": date.today().isoformat(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "blas": [
            {key: pool[key] for key in ("internal_api", "version", "architecture", "num_threads")}
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        ],
    }


def _cpu_model() -> str:
    """The processor's name: Linux says it in a file, other systems in ``platform``."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
