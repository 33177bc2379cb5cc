"""How the regularised inverse is held: Gaussian posteriors over the weights."""

from laplace_nn.posterior.base import GaussianPosterior
from laplace_nn.posterior.dense import DensePosterior
from laplace_nn.posterior.kernel import KernelPosterior

__all__ = ["DensePosterior", "GaussianPosterior", "KernelPosterior"]
