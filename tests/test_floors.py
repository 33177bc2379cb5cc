"""Who may import whom: downwards only, and the outside world at the top only.

The tables below are docs/architecture.md's picture. A unit is a module or a package directly under
``laplace_nn``; the package's own ``__init__`` hands names on and stands above all of them.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import laplace_nn

ROOT = "laplace_nn"
PACKAGE = Path(laplace_nn.__file__).parent

FLOORS = [
    {
        "network",
        "linalg",
        "likelihoods",
        "priors",
        "hyperpriors",
        "rows",
        "checks",
        "quasi_newton",
    },
    {"curvature", "objective", "projection", "descent", "training"},
    {
        "posterior",
        "evidence",
        "evidence_spectrum",
        "evidence_surface",
        "ascent",
        "walk",
        "trail",
        "reestimation",
        "pushforward",
        "predictive",
        "temperature",
        "mixture",
        "leave_one_out",
        "selection",
        "importance",
        "units",
        "diagnostics",
    },
    {
        "estimators",
        "model_selection",
        "displays",
        "tables",
        "cli",
        "demo",
        "inference_data",
        "report",
    },
    {ROOT},
]
FLOOR = {unit: number for number, floor in enumerate(FLOORS) for unit in floor}
TOP = 3

#: Imports within a floor, in the only direction allowed.
SIDEWAYS = {
    "priors": {"network"},
    "checks": {"network", "likelihoods"},
    "objective": {"curvature"},
    "projection": {"objective"},
    "descent": {"curvature", "objective", "projection"},
    "training": {"curvature", "objective", "descent"},
    "evidence": {"posterior"},
    "evidence_spectrum": {"posterior", "evidence"},
    "selection": {"posterior", "leave_one_out"},
    "evidence_surface": {"posterior", "evidence", "selection"},
    "ascent": {"evidence_surface"},
    "walk": {"evidence_surface", "ascent"},
    "trail": {"evidence_surface", "walk"},
    "reestimation": {"evidence_surface", "ascent", "walk", "trail", "selection"},
    "pushforward": {"posterior"},
    "mixture": {"predictive"},
    "leave_one_out": {"posterior", "pushforward"},
    "importance": {"posterior"},
    "units": {"posterior"},
    "diagnostics": {"posterior", "leave_one_out", "importance", "units"},
    "model_selection": {"estimators", "displays"},
    "displays": {"estimators", "inference_data"},
    "inference_data": {"estimators"},
    "demo": {"estimators", "displays", "inference_data", "tables"},
    "report": {"estimators", "displays", "tables"},
    "cli": {"estimators", "model_selection", "tables", "demo", "report"},
}

ANYWHERE = {"numpy", "scipy"}
TOP_ONLY = {"sklearn", "joblib", "threadpoolctl"}
INSIDE_FUNCTIONS = {"matplotlib", "arviz", "pandas", "tqdm", "xarray"}
EXCEPTIONS = {"rows": {"joblib"}}


@dataclass(frozen=True)
class Import:
    """An imported module's full name, and whether a function has to run for it."""

    target: str
    lazy: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def unit_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ROOT


def imports(source: str) -> Iterator[Import]:
    """Every import of a module; those for type checkers only count as lazy."""

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from _from_import(child, lazy)
            else:
                deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
                yield from walk(child, lazy or deferred or typing_only)

    return walk(ast.parse(source), lazy=False)


def _from_import(node: ast.ImportFrom, lazy: bool) -> Iterator[Import]:
    """The module itself, or for ``from laplace_nn import x`` the unit x."""
    if node.level:
        yield Import(f"{ROOT}.<relative>", lazy)
        return
    for alias in node.names:
        full = f"{node.module}.{alias.name}"
        yield Import(full if full in MODULES else str(node.module), lazy)


def violations(module: str, source: str) -> list[str]:
    """What a module's imports do against the rule, as sentences."""
    unit = unit_of(module)
    if unit not in FLOOR:
        return [f"{module} is on no floor: give it a floor"]
    found = [_violation(unit, item) for item in imports(source)]
    return [f"{module}: {sentence}" for sentence in found if sentence]


