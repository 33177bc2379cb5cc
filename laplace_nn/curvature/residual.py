"""What the outer products leave out of the Hessian."""

import numpy as np

from laplace_nn.curvature.base import OutputDerivatives
from laplace_nn.curvature.exact import ExactHessian
from laplace_nn.rows import RowBlocks

__all__ = ["ResidualTerm"]


class ResidualTerm(ExactHessian):
    """The second term of the exact Hessian, Σ_n Σ_k (∂E_n/∂a_k) ∇∇a_k.

    For a Gaussian likelihood Σ (y - t) ∇∇y (PRML 5.83); `ExactHessian` is the outer products plus
    this. It vanishes where the residuals do, and on average where the outputs are the regression
    function, since the residual is then uncorrelated with ∇∇a (PRML 5.4.2): its size beside the
    outer products says whether they may be trusted.

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (P,)
        Where the derivatives are taken.
    likelihood : Likelihood
        Its ``scale`` (noise precision) is left out.
    rows : RowBlocks
        Inputs, targets and sample weights.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import ResidualTerm
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.rows import RowBlocks
    >>> mlp, rng = MLP((1, 2, 1)), np.random.default_rng(0)
    >>> theta, X = mlp.initialise(rng), rng.normal(size=(5, 1))
    >>> fitted = RowBlocks(X, mlp.forward(theta, X).outputs)
    >>> bool(np.abs(ResidualTerm(mlp, theta, Gaussian(), fitted).dense()).max() < 1e-12)
    True
    """

    def _derivatives(self, block: RowBlocks) -> OutputDerivatives:
        """The exact Hessian's recursion from M = 0."""
        at = super()._derivatives(block)
        return OutputDerivatives(at.tape, at.gradient, np.zeros_like(at.hessian))
