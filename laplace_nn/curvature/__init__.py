"""Which matrix: curvatures of the data term, at unit noise precision and without a prior."""

from laplace_nn.curvature.base import Curvature, PositivePart
from laplace_nn.curvature.exact import ExactHessian
from laplace_nn.curvature.ggn import GGN

__all__ = ["GGN", "Curvature", "ExactHessian", "PositivePart"]
