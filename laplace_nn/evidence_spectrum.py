"""The evidence at fixed weights for every prior and noise precision, from one eigendecomposition.

A = β·H + α·Λ₀ has the determinant α^P det Λ₀ Π_i (1 + β λ_i / α), λ_i the eigenvalues of
Λ₀^-½ H Λ₀^-½ (PRML 3.86-3.92). Those other than zero are also the eigenvalues of the Gram matrix
F Λ₀⁻¹ Fᵀ, FᵀF = H. Once they are known, any (α, β) costs P numbers.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import eigvalsh

from laplace_nn.curvature.base import Curvature, PositivePart
from laplace_nn.curvature.regularised import Regularised, WeightSpace
from laplace_nn.evidence import Evidence, log_likelihood
from laplace_nn.likelihoods import Gaussian, Likelihood
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.objective import in_weight_space
from laplace_nn.posterior import DensePosterior, KernelPosterior
from laplace_nn.priors import GaussianPrior
from laplace_nn.rows import RowBlocks

__all__ = ["EvidenceSpectrum", "FixedPoint"]

# Of a step in (ln α, ln β). A whole step of MacKay's multiplies the distance along one direction by
# -(s/γ + s/(NK - γ)) in [-1, 0], s = Σ p_i (1 - p_i), p_i = βλ_i/(βλ_i + α), and may turn back and
# forth forever; two thirds of it shrink that direction and the other to a third or less.
STEP_SHARE = 2.0 / 3.0


@dataclass(frozen=True)
class FixedPoint:
    """Where MacKay's updates at fixed weights came to rest.

    Parameters
    ----------
    alpha, beta : float
        Factor of the prior Λ₀, and noise precision.
    n_effective_params, evidence
        γ and the log evidence there.
    n_iter, converged
        Number of updates, and whether ln α and ln β stopped changing.
    """

    alpha: float
    beta: float
    n_effective_params: float
    evidence: Evidence
    n_iter: int
    converged: bool


@dataclass(frozen=True)
class EvidenceSpectrum:
    """The Laplace log evidence at fixed weights, as a function of α and β alone.

    The prior is α·Λ₀: all groups move by one factor, and α = 1 is the prior as it was given (give
    it a precision of 1, and α is the precision). The numbers are those of a posterior's
    ``with_hyperparameters``, without its new factorisation. The weights are the mode at one (α, β)
    only; see `laplace_nn.evidence_surface` for a mode that moves.

    Parameters
    ----------
    eigenvalues : ndarray of shape (P,) or (N·R,)
        λ_i, ascending; those that are left out are zero.
    prior : GaussianPrior
        Λ₀.
    squared_norm : float
        wᵀΛ₀w, twice the prior's energy; about its mean, if it has one.
    nll : float
        Σ_n w_n nll_n at unit noise precision: half the sum of squares for a `Gaussian`.
    likelihood : Likelihood
        With the noise precision that is taken where no β is given.
    n_rows, n_outputs
        N, the total weight where rows are weighted, and K.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import GGN
    >>> from laplace_nn.evidence_spectrum import EvidenceSpectrum
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> rng, mlp = np.random.default_rng(0), MLP((1, 1))
    >>> X = rng.normal(size=(200, 1))
    >>> rows, theta = RowBlocks(X, 2 * X + 0.1 * rng.normal(size=(200, 1))), np.array([2.0, 0.0])
    >>> H = GGN(mlp, theta, Gaussian(), rows)
    >>> spectrum = EvidenceSpectrum.from_curvature(theta, H, single(mlp), Gaussian(), rows)
    >>> found = spectrum.reestimate()
    >>> found.converged, bool(80 < found.beta < 125), round(found.alpha, 2)
    (True, True, 0.5)
    """

    eigenvalues: np.ndarray
    prior: GaussianPrior
    squared_norm: float
    nll: float
    likelihood: Likelihood
    n_rows: float
    n_outputs: int

    @classmethod
    def from_curvature(
        cls,
        theta: np.ndarray,
        curvature: Curvature | PositivePart,
        prior: GaussianPrior,
        likelihood: Likelihood,
        rows: RowBlocks,
    ) -> "EvidenceSpectrum":
        """Decompose a curvature in weight space, P³, or in function space, (N·K)³, if smaller.

        Parameters
        ----------
        theta : ndarray of shape (P,)
            The weights, which stay.
        curvature : Curvature or PositivePart
            H at these weights; function space needs its factor.
        prior : GaussianPrior
            Λ₀.
        likelihood, rows
            Those of the curvature.

        Raises
        ------
        MissingCapabilityError
            If the curvature can be made neither dense nor a factor.
        """
        mlp = curvature.mlp
        narrow = "factor" in curvature.capabilities and not in_weight_space(mlp, rows)
        form = KernelPosterior if narrow else DensePosterior
        posterior = form.from_curvature(theta, curvature, prior, likelihood.scale)
        fit = log_likelihood(mlp, theta, likelihood, rows)
        return cls.from_posterior(posterior, likelihood, fit, rows.total_weight, mlp.n_outputs)

    @classmethod
    def from_posterior(
        cls,
        posterior: DensePosterior | KernelPosterior,
        likelihood: Likelihood,
        log_likelihood_map: float,
        n_rows: float,
        n_outputs: int,
    ) -> "EvidenceSpectrum":
        """Decompose what a posterior holds; α = 1 is its prior.

        Parameters
        ----------
        posterior : DensePosterior or KernelPosterior
            Its weights, H or F, and prior Λ₀ are taken.
        likelihood, log_likelihood_map
            ln p(D|w) from `log_likelihood`, and the likelihood it was computed with.
        n_rows, n_outputs
            N, the total weight where rows are weighted, and K.

        Raises
        ------
        ValueError
            If the curvature holds a NaN or an infinity.
        """
        eigenvalues = eigvalsh(_whitened(posterior.regularised), overwrite_a=True)
        squared_norm = 2.0 * posterior.prior.energy(posterior.theta_map)
        normaliser = likelihood.log_normaliser(n_rows, n_outputs)
        nll = float(normaliser - log_likelihood_map) / likelihood.scale
        return cls(eigenvalues, posterior.prior, squared_norm, nll, likelihood, n_rows, n_outputs)

    def log_determinant(self, alpha: float, beta: float | None = None) -> float:
        """ln det A = Σ ln λ₀ + P ln α + Σ_i ln(1 + βλ_i/α).

        Raises
        ------
        NotPositiveDefiniteError
            If A has an eigenvalue that is not positive; the error carries that of A whitened. So
            with all that is computed from the determinant or γ.
        """
        data_part = np.sum(np.log1p(self._moved(alpha, beta) / alpha))
        return float(self._log_precisions(alpha) + data_part)

    def n_effective_params(self, alpha: float, beta: float | None = None) -> float:
        """γ = Σ_i βλ_i / (βλ_i + α) (PRML 3.91, 5.179)."""
        moved = self._moved(alpha, beta)
        return float(np.sum(moved / (moved + alpha)))

    def evidence(self, alpha: float, beta: float | None = None) -> Evidence:
        """The terms of the Laplace log evidence (PRML 3.86, 5.175) at the weights as they are.

        Parameters
        ----------
        alpha : float
            Factor of Λ₀, positive.
        beta : float, optional
            Noise precision; the likelihood's if not given.

        Raises
        ------
        ValueError
            If α or β is not a positive finite number, or the likelihood has no noise precision.
        """
        n_params, log_2pi = self.prior.n_params, np.log(2.0 * np.pi)
        log_volume = 0.5 * (n_params * log_2pi - self.log_determinant(alpha, beta))
        likelihood = self._with_noise(beta)
        fit = likelihood.log_normaliser(self.n_rows, self.n_outputs) - likelihood.scale * self.nll
        energy = alpha * self.squared_norm
        log_prior = 0.5 * (self._log_precisions(alpha) - n_params * log_2pi - energy)
        return Evidence(float(fit), float(log_prior), float(log_volume))

    def log_evidence(self, alpha: float, beta: float | None = None) -> float:
        """The sum of the terms of `evidence`."""
        return self.evidence(alpha, beta).total

    def reestimate(
        self,
        alpha: float = 1.0,
        beta: float | None = None,
        *,
        fit_noise: bool = True,
        tol: float = 1e-10,
        max_iter: int = 1000,
    ) -> FixedPoint:
        """MacKay's fixed point at fixed weights, every update P numbers.

        α = γ / wᵀΛ₀w and β = (NK - γ) / SSE (PRML 3.92, 3.95, 5.178, 5.180), two thirds of each
        change in ln α and ln β at a time. Where H ≥ 0 the log evidence at fixed weights is concave
        in (ln α, ln β), and the fixed point its only maximum.

        Parameters
        ----------
        alpha : float, default=1.0
            Start.
        beta : float, optional
            Start; the likelihood's noise precision if not given.
        fit_noise : bool, default=True
            Whether β moves; only that of a `Gaussian`.
        tol : float, default=1e-10
            Converged where an update would change neither ln α nor ln β by more.
        max_iter : int, default=1000
            Budget of updates.

        Raises
        ------
        ValueError
            If weights or residuals are all zero, or γ is not between 0 and NK.
        """
        fit_noise = fit_noise and isinstance(self.likelihood, Gaussian)
        point, n_iter = np.array([alpha, self._with_noise(beta).scale]), 0
        target = self._update(point, fit_noise)
        while (change := np.abs(np.log(target / point)).max()) > tol and n_iter < max_iter:
            point, n_iter = point * (target / point) ** STEP_SHARE, n_iter + 1
            target = self._update(point, fit_noise)
        alpha, beta = float(point[0]), float(point[1])
        gamma, evidence = self.n_effective_params(alpha, beta), self.evidence(alpha, beta)
        return FixedPoint(alpha, beta, gamma, evidence, n_iter, bool(change <= tol))

    def _update(self, point: np.ndarray, fit_noise: bool) -> np.ndarray:
        """MacKay's next (α, β), (2,)."""
        gamma = self.n_effective_params(*point)
        free = self.n_rows * self.n_outputs - gamma
        if not (gamma > 0 and self.squared_norm > 0 and (not fit_noise or min(free, self.nll) > 0)):
            raise ValueError(
                "MacKay's update needs weights, residuals, gamma and N*K - gamma that are not "
                f"zero; got w^T Lambda w = {self.squared_norm:.3g}, sum of nll = {self.nll:.3g}, "
                f"gamma = {gamma:.3g}, N*K - gamma = {free:.3g}."
            )
        noise_precision = 0.5 * free / self.nll if fit_noise else point[1]
        return np.array([gamma / self.squared_norm, noise_precision])

    def _log_precisions(self, alpha: float) -> float:
        """ln det αΛ₀."""
        prior = self.prior
        return float(prior.group_sizes @ np.log(alpha * prior.precisions))

    def _moved(self, alpha: float, beta: float | None) -> np.ndarray:
        """β λ_i, once α + β λ_i is known to be positive."""
        if not (np.isfinite(alpha) and alpha > 0):
            raise ValueError(f"alpha must be a positive finite number; got {alpha!r}.")
        moved = self._with_noise(beta).scale * self.eigenvalues
        if not alpha + moved[0] > 0.0:
            name = "The whitened precision alpha*I + beta*Lambda^-1/2 H Lambda^-1/2"
            raise NotPositiveDefiniteError(name, float(alpha + moved[0]))
        return moved

    def _with_noise(self, beta: float | None) -> Likelihood:
        """The likelihood with another noise precision."""
        if beta is None or beta == self.likelihood.scale:
            return self.likelihood
        if not isinstance(self.likelihood, Gaussian):
            name = type(self.likelihood).__name__
            raise ValueError(f"beta must be left out for {name}, which has none; got {beta!r}.")
        return replace(self.likelihood, noise_precision=float(beta))


def _whitened(regularised: Regularised) -> np.ndarray:
    """Λ₀^-½ H Λ₀^-½, (P, P), or F Λ₀⁻¹ Fᵀ, (N·R, N·R)."""
    prior = regularised.prior
    if isinstance(regularised, WeightSpace):
        root = 1.0 / np.sqrt(prior.precision)
        return root[:, None] * regularised.hessian * root
    return regularised.jacobian.gram(1.0 / prior.precision)
