"""What every curvature is: a symmetric linear operator that sums a term over blocks of rows."""

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from scipy.sparse.linalg import LinearOperator

from laplace_nn.likelihoods import Likelihood
from laplace_nn.network import MLP, LayerwiseJacobian, Tape
from laplace_nn.rows import RowBlocks

__all__ = ["Curvature", "MissingCapabilityError", "PositivePart", "require"]


#: Who offers what, for the sentence of `require`.
OFFERED_BY = {
    "dense": "ExactHessian",
    "diagonal": "GGN",
    "factor": "GGN or EmpiricalFisher",
    "kronecker": "KFAC",
}


class MissingCapabilityError(TypeError):
    """A posterior was given a curvature that cannot do what it needs."""


@dataclass(frozen=True)
class OutputDerivatives:
    """A forward pass with the likelihood's weighted derivatives at its outputs."""

    tape: Tape
    gradient: np.ndarray  # ∂E_n/∂a_L, (N, K)
    hessian: np.ndarray  # M_n = ∂²E_n/∂a_L², (N, K, K)


def output_derivatives(
    mlp: MLP, theta: np.ndarray, likelihood: Likelihood, rows: RowBlocks
) -> OutputDerivatives:
    """Forward pass, signals and output Hessians of the rows, sample weights included."""
    tape = mlp.forward(theta, rows.X)
    y, f = rows.targets, tape.outputs
    return OutputDerivatives(
        tape, rows.weigh(likelihood.gradient(y, f)), rows.weigh(likelihood.hessian(y, f))
    )