def _violation(unit: str, item: Import) -> str:
    library = item.target.split(".")[0]
    if library == ROOT:
        return _inside(unit, unit_of(item.target))
    if library in sys.stdlib_module_names or library in ANYWHERE | EXCEPTIONS.get(unit, set()):
        return ""
    if library not in TOP_ONLY | INSIDE_FUNCTIONS:
        return f"{library} is no library of this package"
    if FLOOR[unit] != TOP:
        return f"{library} is for the top floor only"
    if library in INSIDE_FUNCTIONS and not item.lazy:
        return f"{library} must be imported inside the function that needs it"
    return ""


def _inside(unit: str, target: str) -> str:
    if target not in FLOOR:
        return f"imports {target}, which is on no floor: give it a floor"
    if target == unit or FLOOR[target] < FLOOR[unit] or target in SIDEWAYS.get(unit, set()):
        return ""
    return f"{unit} (floor {FLOOR[unit]}) must not import {target} (floor {FLOOR[target]})"


def import_graph() -> dict[str, set[str]]:
    """Module → modules of the package that it imports."""
    return {
        name: {item.target for item in imports(path.read_text()) if item.target in MODULES}
        for name, path in MODULES.items()
    }


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module):
    assert violations(module, MODULES[module].read_text()) == []


def test_no_cycles():
    order = list(TopologicalSorter(import_graph()).static_order())
    assert set(order) == set(MODULES)


def test_the_whole_package_is_looked_at():
    assert {"laplace_nn", "laplace_nn.rows", "laplace_nn.network.mlp"} <= set(MODULES)
    edges = import_graph()
    assert "laplace_nn.network" in edges["laplace_nn.priors"]
    assert "laplace_nn.posterior.base" in edges["laplace_nn.posterior.kernel"]


def test_table_of_sideways_imports_has_one_direction():
    for unit, targets in SIDEWAYS.items():
        assert all(FLOOR[target] == FLOOR[unit] for target in targets)
    list(TopologicalSorter(SIDEWAYS).static_order())
    with pytest.raises(CycleError):
        list(TopologicalSorter({**SIDEWAYS, "curvature": {"training"}}).static_order())


@pytest.mark.parametrize(
    ("module", "source", "sentence"),
    [
        ("unheard_of", "", "give it a floor"),
        ("rows", "from laplace_nn.unheard_of import x", "give it a floor"),
        ("rows", "from laplace_nn.posterior import x", "must not import posterior"),
        ("network.mlp", "from laplace_nn import curvature", "must not import curvature"),
        ("curvature.ggn", "import laplace_nn.training", "must not import training"),
        ("posterior.dense", "from laplace_nn.evidence import x", "must not import evidence"),
        ("training", "def f():\n    from laplace_nn.evidence import x", "must not import evidence"),
        ("curvature.ggn", "from ..posterior import x", "give it a floor"),
        ("evidence", "from laplace_nn import __version__", "must not import laplace_nn"),
        ("evidence", "import sklearn.base", "for the top floor only"),
        ("priors", "from joblib import Parallel", "for the top floor only"),
        ("posterior.dense", "def f():\n    import matplotlib", "for the top floor only"),
        ("displays.curves", "import matplotlib.pyplot as plt", "inside the function"),
        ("displays.curves", "try:\n    import arviz\nexcept ImportError:\n    pass", "inside the"),
        ("estimators.base", "class A:\n    import pandas", "inside the function"),
        ("linalg", "import torch", "no library of this package"),
    ],
)
def test_what_the_rule_forbids(module, source, sentence):
    (found,) = violations(f"laplace_nn.{module}", source)
    assert sentence in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("rows", "from joblib import Parallel\nimport numpy as np\nimport dataclasses"),
        ("training", "from laplace_nn.descent import Descent\nfrom laplace_nn.network import MLP"),
        ("reestimation", "from laplace_nn import ascent, evidence_surface, training"),
        ("estimators.base", "import sklearn.base\nfrom laplace_nn.reestimation import x"),
        ("displays.curves", "def draw():\n    import matplotlib.pyplot as plt"),
        (
            "displays.curves",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas",
        ),
    ],
)
def test_what_the_rule_allows(module, source):
    assert violations(f"laplace_nn.{module}", source) == []


def test_own_init_may_hand_on_names():
    assert violations("laplace_nn", "from laplace_nn.estimators import LaplaceMLPRegressor") == []
