"""The verbs of a Gaussian posterior over the weights."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
from scipy.linalg import solve_triangular

from laplace_nn.curvature.base import Curvature, PositivePart
from laplace_nn.curvature.regularised import FunctionSpace, Regularised, WeightSpace
from laplace_nn.linalg import cholesky
from laplace_nn.network import LayerwiseJacobian
from laplace_nn.priors import GaussianPrior
from laplace_nn.rows import DEFAULT_MEMORY_BUDGET

__all__ = ["GaussianPosterior", "RegularisedPosterior"]


class GaussianPosterior(ABC):
    """N(theta_map, A⁻¹) with A = scale·H + Λ (PRML 5.164-5.167).

    A frozen value: new hyperparameters make a new posterior, and H is not computed again.
    """

    #: What is asked of the curvature; see `laplace_nn.curvature.base.require`.
    needs: ClassVar[frozenset[str]]

    theta_map: np.ndarray

    if TYPE_CHECKING:  # a field or a property, as the posterior likes

        @property
        def prior(self) -> GaussianPrior:
            """The prior whose precision is Λ."""

        @property
        def scale(self) -> float:
            """Factor of the curvature: the noise precision β, or 1."""

    @property
    def n_free(self) -> int:
        """How many weights the Gaussian is over."""
        return len(self.theta_map)

    @property
    def log_prior(self) -> float:
        """ln p(θ_map|α) of the weights that the Gaussian is over."""
        return self.prior.log_density(self.theta_map)

    @classmethod
    @abstractmethod
    def from_curvature(
        cls,
        theta_map: np.ndarray,
        curvature: Curvature | PositivePart,
        prior: GaussianPrior,
        scale: float,
    ) -> "GaussianPosterior":
        """The posterior with mean θ_map and precision scale·H + Λ.

        Raises
        ------
        MissingCapabilityError
            If the curvature does not offer what is needed.
        """

    @property
    @abstractmethod
    def logdet_precision(self) -> float:
        """ln det A."""

    @abstractmethod
    def with_hyperparameters(self, prior: GaussianPrior, scale: float) -> "GaussianPosterior":
        """The posterior under other precisions and noise, at the same weights."""

    @abstractmethod
    def solve(self, V: np.ndarray) -> np.ndarray:
        """A⁻¹ V for V (P,) or (P, S)."""

    @abstractmethod
    def variance(self) -> np.ndarray:
        """diag A⁻¹, (P,)."""

    @abstractmethod
    def n_effective_params(self) -> np.ndarray:
        """γ_g, the number of weights of each prior group that the data determine, (G,).

        γ_g = n_g - α_g tr_g A⁻¹ (PRML 3.91 and 5.179, with groups).
        """

    @abstractmethod
    def functional_covariance(self, jacobian: LayerwiseJacobian, joint: bool = False) -> np.ndarray:
        """Covariance of linear functionals of the weights, J A⁻¹ Jᵀ (PRML 5.173).

        Parameters
        ----------
        jacobian : LayerwiseJacobian
            J, (n, K, P).
        joint : bool, default=False
            Whether the rows' covariances with each other are wanted too.

        Returns
        -------
        ndarray of shape (n, K, K), or (n·K, n·K) where joint
            In the outputs' squared units.
        """

    @abstractmethod
    def sample(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draws of the weights, (n_samples, P)."""

    def squared_lengths(self, D: np.ndarray) -> np.ndarray:
        """dᵀA d of every row d of D (S, P), (S,).

        Λ^½ A⁻¹ Λ^½ = L Lᵀ, and dᵀA d = ‖L⁻¹ Λ^½ d‖²: P³, where the form at hand gives no less.
        """
        root = np.sqrt(self.prior.precision)
        covariance = root[:, None] * self.solve(np.diag(root))
        factor = cholesky(0.5 * (covariance + covariance.T), "The whitened covariance")
        half = solve_triangular(factor, (D * root).T, lower=True, check_finite=False)
        return np.einsum("ps,ps->s", half, half)

    def log_density(self, theta: np.ndarray) -> np.ndarray:
        """ln N(w | w_MAP, A⁻¹) of every row of theta (S, P), (S,).

        ½ ln det A - P/2 ln 2π - ½ (w - w_MAP)ᵀ A (w - w_MAP) (PRML 2.43), over the free weights.
        """
        lengths = self.squared_lengths(theta - self.theta_map)
        return 0.5 * (self.logdet_precision - self.n_free * np.log(2.0 * np.pi) - lengths)


class RegularisedPosterior(GaussianPosterior):
    """A posterior that holds A in one factored form, ``regularised``, and asks it."""

    regularised: Any

    @property
    def prior(self) -> GaussianPrior:
        """The prior whose precision is Λ."""
        return self.regularised.prior

    @property
    def scale(self) -> float:
        """Factor of the curvature."""
        return self.regularised.scale

    @property
    def logdet_precision(self) -> float:
        """ln det A."""
        return self.regularised.logdet

    def with_hyperparameters(self, prior: GaussianPrior, scale: float) -> Self:
        """The posterior under other precisions and noise, at the same weights."""
        moved = self.regularised.with_hyperparameters(prior, scale)
        return replace(cast(Any, self), regularised=moved)

    def solve(self, V: np.ndarray) -> np.ndarray:
        """A⁻¹ V for V (P,) or (P, S)."""
        return self.regularised.solve(V)

    def n_effective_params(self) -> np.ndarray:
        """γ_g of every prior group, (G,)."""
        return self.regularised.n_effective_params()

    def squared_lengths(self, D: np.ndarray) -> np.ndarray:
        """dᵀA d of every row d of D (S, P), (S,)."""
        return self.regularised.squared_lengths(D)


def fully_held(posterior: GaussianPosterior, user: str) -> Regularised:
    """The factored form of a full covariance, in weight space or in function space.

    Raises
    ------
    TypeError
        If the posterior is of another form; ``user`` is what needs it.
    """
    held = getattr(posterior, "regularised", None)
    if not isinstance(held, WeightSpace | FunctionSpace):
        raise TypeError(
            f"{user} needs a DensePosterior or a KernelPosterior; got {type(posterior).__name__}."
        )
    return held


def in_blocks(jacobian: LayerwiseJacobian, row_bytes: int) -> Iterator[LayerwiseJacobian]:
    """A Jacobian cut along its rows by the memory budget."""
    size = max(1, DEFAULT_MEMORY_BUDGET // max(1, row_bytes))
    for start in range(0, jacobian.shape[0], size):
        yield jacobian[start : start + size]
