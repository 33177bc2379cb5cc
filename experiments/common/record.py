"""What an experiment writes down: how it was run, on what, and its figures."""

import json
import os
import platform
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

PACKAGES = ("laplace_nn", "numpy", "scipy", "scikit-learn", "joblib")


def environment() -> dict[str, Any]:
    """Date, versions and machine, without anything that names a person or a place."""
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "blas": sorted({f"{pool['internal_api']} {pool['version']}" for pool in blas}),
            "blas_threads": max((pool["num_threads"] for pool in blas), default=None),
        },
    }


def cpu_model() -> str:
    """The processor's name, as far as the system tells it."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


@contextmanager
def noted_warnings() -> Iterator[list[str]]:
    """Warnings within become sentences of the list instead of lines on the screen."""
    sentences: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield sentences
    sentences += [f"{item.category.__name__}: {item.message}" for item in caught]


def rounded(values: Any, digits: int = 4) -> Any:
    """Numbers of any shape as lists, to so many significant digits: what a figure shows."""
    if np.ndim(values):
        return [rounded(value, digits) for value in values]
    return float(f"{values:.{digits}g}")


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and its standard error over splits; no error for a single one."""
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return float(array.mean()), None
    return float(array.mean()), float(array.std(ddof=1) / np.sqrt(len(array)))


def plus_minus(mean: float, error: float | None, digits: int = 3) -> str:
    """``mean ± error`` for a table."""
    tail = "" if error is None else f" ± {error:.{digits}f}"
    return f"{mean:.{digits}f}{tail}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def described(environment: dict[str, Any]) -> str:
    """One sentence on when and on what, to stand under a table."""
    machine = environment["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in environment["packages"].items())
    return (
        f"{environment['date']}; {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['blas_threads']} BLAS thread(s), {machine['system']} "
        f"{machine['architecture']}; Python {environment['python']}, {packages}."
    )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Store figures; the file is there in full or not at all."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write beside, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` stored."""
    return json.loads(path.read_text(encoding="utf-8"))
