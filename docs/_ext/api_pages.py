"""Writes a page of the reference for every floor: its members in order, with what each offers."""

import importlib
import inspect
from pathlib import Path

from floors import NAMES, ROOT, floors

FOLDER = Path(__file__).parents[1] / "api"

OPENINGS = {
    "Ground": "The network and what stands beside it. NumPy and SciPy only.",
    "First floor": "Second derivatives, and training to a stationary point.",
    "Second floor": "The Gaussian over the weights, and what follows from it.",
    "Top": "What meets the outside world: the scikit-learn API, tables, pictures, commands.",
}
#: The order in which a reader looks for them, where that is not who imports whom.
FIRST = ("network", "estimators", "displays", "model_selection", "inference_data")


def write() -> None:
    """Write ``api/ground.md`` and the other floors', where they have changed."""
    for name, members in zip(NAMES, floors(), strict=True):
        ordered = sorted(members, key=lambda unit: FIRST.index(unit) if unit in FIRST else 99)
        text = "\n".join([f"# {name}\n", f"{OPENINGS[name]}\n", *map(_section, ordered)])
        path = FOLDER / f"{name.lower().replace(' ', '_')}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _section(member: str) -> str:
    """A member's docstring, its classes and functions as a table of links, and its constants."""
    module = importlib.import_module(f"{ROOT}.{member}")
    source = ROOT if member == "estimators" else module.__name__  # as users import them
    names = getattr(module, "__all__", ())
    objects = [n for n in names if inspect.isclass(getattr(module, n)) or _is_function(module, n)]
    others = [n for n in names if n not in objects]
    lines = [f"## {module.__name__}\n", "```{eval-rst}", f".. module:: {module.__name__}\n", "```"]
    lines += ["", _described(module.__doc__ or ""), ""]
    if objects:
        lines += ["```{eval-rst}", f".. currentmodule:: {source}\n", ".. autosummary::"]
        lines += ["   :toctree: generated", "   :nosignatures:", ""]
        lines += [*(f"   {name}" for name in objects), "```", ""]
    if others:
        lines += [f"Values: {', '.join(f'`{name}`' for name in others)}.", ""]
    return "\n".join(lines)


def _is_function(module: object, name: str) -> bool:
    """Whether a name stands for a function of the package."""
    return inspect.isfunction(getattr(module, name))


def _described(doc: str) -> str:
    """A module's docstring as Markdown: its backticks are reStructuredText's."""
    return inspect.cleandoc(doc).replace("``", "`")
