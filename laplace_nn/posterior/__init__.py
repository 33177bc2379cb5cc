"""How the regularised inverse is held: Gaussian posteriors over the weights."""

from laplace_nn.posterior.base import GaussianPosterior
from laplace_nn.posterior.dense import DensePosterior
from laplace_nn.posterior.diagonal import DiagonalPosterior
from laplace_nn.posterior.handing_on import as_prior
from laplace_nn.posterior.kernel import KernelPosterior
from laplace_nn.posterior.kronecker import KroneckerPosterior
from laplace_nn.posterior.lowrank import LowRankPosterior
from laplace_nn.posterior.sequential import SequentialPosterior
from laplace_nn.posterior.subset import SubsetPosterior, last_layer

__all__ = [
    "DensePosterior",
    "DiagonalPosterior",
    "GaussianPosterior",
    "KernelPosterior",
    "KroneckerPosterior",
    "LowRankPosterior",
    "SequentialPosterior",
    "SubsetPosterior",
    "as_prior",
    "last_layer",
]
