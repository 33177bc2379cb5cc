"""Pictures of what a fit knows, in scikit-learn's Display convention."""

from laplace_nn.displays.band import PredictiveBandDisplay

__all__ = ["PredictiveBandDisplay"]
