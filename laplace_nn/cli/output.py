"""What a command leaves behind: whole files or none, and one line for what went wrong.

Results are written beside their place and renamed, so that nothing is ever half-written.
"""

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PROGRAM", "CommandError", "one_line", "staged", "warnings_heard", "write_whole"]

PROGRAM = "laplace-nn"


class CommandError(Exception):
    """What the user can mend, in one line."""


def one_line(message: object) -> str:
    """A message without line breaks."""
    return " ".join(str(message).split())


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A scratch directory that becomes ``out`` at the end, or whose files move into it."""
    if out.exists() and not out.is_dir():
        raise CommandError(f"--out must name a directory, and {out} is a file")
    home = out if out.is_dir() else next(p for p in out.absolute().parents if p.exists())
    scratch = home / f".{out.name}-{os.getpid()}.part"
    try:
        scratch.mkdir()
    except OSError as error:
        raise CommandError(f"cannot write to {home}: {error.strerror}") from error
    try:
        yield scratch
        if out.is_dir():
            for path in sorted(scratch.iterdir()):
                os.replace(path, out / path.name)
        else:
            out.absolute().parent.mkdir(parents=True, exist_ok=True)
            os.replace(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place and move it there."""
    scratch = path.with_name(f".{path.name}-{os.getpid()}.part")
    try:
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise CommandError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def warnings_heard() -> Iterator[list[str]]:
    """The warnings of a block as lines, each once; shown on stderr if the block succeeds."""
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("ignore")
        for category in (UserWarning, RuntimeWarning):
            warnings.simplefilter("always", category)
        yield lines
    for item in heard:
        line = f"{item.category.__name__}: {one_line(item.message)}"
        if line not in lines:
            lines.append(line)
            print(f"{PROGRAM}: warning: {line}", file=sys.stderr)
