"""Leave-one-out by importance sampling, for draws of an approximate posterior."""

import warnings
from typing import Any

import numpy as np
from scipy.special import logsumexp

__all__ = ["is_old", "loo"]

SAME = 1e-6  # nats, of the log ratios' range, below which the Gaussian is the posterior


def is_old(arviz: Any) -> bool:
    """Whether this is ArviZ before 1.0."""
    return int(arviz.__version__.split(".")[0]) < 1


def loo(data: Any) -> Any:
    """Expected log predictive density by leave-one-out, corrected for the approximation.

    elpd = Σ_n ln Σ_s r_ns p(t_n|w_s) / Σ_s r_ns with the ratios r_ns = p(w_s|D) / (q(w_s)
    p(t_n|w_s)), smoothed (PSIS: Vehtari, Gelman & Gabry 2017; with q in place of the posterior:
    Magnusson, Andersen, Jonasson & Vehtari 2019). Where p(w|D) / q(w) is the same for all draws,
    as for a linearised network with Gaussian noise, this is plain PSIS-LOO.

    Parameters
    ----------
    data : InferenceData or DataTree
        From `to_inference_data`.

    Returns
    -------
    ELPDData
        Of the installed ArviZ, with the values row by row: what ``az.compare`` takes.

    Raises
    ------
    ValueError
        If the data have no log likelihood, or no ``lp`` and ``log_q`` among the statistics.

    Warns
    -----
    UserWarning
        If a row's Pareto k is too large for so many draws.

    Notes
    -----
    What is left out is a row, of the model from which likelihood, posterior and predictive were
    taken, with linearisation, prior and noise as all rows have made them: how a refit would change
    those is not in it. Draws of the Gaussian stand for those of that model's posterior, which is
    why they are weighed by p / q: ``az.loo(data)`` takes them for draws of the posterior itself,
    and is off by what the posterior differs from its Gaussian. The correction errs on the
    optimistic side where the posterior has longer tails, in which the Gaussian has no draws. The
    effective number of parameters ``p`` is the corrected log density of all rows, minus elpd.

    Under the linearised network with Gaussian noise the leave-one-out density is known in closed
    form, without draws: the member's ``loo_log_scores``, of which ``loo_log_score_`` is made. This
    function agrees with them up to the draws, where no two rows are the same: it leaves out one of
    such rows, they all of them.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPClassifier
    >>> from laplace_nn.inference_data import loo, to_inference_data
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 2))
    >>> y = X[:, 0] + rng.normal(size=60) > 0
    >>> model = LaplaceMLPClassifier((), random_state=0).fit(X, y)
    >>> result = loo(to_inference_data(model, X, y, n_samples=4000, random_state=0))
    >>> int(result["n_data_points"])
    60
    """
    import arviz

    az: Any = arviz  # of which each version has functions that the other has not
    log_lik, log_p, log_q = _densities(data)
    correction = log_p - log_q
    if float(correction.max() - correction.min()) < SAME:
        return az.loo(data, pointwise=True, reff=1.0)
    log_weights = _flat(correction).values
    at_rows = _flat(log_lik).values  # (N, S)
    lpd = np.sum(logsumexp(at_rows + log_weights, axis=1) - logsumexp(log_weights))
    if is_old(az):
        return _by_psis(az, at_rows, log_weights, log_lik, lpd)
    result = az.loo_approximate_posterior(data, log_p=log_p, log_q=log_q, pointwise=True)
    result.p = float(lpd - result.elpd)
    return result


def _densities(data: Any) -> tuple[Any, Any, Any]:
    """ln p(t_n|w), ln p(D|w) p(w) and ln q(w) at the draws.

    Raises
    ------
    ValueError
        If one of them is not there.
    """
    try:
        stats = data["sample_stats"]
        return data["log_likelihood"]["y"], stats["lp"], stats["log_q"]
    except KeyError as error:
        raise ValueError(
            f"loo needs data from to_inference_data, with log_likelihood y and with lp and log_q "
            f"in sample_stats; {error.args[0]!r} is missing."
        ) from error


def _flat(values: Any) -> Any:
    """All chains' draws in the last dimension."""
    return values.stack(__sample__=("chain", "draw"))


def _by_psis(
    az: Any, at_rows: np.ndarray, log_weights: np.ndarray, log_lik: Any, lpd: float
) -> Any:
    """ELPDData of ArviZ 0.23, which has no function for it, as its `loo` makes it."""
    n_rows, n_samples = at_rows.shape
    smoothed, pareto_k = az.psislw(log_weights - at_rows, reff=1.0)
    elpd_i = logsumexp(smoothed + at_rows, axis=1)
    elpd, good_k = float(np.sum(elpd_i)), min(1.0 - 1.0 / np.log10(n_samples), 0.7)
    too_large = bool(np.any(pareto_k > good_k))
    if too_large:
        warnings.warn(
            f"The Pareto k of {int(np.sum(pareto_k > good_k))} of {n_rows} rows is greater than "
            f"{good_k:.2f}: leave-one-out by importance sampling is not to be trusted for them; "
            "draw more samples, or use the estimator's loo_log_score_.",
            stacklevel=3,
        )
    rows = log_lik.isel(chain=0, draw=0, drop=True)
    entries = {
        "elpd_loo": elpd,
        "se": float(np.sqrt(n_rows * np.var(elpd_i))),
        "p_loo": float(lpd - elpd),
        "n_samples": n_samples,
        "n_data_points": n_rows,
        "warning": too_large,
        "loo_i": rows.copy(data=elpd_i).rename("loo_i"),
        "pareto_k": rows.copy(data=pareto_k).rename("pareto_shape"),
        "scale": "log",
        "good_k": good_k,
    }
    return az.ELPDData(data=list(entries.values()), index=list(entries))
