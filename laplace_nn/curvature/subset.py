"""The rows and columns of a curvature that belong to some of the weights."""

import numpy as np
from scipy.sparse.linalg import LinearOperator

from laplace_nn.curvature.base import Curvature, PositivePart

__all__ = ["Subset"]

DIRECTIONS = 64  # products made at a time


class Subset(LinearOperator):
    """H_ss, the curvature over selected weights, the others held where they are.

    Made of products with unit vectors, Q of them, so that the P x P matrix is never formed: the
    last layer of a million weights costs as many passes as it has weights.

    Parameters
    ----------
    curvature : Curvature or PositivePart
        H.
    selected : ndarray of shape (P,) of bool, or (Q,) of int
        A mask of the weights, or their indices in the order of ``theta``.

    Raises
    ------
    ValueError
        If the mask has the wrong length, an index is out of range or twice there, or none is.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN, Subset
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.rows import RowBlocks
    >>> rows = RowBlocks(np.array([[1.0], [2.0]]), np.zeros((2, 1)))
    >>> Subset(GGN(MLP((1, 1)), np.zeros(2), Gaussian(), rows), [1]).dense()
    array([[2.]])
    """

    capabilities: frozenset[str] = frozenset({"dense", "diagonal"})

    def __init__(self, curvature: Curvature | PositivePart, selected: np.ndarray) -> None:
        self.curvature = curvature
        self.selected = _indices(np.asarray(selected), curvature.shape[0])
        self.semidefinite = curvature.semidefinite
        super().__init__(np.dtype(np.float64), (len(self.selected),) * 2)

    def dense(self) -> np.ndarray:
        """H_ss, (Q, Q)."""
        size = len(self.selected)
        H = np.empty((size, size))
        for start in range(0, size, DIRECTIONS):
            units = np.eye(size)[:, start : start + DIRECTIONS]
            H[:, start : start + DIRECTIONS] = self._matmat(units)
        return 0.5 * (H + H.T)

    def diagonal(self) -> np.ndarray:
        """diag H_ss, (Q,)."""
        return self.curvature.diagonal()[self.selected]

    def _matmat(self, X: np.ndarray) -> np.ndarray:
        full = np.zeros((self.curvature.shape[0], X.shape[1]))
        full[self.selected] = X
        return (self.curvature @ full)[self.selected]

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._matmat(x.reshape(-1, 1))[:, 0]

    def _adjoint(self) -> "Subset":
        return self


def _indices(selected: np.ndarray, n_params: int) -> np.ndarray:
    """Sorted indices of a mask or of indices."""
    if selected.dtype == bool:
        if selected.shape != (n_params,):
            raise ValueError(
                f"Subset.selected must mask each of the {n_params} weights; got shape "
                f"{selected.shape}."
            )
        selected = np.flatnonzero(selected)
    indices = np.unique(selected)
    fits = indices.dtype.kind in "iu" and len(indices) == selected.size > 0
    if not (fits and indices[0] >= 0 and indices[-1] < n_params):
        raise ValueError(
            f"Subset.selected must hold at least one index of the {n_params} weights, none twice; "
            f"got {selected.tolist()}."
        )
    return indices