class Curvature(LinearOperator):
    """Second derivatives of the data term, at unit noise precision and without a prior.

    H = Σ_n w_n H_n. A ``scipy.sparse.linalg.LinearOperator``, so that SciPy's solvers take it as
    it is.

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (P,)
        Where the derivatives are taken.
    likelihood : Likelihood
        Its ``scale`` (noise precision) is left out of H.
    rows : RowBlocks
        Inputs, targets and sample weights.
    """

    #: What posteriors may ask for: "dense", "diagonal", "factor", "kronecker".
    capabilities: frozenset[str] = frozenset({"dense", "diagonal"})
    #: Whether H ≥ 0 by construction.
    semidefinite = False

    def __init__(
        self, mlp: MLP, theta: np.ndarray, likelihood: Likelihood, rows: RowBlocks
    ) -> None:
        super().__init__(np.dtype(np.float64), (mlp.n_params, mlp.n_params))
        self.mlp = mlp
        self.theta = theta
        self.likelihood = likelihood
        self.rows = rows

    def dense(self) -> np.ndarray:
        """H, (P, P)."""
        return self.rows.sum(self._dense_block, row_bytes=self._dense_row_bytes)

    def diagonal(self) -> np.ndarray:
        """diag H, (P,)."""
        return self.rows.sum(self._diagonal_block, row_bytes=self._pass_row_bytes)

    def products(self, v: np.ndarray) -> np.ndarray:
        """H v for directions v (..., P), one derivative pass for all of them."""
        n_directions = max(1, int(np.prod(v.shape[:-1])))
        term = partial(self._products_block, v=v)
        return self.rows.sum(term, row_bytes=self._pass_row_bytes * n_directions)

    # A block's term of each sum; for members that make one of the verbs another way, of no use.
    def _dense_block(self, block: RowBlocks) -> np.ndarray:
        raise NotImplementedError

    def _diagonal_block(self, block: RowBlocks) -> np.ndarray:
        raise NotImplementedError

    def _products_block(self, block: RowBlocks, v: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    @property
    def _pass_row_bytes(self) -> int:
        sizes = self.mlp.layer_sizes
        return 8 * sum(sizes) * max(2, sizes[-1])

    @property
    def _dense_row_bytes(self) -> int:
        """A row's share of the layer pairs' outer products."""
        widest = max(n_out * n_out + (n_in + 1) ** 2 for n_out, n_in in self.mlp.layer_shapes)
        return self._pass_row_bytes + 8 * widest

    def _derivatives(self, block: RowBlocks) -> OutputDerivatives:
        """A block's output derivatives; those of a single block are computed once."""
        if block is self.rows:
            return self._whole
        return output_derivatives(self.mlp, self.theta, self.likelihood, block)

    @cached_property
    def _whole(self) -> OutputDerivatives:
        return output_derivatives(self.mlp, self.theta, self.likelihood, self.rows)

    # scipy.sparse.linalg.LinearOperator's own hooks.
    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self.products(np.ravel(x))

    def _matmat(self, X: np.ndarray) -> np.ndarray:
        return self.products(np.ascontiguousarray(X.T)).T

    def _adjoint(self) -> "Curvature":
        return self


class PositivePart(LinearOperator):
    """A curvature with its negative eigenvalues replaced by zero, in the open.

    H₊ = Σ_i max(λ_i, 0) u_i u_iᵀ, the nearest positive semidefinite matrix in Frobenius norm.

    Parameters
    ----------
    curvature : Curvature
        Any curvature that can be made dense.

    Attributes
    ----------
    n_dropped_ : int
        How many eigenvalues were negative beyond rounding (-1e-12 of the largest).
    smallest_eigenvalue_ : float
        The smallest eigenvalue of the curvature itself.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import ExactHessian, PositivePart
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.rows import RowBlocks
    >>> mlp, rng = MLP((1, 2, 1)), np.random.default_rng(0)
    >>> rows = RowBlocks(rng.normal(size=(9, 1)), 3 * rng.normal(size=(9, 1)))
    >>> H = PositivePart(ExactHessian(mlp, mlp.initialise(rng), Gaussian(), rows))
    >>> bool(np.linalg.eigvalsh(H.dense())[0] > -1e-12)
    True
    """

    capabilities: frozenset[str] = frozenset({"dense", "diagonal"})
    semidefinite = True

    def __init__(self, curvature: Curvature) -> None:
        super().__init__(np.dtype(np.float64), curvature.shape)
        self.curvature, self.mlp = curvature, curvature.mlp
        require(curvature, {"dense"}, "PositivePart")
        eigenvalues, vectors = np.linalg.eigh(curvature.dense())
        self.smallest_eigenvalue_ = float(eigenvalues[0])
        floor = -1e-12 * max(abs(eigenvalues[0]), abs(eigenvalues[-1]))
        self.n_dropped_ = int(np.sum(eigenvalues < floor))
        kept = eigenvalues > 0
        self._root = vectors[:, kept] * np.sqrt(eigenvalues[kept])  # (P, rank)

    def dense(self) -> np.ndarray:
        """H₊, (P, P)."""
        return self._root @ self._root.T

    def diagonal(self) -> np.ndarray:
        """diag H₊, (P,)."""
        return np.einsum("pr,pr->p", self._root, self._root)

    def _matmat(self, X: np.ndarray) -> np.ndarray:
        return self._root @ (self._root.T @ X)

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._matmat(x)

    def _adjoint(self) -> "PositivePart":
        return self


def require(curvature: object, needed: Set[str], consumer: str) -> None:
    """Check that a curvature, or a class of them, can do what is needed of it.

    Raises
    ------
    MissingCapabilityError
        One sentence with what is missing and two pairs that would work.
    """
    offered = set(getattr(curvature, "capabilities", ()))
    missing = sorted(needed - offered)
    if missing:
        kind = curvature if isinstance(curvature, type) else type(curvature)
        remedy = f"{consumer} with {OFFERED_BY[missing[0]]}"
        other = f"DensePosterior with {kind.__name__ if 'dense' in offered else 'GGN'}"
        raise MissingCapabilityError(
            f"{consumer} needs {' and '.join(missing)} of its curvature, which {kind.__name__} "
            f"does not offer; use {remedy}, or {other}."
        )


def weighted_factor(likelihood: Likelihood, rows: RowBlocks, outputs: np.ndarray) -> np.ndarray:
    """Roots of the weighted output Hessians, (N, R, K): √w_n R_n with R_nᵀ R_n = M_n."""
    root = likelihood.root(rows.targets, outputs)
    if rows.sample_weight is None:
        return root
    return root * np.sqrt(rows.sample_weight)[:, None, None]


def stack_jacobians(parts: list[LayerwiseJacobian]) -> LayerwiseJacobian:
    """Layerwise Jacobians of consecutive blocks as one."""
    if len(parts) == 1:
        return parts[0]
    return LayerwiseJacobian(
        parts[0].mlp,
        tuple(np.concatenate(S) for S in zip(*(p.signals for p in parts), strict=True)),
        tuple(np.concatenate(z) for z in zip(*(p.activations for p in parts), strict=True)),
    )
