"""``laplace-nn predict``: a table's rows with a fitted model."""

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from laplace_nn.cli.output import PROGRAM, CommandError, warnings_heard, write_whole
from laplace_nn.tables import TableModel, read_table

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Tell the program of this command."""
    predict = commands.add_parser("predict", help="predict a table's rows with a fitted model")
    predict.add_argument("model", type=Path, metavar="MODEL", help="model.joblib of a fit")
    predict.add_argument("data", type=Path, metavar="DATA.csv")
    predict.add_argument("--out", type=Path, metavar="FILE", help="a CSV file (default: stdout)")
    predict.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.out is not None and arguments.out.is_dir():
        raise CommandError(f"--out must name a file, and {arguments.out} is a directory")
    model = _load(arguments.model)
    frame = read_table(arguments.data)
    with warnings_heard():
        table = model.predict(frame)
    table.insert(0, "row", np.arange(1, len(table) + 1))
    text = table.to_csv(index=False)
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        write_whole(arguments.out, text)
        print(f"written: {arguments.out}")


def _load(path: Path) -> TableModel:
    import joblib

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = joblib.load(path)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a file of another kind makes the unpickler say anything
        raise CommandError(f"{path} is no model of {PROGRAM}: {type(error).__name__}") from error
    if not isinstance(model, TableModel):
        raise CommandError(f"{path} is no model of {PROGRAM}: it holds {type(model).__name__}")
    return model
