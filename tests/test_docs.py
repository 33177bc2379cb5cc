"""The guides' examples run, and print what they say."""

import doctest
import re
from pathlib import Path

import pytest

GUIDES = sorted((Path(__file__).parents[1] / "docs" / "howto").glob("*.md"))


class FencedParser(doctest.DocTestParser):
    """Examples in Markdown: a closing fence ends the expected output, as a blank line does."""

    def parse(self, string, name="<string>"):
        return super().parse(re.sub(r"^```.*$", "", string, flags=re.MULTILINE), name)


def test_there_are_guides():
    assert "add_a_likelihood.md" in [path.name for path in GUIDES]


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_examples(path):
    failed, attempted = doctest.testfile(
        str(path), module_relative=False, encoding="utf-8", parser=FencedParser()
    )
    assert attempted > 0
    assert failed == 0
