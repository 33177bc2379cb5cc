"""Fitted estimators as ArviZ's data, and leave-one-out of an approximate posterior."""

from laplace_nn.inference_data.export import CovarianceLeftOutWarning, to_inference_data
from laplace_nn.inference_data.loo import loo

__all__ = ["CovarianceLeftOutWarning", "loo", "to_inference_data"]
