"""From weights to outputs: the linearised network under the posterior."""

import numpy as np

from laplace_nn.network import MLP, jacobian
from laplace_nn.posterior import GaussianPosterior
from laplace_nn.rows import RowBlocks

__all__ = ["linearised", "linearised_joint"]


def linearised(
    mlp: MLP, posterior: GaussianPosterior, rows: RowBlocks
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian over each row's outputs under the linearised network.

    f(x) ~ N(f(x, w_MAP), J A⁻¹ Jᵀ) (PRML 5.169-5.173).

    Parameters
    ----------
    mlp : MLP
        The network.
    posterior : GaussianPosterior
        Over its weights.
    rows : RowBlocks
        Inputs; targets are not looked at.

    Returns
    -------
    mean : ndarray of shape (n, K)
        Outputs at the MAP weights.
    covariance : ndarray of shape (n, K, K)
        Of each row's outputs; noise is not included.
    """
    means, covariances = [], []

    def term(block: RowBlocks) -> tuple[np.ndarray, np.ndarray]:
        tape = mlp.forward(posterior.theta_map, block.X)
        J = jacobian(mlp, posterior.theta_map, tape)
        return tape.outputs, posterior.functional_covariance(J)

    row_bytes = 8 * sum(mlp.layer_sizes) * (2 + mlp.n_outputs)
    for mean, covariance in rows.map(term, row_bytes):
        means.append(mean)
        covariances.append(covariance)
    return np.concatenate(means), np.concatenate(covariances)


def linearised_joint(
    mlp: MLP, posterior: GaussianPosterior, X: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n, K) and joint covariance (n, K, n, K) of all rows' outputs.

    J A⁻¹ Jᵀ with the rows of J stacked (PRML 5.173 for several inputs at once).
    """
    tape = mlp.forward(posterior.theta_map, X)
    J = jacobian(mlp, posterior.theta_map, tape)
    n_rows, n_outputs = tape.outputs.shape
    joint = posterior.functional_covariance(J, joint=True)
    return tape.outputs, joint.reshape(n_rows, n_outputs, n_rows, n_outputs)
