"""Regression: Gaussian noise, any number of targets."""

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import column_or_1d, validate_data

from laplace_nn.estimators.inputs import checked_weights, distinct_rows
from laplace_nn.estimators.number_predictions import NumberPredictions
from laplace_nn.likelihoods import Gaussian
from laplace_nn.network import Activation
from laplace_nn.priors import GaussianPrior

__all__ = ["LaplaceMLPRegressor"]


class LaplaceMLPRegressor(RegressorMixin, NumberPredictions):
    """Multilayer perceptron for regression that knows what it does not know.

    Trained to its MAP solution; Laplace's approximation there gives the posterior
    N(w_MAP, A⁻¹), A = βH + Λ, the predictive N(y(x, w_MAP), β⁻¹ + gᵀA⁻¹g) (PRML 5.172-5.173), and
    the evidence, by which the prior's and the noise's precision are found from the training rows
    (PRML 5.175-5.180).

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(50,)
        Units of each hidden layer; ``()`` is Bayesian linear regression.
    activation : str or Activation, default="tanh"
        Of every hidden layer: "tanh", "logistic", "relu", "softplus", "silu", "gelu" or "identity".
    prior : {"auto", "ard", "layer", "single", "layer_kind", "unit"}, array of P labels or \
GaussianPrior, default="auto"
        Which weights share a prior precision: each input's fan-out (automatic relevance
        determination), those of a layer, all, weights and biases of each layer apart, or each
        hidden unit's fan-in. "auto" tries the first two, one start after the other.
    curvature : str or callable, default="ggn"
        The Hessian of the posterior: "ggn" (outer products), "exact", "exact_positive" (its
        negative eigenvalues dropped), "kfac" (Kronecker factors), "backprop_diagonal" (the
        recursion of PRML 5.81), "finite_differences", "empirical_fisher" (for comparison); or a
        callable of (mlp, theta, likelihood, rows), such as a `Curvature` class. Re-estimation
        always takes γ from the outer products.
    posterior : str or callable, default="auto"
        How the covariance is held: "dense" (P x P), "kernel" (N·K x N·K), "diagonal", "kronecker",
        "low_rank", "sequential" (row by row) or "last_layer" (the others at the MAP); "auto" is the
        smaller of the first two, or what suits the curvature. Or a callable of (theta_map,
        curvature, prior, scale), such as a posterior class's ``from_curvature``.
    solver : {"auto", "lm", "lbfgs", "cg"}, default="auto"
        See `laplace_nn.training.find_map`.
    prior_precision : "auto", float, array of shape (G,) or dict, default="auto"
        α, for weights of standardised inputs and targets; "auto" re-estimates it, a
        dictionary fixes the groups it names. BayesianRidge calls this quantity lambda.
    hyperprior : {"half_normal"}, float, Hyperprior or None, default="half_normal"
        What is believed of the precisions that are re-estimated: a group's weights have a standard
        deviation α^-½ ~ |N(0, 1)|, or, for a number, ln α ~ N(0, (ln hyperprior)²), that factor
        either way at one standard deviation. None lets the data alone decide.
    noise_precision : "auto" or float, default="auto"
        β in units of 1/y²; "auto" re-estimates it. BayesianRidge calls this quantity alpha.
    standardize : "auto" or bool, default="auto"
        Whether inputs are standardised inside (weighted mean 0, standard deviation 1). "auto" draws
        in the long tails of columns before, by a logarithm that `LongTails` describes; True does
        not, and neither does a network without hidden layers, which is linear in its inputs.
    normalize_y : bool, default=True
        Whether targets are. Evidence, noise precision and predictions are in the units of y
        either way.
    n_restarts : int, default=2
        Starts from random weights. Where leave-one-out counts, each has two modes: that of the best
        precisions, and one of eight times those.
    selection : {"evidence", "loo", "evidence+loo"}, default="evidence+loo"
        By what a start's best state is known, and modes are ranked: the log evidence, the summed
        leave-one-out log score, or the first plus twice the second. The evidence alone is climbed;
        so it is without hidden layers, where it is exact.
    committee : int, "all" or "auto", default="auto"
        How many of the modes are kept; predictions are their mixture. Where leave-one-out counts,
        "auto" takes those of eight times the precisions from all starts, and that of the best ones,
        which costs most of the training, from the start with the best score alone; otherwise it
        takes all. One alone, where the evidence is what is climbed, is taken to its top by
        gradient.
    committee_weights : {"stacking", "evidence", "equal"}, default="stacking"
        How the modes are weighed: half equally and half so that the mixture's leave-one-out log
        score is largest (stacking), by their evidence, or equally.
    max_iter : int, default=1000
        Budget of Newton-like steps of a MAP fit.
    max_cycles : int, default=100
        Budget of re-estimation cycles of a start.
    tol : float, default=1e-3
        Relative change of ln α, ln β and the log evidence at which re-estimation has converged;
        with leave-one-out in ``selection`` the rise of the score, in nats a row, that keeps it
        going.
    gradient_tol : float, default=1e-6
        max |∇E| / max(1, |E|) at which training has converged.
    n_jobs : int, "auto" or None, default="auto"
        Starts, and then the trainings that end their ways, that are made at the same time, each in
        a process of its own. "auto" is one a core where they take seconds and BLAS would leave the
        other cores idle, and one at a time inside other workers, such as those of a grid search;
        None is one, or what `joblib.parallel_config` says. It changes no digit.
    random_state : int, RandomState or None, default=None
        Seed of the start weights.
    verbose : int, default=0
        1 shows a progress bar with the current evidence.
    warm_start : bool, default=False
        Whether the next fit starts from the weights and precisions of this one, once.

    Attributes
    ----------
    theta_ : ndarray of shape (P,)
        MAP weights for standardised inputs and targets, layer by layer.
    coefs_, intercepts_ : list of ndarray
        The same for raw inputs and targets, in MLPRegressor's shapes; raw but for columns with long
        tails, which enter as ``long_tails_(X)`` has them.
    long_tails_ : LongTails
        The columns with long tails, and what draws them in: ``long_tails_(X)``. None where
        ``standardize`` is True or False, or there is no hidden layer.
    posterior_ : GaussianPosterior
        Over ``theta_``.
    committee_ : tuple of Member
        The modes that are kept, best score first, each with its weight, hyperparameters, posterior
        and evidence. The other attributes speak of the first.
    relevance_ : ndarray of shape (D,)
        √(mean w²) of the weights that leave each standardised input, in the best mode with
        relevance determination, if there is one: near 0 for an input that does not matter.
    prior_ : GaussianPrior
        With the precisions found and the names of its groups.
    prior_precision_ : ndarray of shape (G,)
        α of every group.
    noise_precision_ : float, or ndarray of shape (K,)
        β in units of 1/y².
    n_effective_params_ : ndarray of shape (G,)
        γ of every group.
    pruned_groups_ : tuple of str
        Groups whose precision ran into its cap: the data do not speak of them.
    loo_log_score_ : float
        Mean approximate leave-one-out log score of the training rows, in nats a row and in the
        units of y: what the log density of new rows is to be expected. Optimistic where the fit
        is overfitted; rows that are the same count as one.
    log_marginal_likelihood_ : float
        Log evidence of the training targets in the units of y, without a symmetry term.
    history_ : list of dict
        A record of every cycle of every start.
    n_iter_ : int
        Training steps, all starts together.
    n_features_in_, feature_names_in_
        Of the training inputs.

    Warns
    -----
    ConvergenceWarning
        If training or re-estimation ran out of its budget.

    See Also
    --------
    LaplaceMLPClassifier : The same for classes.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, size=(60, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=60)
    >>> model = LaplaceMLPRegressor((5,), n_restarts=2, random_state=0).fit(X, y)
    >>> mean, std = model.predict([[0.5], [5.0]], return_std=True)
    >>> bool(std[1] > 2 * std[0])  # far from the data it is less sure
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (50,),
        activation: str | Activation = "tanh",
        *,
        prior: str | GaussianPrior | np.ndarray = "auto",
        curvature: str = "ggn",
        posterior: str = "auto",
        solver: str = "auto",
        prior_precision: Any = "auto",
        hyperprior: Any = "half_normal",
        noise_precision: Any = "auto",
        standardize: bool | str = "auto",
        normalize_y: bool = True,
        n_restarts: int = 2,
        selection: str = "evidence+loo",
        committee: int | str = "auto",
        committee_weights: str = "stacking",
        max_iter: int = 1000,
        max_cycles: int = 100,
        tol: float = 1e-3,
        gradient_tol: float = 1e-6,
        n_jobs: int | str | None = "auto",
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.prior = prior
        self.curvature = curvature
        self.posterior = posterior
        self.solver = solver
        self.prior_precision = prior_precision
        self.hyperprior = hyperprior
        self.noise_precision = noise_precision
        self.standardize = standardize
        self.normalize_y = normalize_y
        self.n_restarts = n_restarts
        self.selection = selection
        self.committee = committee
        self.committee_weights = committee_weights
        self.max_iter = max_iter
        self.max_cycles = max_cycles
        self.tol = tol
        self.gradient_tol = gradient_tol
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start

    def __sklearn_tags__(self) -> Any:
        """Several targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "LaplaceMLPRegressor":
        """Find weights, prior and noise from the training rows.

        Parameters
        ----------
        X : array-like of shape (N, D)
            Inputs.
        y : array-like of shape (N,) or (N, K)
            Targets.
        sample_weight : array-like of shape (N,), optional
            A row of weight 2 counts as two rows.

        Returns
        -------
        self : LaplaceMLPRegressor
            Fitted.
        """
        self._check_parameters()
        X, y = validate_data(
            self, X, y, dtype=np.float64, order="C", multi_output=True, y_numeric=True
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        weights = checked_weights(sample_weight, X)
        if weights is not None:
            kept = weights > 0
            X, y, weights = X[kept], y[kept], weights[kept]
        targets = np.asarray(y, dtype=np.float64).reshape(len(X), -1)
        self._single_target = y.ndim == 1
        X, targets, weights, self._places = distinct_rows(X, targets, weights)
        given = not self._is_auto("noise_precision")
        # One β in the units of y is one β inside only under a common scale.
        self._fit_target_scale(targets, weights, common=given)
        noise = float(self.noise_precision * self.target_scale_[0] ** 2) if given else 1.0
        self._fit_rows(X, self._inner_targets(targets), weights, Gaussian(noise))
        self.noise_precision_ = self._noise_in_units(self.likelihood_.scale)
        return self
