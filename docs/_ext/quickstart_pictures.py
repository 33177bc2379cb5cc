"""Draws docs/images/first_picture.png and held_out.png by running the code of quickstart.md."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import matplotlib

DOCS = Path(__file__).parents[1]
PICTURES = ("first_picture.png", "held_out.png")


def main() -> None:
    """Run the page's Python blocks in a scratch directory and keep the pictures they save."""
    matplotlib.use("Agg")
    page = (DOCS / "quickstart.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        exec("".join(blocks), {"__name__": "__main__"})
        for name in PICTURES:
            shutil.copy(name, DOCS / "images" / name)
        os.chdir(DOCS)


if __name__ == "__main__":
    main()
