"""The floors of the package, their members, and who imports whom: all read from the sources.

The table of floors is that of ``tests/test_floors.py``, which enforces it.
"""

import ast
from pathlib import Path
from typing import Any

ROOT = "laplace_nn"
REPOSITORY = Path(__file__).parents[2]
NAMES = ("Ground", "First floor", "Second floor", "Top")


def floors() -> list[list[str]]:
    """Members of every floor, from the ground up; those imported before those that import."""
    edges = imports()
    found = [floor & set(edges) for floor in _table("FLOORS") if ROOT not in floor]
    return [sorted(floor, key=lambda unit: (depth(unit, floor, edges), unit)) for floor in found]


def imports() -> dict[str, set[str]]:
    """Member → members of the package that it imports."""
    sources: dict[str, list[Path]] = {}
    for path in sorted((REPOSITORY / ROOT).rglob("*.py")):
        member = path.relative_to(REPOSITORY / ROOT).with_suffix("").parts[0]
        if member != "__init__":
            sources.setdefault(member, []).append(path)
    found = {unit: set().union(*map(_imported, paths)) for unit, paths in sources.items()}
    return {unit: (targets & set(sources)) - {unit} for unit, targets in found.items()}


def depth(unit: str, floor: set[str], edges: dict[str, set[str]]) -> int:
    """How many members of its own floor stand, one behind another, before it."""
    below = [depth(target, floor, edges) for target in edges[unit] & floor]
    return 1 + max(below) if below else 0


def direct(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The imports that do not follow from other imports (transitive reduction)."""

    def reached(unit: str) -> set[str]:
        return edges[unit].union(*(reached(target) for target in edges[unit]))

    return {
        unit: targets - set().union(*(reached(target) for target in targets))
        for unit, targets in edges.items()
    }


def _imported(path: Path) -> set[str]:
    """Members that a file names in its imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == ROOT:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(_member(node.module or ""))
        elif isinstance(node, ast.Import):
            found |= {_member(alias.name) for alias in node.names}
    return found


def _member(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == ROOT and len(parts) > 1 else ""


def _table(name: str) -> Any:
    """A table of ``tests/test_floors.py``, without importing pytest."""
    source = (REPOSITORY / "tests" / "test_floors.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return eval(compile(ast.Expression(node.value), name, "eval"), {"ROOT": ROOT})
    raise LookupError(f"tests/test_floors.py has no table {name}.")
