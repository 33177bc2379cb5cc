"""``laplace-nn compare``: networks of several sizes ranked by what the training rows say."""

import argparse
from pathlib import Path
from typing import Any

from laplace_nn.cli.output import CommandError, staged, warnings_heard
from laplace_nn.cli.table_rows import Table, add_options, estimator_for, fitting, hidden, read
from laplace_nn.model_selection import Comparison, compare

__all__ = ["add_command"]

SIZES = ((), (2,), (5,), (10,), (20,), (50,))


def add_command(commands: Any) -> None:
    """Tell the program of this command."""
    parser = commands.add_parser("compare", help="rank networks of several sizes on a table")
    add_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results go")
    parser.add_argument(
        "--hidden",
        type=hidden,
        nargs="+",
        default=SIZES,
        metavar="50,50",
        help="units a layer of each network; 0 for none (default: 0 2 5 10 20 50)",
    )
    parser.add_argument("--criterion", choices=("evidence", "loo"), default="evidence")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    names = [_name(sizes) for sizes in arguments.hidden]
    for name in names:
        if names.count(name) > 1:
            raise CommandError(f"--hidden names {name} units twice; each network is fitted once")
    with staged(arguments.out) as scratch:
        with warnings_heard():
            table = read(arguments)
            comparison = _compared(table, arguments)
        comparison.table().to_csv(scratch / "comparison.csv", index=False)
        display = comparison.plot()
        display.figure_.savefig(scratch / "evidence.png", dpi=150)
        written = sorted(path.name for path in scratch.iterdir())
    print(comparison)
    print(f"best by {arguments.criterion}: {comparison.names[0]}")
    for name in written:
        print(f"written: {arguments.out / name}")


def _compared(table: Table, arguments: argparse.Namespace) -> Comparison:
    models = {
        _name(sizes): estimator_for(table.task, sizes, arguments.random_state)
        for sizes in arguments.hidden
    }
    held_out = {} if table.test is None else {"X_test": table.test.X, "y_test": table.test.y}
    with fitting():
        return compare(
            models, table.train.X, table.train.y, criterion=arguments.criterion, **held_out
        )


def _name(sizes: tuple[int, ...]) -> str:
    return ",".join(map(str, sizes)) or "0"
