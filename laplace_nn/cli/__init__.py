"""The console script: the demo, and fitting, comparing and predicting with a user's table."""

from laplace_nn.cli.app import main

__all__ = ["main"]
