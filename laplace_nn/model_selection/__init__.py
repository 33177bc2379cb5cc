"""Choosing between networks by the evidence of the training rows, without cross-validation."""

from laplace_nn.model_selection.comparison import Comparison, compare
from laplace_nn.model_selection.search import EvidenceSearch

__all__ = ["Comparison", "EvidenceSearch", "compare"]
