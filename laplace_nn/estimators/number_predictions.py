"""What a fitted regression says of new targets: means, deviations, intervals, densities."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from laplace_nn.estimators.base import BaseLaplaceMLP
from laplace_nn.estimators.committee import Member
from laplace_nn.estimators.scaling import ScaledTargets
from laplace_nn.likelihoods import Likelihood
from laplace_nn.mixture import GaussianMixture, joint_moments
from laplace_nn.predictive import gaussian_log_scores
from laplace_nn.pushforward import linearised_joint
from laplace_nn.rows import RowBlocks
from laplace_nn.selection import LogScores

__all__ = ["NumberPredictions"]


class NumberPredictions(ScaledTargets, BaseLaplaceMLP):
    """Predictions of a committee with Gaussian noise, in the units of y; not for use by itself."""

    def predict(
        self, X: Any, return_std: bool = False, return_cov: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predictive mean, and the predictive standard deviation or covariance.

        N(y(x, w_MAP), β⁻¹ + gᵀA⁻¹g) (PRML 5.172, 5.173): noise is included, as in BayesianRidge.

        Parameters
        ----------
        X : array-like of shape (n, D)
            Inputs.
        return_std : bool, default=False
            Whether to return the standard deviation too.
        return_cov : bool, default=False
            Whether to return the joint covariance of all rows too.

        Returns
        -------
        mean : ndarray of shape (n,) or (n, K)
            In the units of y, as all that follows.
        std : ndarray of shape (n,) or (n, K)
            Only where asked for.
        cov : ndarray of shape (n, n) or (n, K, n, K)
            Only where asked for.

        Raises
        ------
        ValueError
            If both are asked for.
        """
        if return_std and return_cov:
            raise ValueError(
                "predict returns either std or cov: set one of return_std, return_cov."
            )
        rows = self._rows(X)
        if return_cov:
            return self._predict_joint(rows)
        if not return_std:
            outputs = np.einsum("c,cnk->nk", self._weights, self._outputs(rows))
            return self._shaped(outputs * self.target_scale_ + self.target_mean_)
        mixture = self._predictive(X)
        mean, std = mixture.mean(), mixture.std()
        return self._shaped(mean), self._shaped(std)

    def predict_parts(self, X: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predictive mean, and the two parts of the standard deviation: network and noise.

        Var[t] = (E_c[g_cᵀ A_c⁻¹ g_c] + Var_c[y_c]) + E_c[β_c⁻¹] over the committee's modes c: what
        more rows would take away, and what they would not. Their squares add up to the square of
        the standard deviation that `predict` returns.

        Parameters
        ----------
        X : array-like of shape (n, D)
            Inputs.

        Returns
        -------
        mean, network_std, noise_std : ndarray of shape (n,) or (n, K)
            In the units of y.
        """
        check_is_fitted(self)
        mean, covariance = joint_moments(self._weights, *self._linearised(X))
        spread = np.sqrt(np.einsum("nkk->nk", covariance))
        precisions = np.array([member.state.likelihood.scale for member in self.committee_])
        noise = np.full_like(spread, np.sqrt(self._weights @ (1.0 / precisions)))
        scale = self.target_scale_
        parts = mean * scale + self.target_mean_, spread * scale, noise * scale
        mean, network_std, noise_std = map(self._shaped, parts)
        return mean, network_std, noise_std

    def predict_interval(self, X: Any, coverage: float = 0.95) -> np.ndarray:
        """Central predictive intervals, noise included.

        mean ± Φ⁻¹((1 + coverage) / 2)·std.

        Parameters
        ----------
        X : array-like of shape (n, D)
            Inputs.
        coverage : float, default=0.95
            Probability that a new target lies inside.

        Returns
        -------
        ndarray of shape (n, 2) or (n, K, 2)
            Lower and upper end, in the units of y.
        """
        check_is_fitted(self)
        return self._shaped(self._predictive(X).interval(coverage))

    def log_predictive_density(self, X: Any, y: Any) -> np.ndarray:
        """Log predictive density of targets, ln p(y|x, D), in nats and in the units of y.

        Parameters
        ----------
        X : array-like of shape (n, D)
            Inputs.
        y : array-like of shape (n,) or (n, K)
            Targets; those of a row are taken together.

        Returns
        -------
        ndarray of shape (n,)
            One density a row.
        """
        mixture = self._predictive(X)
        return mixture.log_density(np.asarray(y, float).reshape(mixture.means.shape[1:]))

    def _predictive(self, X: Any) -> GaussianMixture:
        """The committee's predictions of new targets, in the units of y."""
        return self._mixed(*self._linearised(X))

    def _mixed(self, means: Any, covariances: Any) -> GaussianMixture:
        """Targets' mixture from the outputs (C, n, K) and covariances (C, n, K, K) inside."""
        pairs = [
            self._with_noise(mean, covariance, member.state.likelihood)
            for mean, covariance, member in zip(means, covariances, self.committee_, strict=True)
        ]
        moved, spread = zip(*pairs, strict=True)
        return GaussianMixture(self._weights, np.array(moved), np.array(spread))

    def _with_noise(
        self, mean: np.ndarray, covariance: np.ndarray, likelihood: Likelihood
    ) -> tuple[np.ndarray, np.ndarray]:
        """Targets' mean and covariance in the units of y from those of the outputs inside."""
        covariance = covariance + np.eye(mean.shape[1]) / likelihood.scale
        scale = self.target_scale_
        return mean * scale + self.target_mean_, covariance * scale[:, None] * scale

    def loo_predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Approximate leave-one-out predictions of the training rows.

        One Newton step from the mode of all rows (`laplace_nn.leave_one_out`).

        Returns
        -------
        mean : ndarray of shape (N,) or (N, K)
            Of each training row that carries weight, without it; in the units of y.
        std : ndarray of shape (N,) or (N, K)
            Noise included.
        """
        mixture = self._loo_predictive()
        return self._shaped(mixture.mean()), self._shaped(mixture.std())

    def _loo_predictive(self) -> GaussianMixture:
        """The committee's predictions of the training rows, each without itself."""
        check_is_fitted(self)
        means, covariances = self._left_out
        return self._mixed(means[:, self._places], covariances[:, self._places])

    @property
    def _log_scores(self) -> LogScores:
        return gaussian_log_scores

    def _predict_joint(self, rows: RowBlocks) -> tuple[np.ndarray, np.ndarray]:
        joint = [self._joint_of(member, rows) for member in self.committee_]
        means, covariances = zip(*joint, strict=True)
        mean, covariance = joint_moments(self._weights, np.array(means), np.array(covariances))
        if self._single_target:
            return mean, covariance
        shape = (rows.n_rows, len(self.target_scale_))
        return mean.reshape(shape), covariance.reshape(*shape, *shape)

    def _joint_of(self, member: Member, rows: RowBlocks) -> tuple[np.ndarray, np.ndarray]:
        """A member's mean (n·K,) and covariance (n·K, n·K) of all rows' targets."""
        mean, covariance = linearised_joint(self.mlp_, member.posterior, rows.X)
        scale = np.tile(self.target_scale_, len(mean))
        flat = covariance.reshape(len(scale), len(scale))
        noise = np.eye(len(scale)) / member.state.likelihood.scale
        moved = mean * self.target_scale_ + self.target_mean_
        return moved.ravel(), (flat + noise) * scale[:, None] * scale
