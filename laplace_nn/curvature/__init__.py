"""Which matrix: curvatures of the data term, at unit noise precision and without a prior."""

from laplace_nn.curvature.anchored import Anchor, Anchored
from laplace_nn.curvature.backprop_diagonal import BackpropDiagonal
from laplace_nn.curvature.base import Curvature, PositivePart
from laplace_nn.curvature.empirical_fisher import EmpiricalFisher
from laplace_nn.curvature.exact import ExactHessian
from laplace_nn.curvature.finite_difference import FiniteDifferences
from laplace_nn.curvature.ggn import GGN
from laplace_nn.curvature.kfac import KFAC
from laplace_nn.curvature.residual import ResidualTerm
from laplace_nn.curvature.subset import Subset

__all__ = [
    "GGN",
    "KFAC",
    "Anchor",
    "Anchored",
    "BackpropDiagonal",
    "Curvature",
    "EmpiricalFisher",
    "ExactHessian",
    "FiniteDifferences",
    "PositivePart",
    "ResidualTerm",
    "Subset",
]
