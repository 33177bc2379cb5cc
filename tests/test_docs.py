"""What the pages say runs, and prints what they say: the README, and docs/ with all its folders.

The blocks of a page run one after another in a directory of their own: Python, as a script or as a
doctest, and in shell blocks the lines that call ``laplace-nn``.
"""

import doctest
import re
import shlex
from pathlib import Path

import pytest

from laplace_nn.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BUILT = {"auto_gallery", "generated", "_build"}
WRITTEN = [path for path in sorted(DOCS.rglob("*.md")) if not BUILT & set(path.parts)]
PAGES = [ROOT / "README.md", *WRITTEN]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def blocks(path):
    """Language and text of a page's fenced blocks."""
    return FENCE.findall(path.read_text(encoding="utf-8"))


def run_shell(text, name):
    for line in text.splitlines():
        if line.startswith("laplace-nn "):
            assert main(shlex.split(line, comments=True)[1:]) == 0, f"{name}: {line}"


def run_python(text, names, name):
    if ">>> " not in text:
        exec(compile(text, name, "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(text, names, name, name, 0)
    result = doctest.DocTestRunner().run(test, clear_globs=False)
    assert result.failed == 0
    names |= test.globs


# What ArviZ 0.23 still asks of pandas 3 and of Matplotlib 3.11.
@pytest.mark.filterwarnings("ignore:The inplace keyword", "ignore:Passing a dict or None as alias")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for language, text in blocks(path):
        if language == "python":
            run_python(text, names, path.name)
        elif language == "bash":
            run_shell(text, path.name)


def test_there_are_pages_with_blocks():
    found = {path.name for path in PAGES if any(kind == "python" for kind, _ in blocks(path))}
    assert {"README.md", "quickstart.md", "add_a_likelihood.md"} <= found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(path):
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_picture_of_the_floors_is_that_of_the_sources(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_ext")
    figure = __import__("floors_figure")
    redraw = f"run {Path(figure.__file__).relative_to(ROOT)} to draw it anew"
    assert figure.FIGURE.read_text(encoding="utf-8") == figure.draw(), redraw
