"""From an experiment's module to its command line, its stored figures and its row in the index.

An experiment is a folder with a ``run.py``, a module that has

- a docstring whose first line is the claim,
- ``TIME``: how long the run takes, in words,
- ``Config``: a frozen dataclass; ``Config.quick()`` is the form that the tests run,
- ``run(config) -> dict``: the figures, ready for JSON,
- ``check(results) -> list of str``: the parts of the claim that do not hold, none if it holds,
- ``found(results) -> str``: the figures that matter in a sentence, for the READMEs,
- ``report(results) -> str``: all tables in markdown,
- ``draw(results) -> Figure``,

and, where every set's figures are to be stored apart, ``PARTS``, the key of the results under which
they are found by the set's name; its ``Config`` then has ``sets``.
"""

import argparse
import json
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from threadpoolctl import threadpool_limits

from experiments.common.record import markdown_table, read_json, write_json, write_text
from experiments.common.splits import DataError

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"

#: Fields of a ``Config`` that are options of the command line.
OPTIONS: dict[str, dict[str, Any]] = {
    "sets": {"nargs": "+", "metavar": "SET", "help": "which sets; the open ones if not given"},
    "splits": {"type": int, "metavar": "N", "help": "the first so many splits"},
    "jobs": {"type": int, "metavar": "N", "help": "fits at the same time"},
    "data": {"type": Path, "metavar": "DIR", "help": "a folder with further sets"},
}


def names() -> list[str]:
    """Of all experiments."""
    return sorted(path.parent.name for path in ROOT.glob("*/run.py"))


def load(name: str) -> ModuleType:
    """An experiment's module."""
    return import_module(f"experiments.{name}.run")


def claim(module: ModuleType) -> str:
    """The first paragraph of the module's docstring, on one line."""
    return " ".join((module.__doc__ or "").split("\n\n")[0].split())


def violated(parts: Mapping[str, bool]) -> list[str]:
    """Those sentences that are not true."""
    return [sentence for sentence, true in parts.items() if not true]


def n_threads() -> int:
    """Of BLAS in a process: one, unless the environment says otherwise.

    The matrices are small, where threads cost more than they bring, and ``--jobs`` already puts a
    process on every core.
    """
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def few_threads() -> AbstractContextManager:
    """So many BLAS threads within."""
    return threadpool_limits(n_threads(), user_api="blas")


def main(module: ModuleType, arguments: list[str] | None = None) -> None:
    """Run the experiment, or take its stored figures; print, store, and hold it to its claim.

    Raises
    ------
    SystemExit
        If a set or stored figures are missing, or the claim does not hold.
    """
    options = parse(module, arguments)
    folder = Path(str(module.__file__)).resolve().parent
    out = options.out or (None if options.quick else folder)
    try:
        with few_threads():
            results = stored(module, out) if options.redraw else obtain(module, options, out)
    except DataError as error:
        raise SystemExit(f"{folder.name}: {error}") from None
    print(f"\n{module.report(results)}")
    if out is not None:
        publish(module, results, out)
    failures = module.check(results)
    if failures:
        raise SystemExit("\n- ".join(["The claim does not hold:", *failures]))
    print(f"The claim holds: {claim(module)}")


def parse(module: ModuleType, arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=claim(module))
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--quick", action="store_true", help="in small, stored only with --out")
    form.add_argument(
        "--redraw", action="store_true", help="table, figure and READMEs from stored figures"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="of the results, instead of the script's folder"
    )
    for field in fields(module.Config):
        if field.name in OPTIONS:
            parser.add_argument(f"--{field.name}", **OPTIONS[field.name])
    return parser.parse_args(arguments)


def configured(module: ModuleType, options: argparse.Namespace) -> Any:
    """The configuration that the command line asks for."""
    given = {name: getattr(options, name, None) for name in OPTIONS}
    changes = {name: value for name, value in given.items() if value is not None}
    if "sets" in changes:
        changes["sets"] = tuple(changes["sets"])
    return replace(module.Config.quick() if options.quick else module.Config(), **changes)


def obtain(module: ModuleType, options: argparse.Namespace, out: Path | None) -> dict[str, Any]:
    """Run; figures of sets that are stored apart are stored as soon as a set is done."""
    config, key = configured(module, options), getattr(module, "PARTS", None)
    if key is None:
        results = plain(module.run(config))
        save(module, results, out)
    else:
        results = {key: {}}
        for name in config.sets:
            part = plain(module.run(replace(config, sets=(name,))))
            save(module, part, out)
            results[key] |= part[key]
    return results if out is None else stored(module, out)


def plain(results: dict[str, Any]) -> dict[str, Any]:
    """Results as they come back from JSON."""
    return json.loads(json.dumps(results, allow_nan=False))


def save(module: ModuleType, results: dict[str, Any], out: Path | None) -> None:
    """Write the figures, if anywhere."""
    if out is not None:
        key = getattr(module, "PARTS", None)
        files = {"results": results}
        if key is not None:
            files = {f"results-{name}": part for name, part in results[key].items()}
        for name, content in files.items():
            write_json(out / f"{name}.json", content)


def stored(module: ModuleType, folder: Path | None = None) -> dict[str, Any]:
    """The stored figures of an experiment; of all sets that have some, where they stand apart.

    Raises
    ------
    DataError
        If there are none.
    """
    folder = folder or Path(str(module.__file__)).resolve().parent
    key = getattr(module, "PARTS", None)
    files = sorted(folder.glob("results.json" if key is None else "results-*.json"))
    if not files:
        raise DataError(f"No figures are stored in {folder}: run the experiment first.")
    if key is None:
        return read_json(files[0])
    return {key: {path.stem.partition("-")[2]: read_json(path) for path in files}}


def publish(module: ModuleType, results: dict[str, Any], out: Path) -> None:
    """Write the tables and the figure, and what the READMEs say where it is their folder."""
    write_text(out / "results.md", module.report(results))
    draw(module, results, out / "figure.png")
    if out.resolve().parent == ROOT:
        rewrite(out / "README.md", "found", module.found(results))
        rewrite(README, "index", index())


def draw(module: ModuleType, results: dict[str, Any], path: Path) -> None:
    """Save the figure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = module.draw(results)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def index() -> str:
    """A row an experiment: its claim, what is stored, how long it takes."""
    rows = [[f"[{name}]({name}/README.md)", *row(load(name))] for name in names()]
    return markdown_table(["experiment", "claim", "figures stored", "time"], rows)


def row(module: ModuleType) -> list[str]:
    """An experiment's cells in the index."""
    try:
        figures = module.found(stored(module))
    except DataError:
        figures = "not run yet"
    return [claim(module), figures, module.TIME]


def rewrite(path: Path, name: str, content: str) -> None:
    """Put content between the comments ``<!-- name -->`` and ``<!-- /name -->`` of a page."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    page, n_places = re.subn(
        pattern,
        lambda match: f"{match[1]}{content.strip()}\n{match[2]}",
        path.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    if n_places != 1:
        raise ValueError(f"{path} must hold <!-- {name} --> and <!-- /{name} --> once.")
    write_text(path, page)


def written(path: Path, name: str) -> str:
    """What stands between the comments."""
    page = path.read_text(encoding="utf-8")
    return page.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0].strip()
