"""A = scale·H + Λ in factored form, held in weight space or in function space.

Both are whitened by the prior, A = Λ^½ (I + B) Λ^½, so that precisions of very different size
(a pruned group beside a free one) cost no digits. With FᵀF = H, Woodbury's identity and the
matrix determinant lemma give the same numbers from the N·R x N·R Gram matrix F Λ⁻¹ Fᵀ.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular

from laplace_nn.linalg import (
    cholesky,
    half_solve,
    inverse_from_factor,
    invert_factor,
    solve_from_factor,
)
from laplace_nn.network import LayerwiseJacobian
from laplace_nn.priors import GaussianPrior
from laplace_nn.rows import DEFAULT_MEMORY_BUDGET

__all__ = ["FunctionSpace", "Regularised", "WeightSpace"]

ROUNDING = 1e-12  # of a shrinkage, whose size is 1


@dataclass(frozen=True)
class WeightSpace:
    """A = scale·H + Λ by the Cholesky factor of its whitened P x P form.

    L Lᵀ = I + scale·Λ^-½ H Λ^-½ (PRML 5.166 and its inverse, for any diagonal Λ).

    Parameters
    ----------
    hessian : ndarray of shape (P, P)
        H, symmetric.
    prior : GaussianPrior
        Λ.
    scale : float
        Noise precision, or 1.
    """

    hessian: np.ndarray
    prior: GaussianPrior
    scale: float

    def with_hyperparameters(self, prior: GaussianPrior, scale: float) -> "WeightSpace":
        """Other hyperparameters, H as it is."""
        return replace(self, prior=prior, scale=scale)

    @cached_property
    def factor(self) -> np.ndarray:
        """L, lower triangular (P, P)."""
        root = 1.0 / np.sqrt(self.prior.precision)
        whitened = self.hessian * (self.scale * root[:, None])
        whitened *= root
        whitened.flat[:: len(root) + 1] += 1.0
        try:
            return cholesky(whitened, "The precision A = scale*H + Lambda")
        except np.linalg.LinAlgError:
            return cholesky(
                whitened, "The precision A = scale*H + Lambda", refused=self.precision()
            )

    def precision(self) -> np.ndarray:
        """A, (P, P)."""
        A = self.scale * self.hessian
        A.flat[:: len(A) + 1] += self.prior.precision
        return A

    def squared_lengths(self, D: np.ndarray) -> np.ndarray:
        """dᵀA d of every row d of D (S, P), (S,)."""
        data = np.einsum("sp,sp->s", D @ self.hessian, D)
        return self.scale * data + (D * D) @ self.prior.precision

    @cached_property
    def logdet(self) -> float:
        """ln det A."""
        whitened = 2.0 * np.sum(np.log(np.diag(self.factor)))
        return float(np.sum(np.log(self.prior.precision)) + whitened)

    def half_solve(self, V: np.ndarray) -> np.ndarray:
        """L⁻¹ Λ^-½ V for V (P, S), so that VᵀA⁻¹V is its square."""
        root = 1.0 / np.sqrt(self.prior.precision)
        return half_solve(self.factor, root[:, None] * V)

    def solve(self, V: np.ndarray) -> np.ndarray:
        """A⁻¹ V for V (P,) or (P, S)."""
        root = (1.0 / np.sqrt(self.prior.precision)).reshape(-1, *[1] * (V.ndim - 1))
        return root * solve_from_factor(self.factor, root * V)

    @cached_property
    def shrinkage(self) -> np.ndarray:
        """λ_i (A⁻¹)_ii of every weight, (P,): between 0 (data) and 1 (prior) where H ≥ 0."""
        inverse = invert_factor(self.factor)
        return np.einsum("ij,ij->j", inverse, inverse)

    def n_effective_params(self) -> np.ndarray:
        """γ_g = n_g - α_g tr_g A⁻¹ = Σ_{i∈g} (1 - λ_i (A⁻¹)_ii), (G,)."""
        prior = self.prior
        # Where H ≥ 0 these lie in [0, 1]; rounding may leave what the data do not speak of below.
        determined = 1.0 - self.shrinkage
        determined[(determined < 0.0) & (determined > -ROUNDING)] = 0.0
        return np.bincount(prior.groups, weights=determined, minlength=prior.n_groups)


@dataclass(frozen=True)
class FunctionSpace:
    """A = scale·FᵀF + Λ by the Cholesky factor of its N·R x N·R form.

    L Lᵀ = I + scale·F Λ⁻¹ Fᵀ; A⁻¹ = Λ⁻¹ - scale·Λ⁻¹Fᵀ (L Lᵀ)⁻¹ F Λ⁻¹.

    Parameters
    ----------
    jacobian : LayerwiseJacobian
        F, (N, R, P).
    prior : GaussianPrior
        Λ.
    scale : float
        Noise precision, or 1.
    """

    jacobian: LayerwiseJacobian
    prior: GaussianPrior
    scale: float

    def with_hyperparameters(self, prior: GaussianPrior, scale: float) -> "FunctionSpace":
        """Other hyperparameters, F as it is."""
        return replace(self, prior=prior, scale=scale)

    @cached_property
    def factor(self) -> np.ndarray:
        """L, lower triangular (N·R, N·R)."""
        kernel = self.scale * self.jacobian.gram(1.0 / self.prior.precision)
        kernel.flat[:: len(kernel) + 1] += 1.0
        return cholesky(kernel, "The function-space precision I + scale*F Lambda^-1 F^T")

    def precision(self) -> np.ndarray:
        """A, (P, P): what this form is there to avoid, for few weights."""
        return self.in_weight_space().precision()

    def in_weight_space(self) -> WeightSpace:
        """The same A with H = FᵀF formed, (P, P), a block of rows at a time."""
        n_rows, n_functionals, n_params = self.jacobian.shape
        H = np.zeros((n_params, n_params))
        size = max(1, DEFAULT_MEMORY_BUDGET // (8 * n_functionals * n_params))
        for start in range(0, n_rows, size):
            block = self.jacobian[start : start + size].dense().reshape(-1, n_params)
            H += block.T @ block
        return WeightSpace(H, self.prior, self.scale)

    def squared_lengths(self, D: np.ndarray) -> np.ndarray:
        """dᵀA d of every row d of D (S, P), (S,)."""
        moved = self.jacobian.matvec(D)  # F d, (S, N, R)
        return self.scale * np.einsum("snr,snr->s", moved, moved) + (D * D) @ self.prior.precision

    @cached_property
    def logdet(self) -> float:
        """ln det A, by the matrix determinant lemma."""
        inner = 2.0 * np.sum(np.log(np.diag(self.factor)))
        return float(np.sum(np.log(self.prior.precision)) + inner)

    def solve(self, V: np.ndarray) -> np.ndarray:
        """A⁻¹ V for V (P,) or (P, S)."""
        precision = self.prior.precision
        prior_part = V.T / precision  # (S, P)
        inner = self.jacobian.matvec(prior_part)  # (S, N, R)
        flat = inner.reshape(*inner.shape[:-2], -1).T
        solved = solve_from_factor(self.factor, flat).T
        back = self.jacobian.rmatvec(solved.reshape(inner.shape))
        return (prior_part - self.scale * back / precision).T

    def half_solve_gram(self, cross: np.ndarray) -> np.ndarray:
        """√scale·L⁻¹ cross for cross (N·R, S)."""
        return np.sqrt(self.scale) * solve_triangular(
            self.factor, cross, lower=True, check_finite=False
        )

    def n_effective_params(self) -> np.ndarray:
        """γ_g = tr[(I + scale·F Λ⁻¹ Fᵀ)⁻¹ scale·F_g F_gᵀ / α_g], (G,)."""
        inverse = inverse_from_factor(self.factor)
        prior = self.prior
        overlaps = self.jacobian.overlaps(inverse, prior.groups, prior.n_groups)
        return self.scale * overlaps / prior.precisions


Regularised = WeightSpace | FunctionSpace
