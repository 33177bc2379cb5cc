"""Importing the package stays cheap."""

import subprocess
import sys

import pytest

PROGRAM = "import sys, laplace_nn; print(*sys.modules)"


@pytest.fixture(scope="module")
def loaded():
    """What a fresh interpreter holds after the import."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("library", ["matplotlib", "arviz", "xarray"])
def test_leaves_what_only_displays_need_alone(library, loaded):
    assert "laplace_nn" in loaded
    assert library not in loaded
