"""``laplace-nn demo``: the package at work on three small problems."""

import argparse
import time
from pathlib import Path
from typing import Any

from laplace_nn.cli.output import staged, warnings_heard

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Tell the program of this command."""
    demo = commands.add_parser("demo", help="show the package at work on three small problems")
    demo.add_argument("--out", type=Path, default=Path("laplace_nn_demo"), metavar="DIR")
    demo.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from laplace_nn import demo

    start = time.perf_counter()
    with staged(arguments.out) as scratch, warnings_heard():
        result = demo.run(scratch)
    print(result.table)
    for name in result.files:
        print(f"written: {arguments.out / name}")
    print(f"total time: {time.perf_counter() - start:.1f} s")
