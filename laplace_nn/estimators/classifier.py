"""Classification: one logit for two classes, a softmax for more."""

from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from laplace_nn.estimators.base import BaseLaplaceMLP
from laplace_nn.estimators.inputs import checked_weights, distinct_rows
from laplace_nn.likelihoods import Bernoulli, Categorical
from laplace_nn.mixture import joint_moments, mixed_probabilities
from laplace_nn.network import Activation
from laplace_nn.predictive import class_codes, class_log_scores, class_probabilities
from laplace_nn.priors import GaussianPrior
from laplace_nn.rows import RowBlocks
from laplace_nn.selection import LogScores
from laplace_nn.temperature import best_temperature, tempered

__all__ = ["LaplaceMLPClassifier"]

LINKS = ("auto", "probit", "gauss_hermite", "monte_carlo")


class LaplaceMLPClassifier(ClassifierMixin, BaseLaplaceMLP):
    """Multilayer perceptron for classification with moderated probabilities.

    Trained to its MAP solution with logistic (two classes) or softmax outputs; probabilities are
    averaged over the Gaussian that Laplace's approximation gives the logits (PRML 5.185-5.190),
    and the prior's precisions are found by the evidence (PRML 5.183).

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(50,)
        Units of each hidden layer; ``()`` is Bayesian logistic regression.
    activation : str or Activation, default="tanh"
        Of every hidden layer: "tanh", "logistic", "relu", "softplus", "silu", "gelu" or "identity".
    prior : {"auto", "ard", "layer", "single", "layer_kind", "unit"}, array of P labels or \
GaussianPrior, default="auto"
        Which weights share a prior precision: each input's fan-out (automatic relevance
        determination), those of a layer, all, weights and biases of each layer apart, or each
        hidden unit's fan-in. "auto" is one for all, or the first where ``prior_precision`` is given
        group by group.
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
    link : {"auto", "probit", "gauss_hermite", "monte_carlo"}, default="auto"
        How the inverse link is averaged: MacKay's formula, quadrature (two classes only; exact),
        or Monte Carlo (more than two). "auto" is quadrature for two classes, MacKay's formula for
        more.
    solver : {"auto", "lm", "lbfgs", "cg"}, default="auto"
        See `laplace_nn.training.find_map`.
    prior_precision : "auto", float, array of shape (G,) or dict, default="auto"
        α, for weights of standardised inputs; "auto" re-estimates it, a dictionary fixes the
        groups it names.
    hyperprior : {"half_normal"}, float, Hyperprior or None, default="half_normal"
        What is believed of the precisions that are re-estimated: a group's weights have a standard
        deviation α^-½ ~ |N(0, 1)|, or, for a number, ln α ~ N(0, (ln hyperprior)²), that factor
        either way at one standard deviation. None lets the data alone decide.
    standardize : "auto" or bool, default="auto"
        Whether inputs are standardised inside (weighted mean 0, standard deviation 1). "auto" draws
        in the long tails of columns before, by a logarithm that `LongTails` describes; True does
        not, and neither does a network without hidden layers, which is linear in its inputs.
    n_restarts : int, default=1
        Starts from random weights. Where hidden units are many, they tend to end in the same
        function; try several where they are few. Where leave-one-out counts, each has two modes:
        that of the best strength of the prior, and one of eight times that strength.
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
    temperature : "auto" or float, default="auto"
        T of the predictive probabilities, p_k^(1/T) / Σ_j p_j^(1/T): below 1 they become sharper.
        "auto" is the one of largest leave-one-out log score, with a log-normal belief around 1; and
        1 without hidden layers.
    max_iter : int, default=1000
        Budget of Newton-like steps of a MAP fit.
    max_cycles : int, default=100
        Budget of re-estimation cycles of a start.
    tol : float, default=1e-3
        Relative change of ln α and the log evidence at which re-estimation has converged; with
        leave-one-out in ``selection`` the rise of the score, in nats a row, that keeps it going.
    gradient_tol : float, default=1e-6
        max |∇E| / max(1, |E|) at which training has converged.
    n_jobs : int, "auto" or None, default="auto"
        Starts, and then the trainings that end their ways, that are made at the same time, each in
        a process of its own. "auto" is one a core where they take seconds and BLAS would leave the
        other cores idle, and one at a time inside other workers, such as those of a grid search;
        None is one, or what `joblib.parallel_config` says. It changes no digit.
    random_state : int, RandomState or None, default=None
        Seed of the start weights, and of the Monte Carlo link.
    verbose : int, default=0
        1 shows a progress bar with the current evidence.
    warm_start : bool, default=False
        Whether the next fit starts from the weights and precisions of this one, once.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The labels, sorted.
    theta_ : ndarray of shape (P,)
        MAP weights for standardised inputs, layer by layer.
    coefs_, intercepts_ : list of ndarray
        The same for raw inputs, in MLPClassifier's shapes; raw but for columns with long
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
    n_effective_params_ : ndarray of shape (G,)
        γ of every group.
    pruned_groups_ : tuple of str
        Groups whose precision ran into its cap: the data do not speak of them.
    loo_log_score_ : float
        Mean approximate leave-one-out log score of the training rows, in nats a row and in the
        units of y: what the log density of new rows is to be expected. Optimistic where the fit
        is overfitted; rows that are the same count as one.
    log_marginal_likelihood_ : float
        Log evidence of the training labels, without a symmetry term.
    temperature_ : float
        T of the predictive probabilities.
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
    LaplaceMLPRegressor : The same for numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn import LaplaceMLPClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(80, 2))
    >>> y = np.where(X[:, 0] + 0.5 * rng.normal(size=80) > 0, "right", "left")
    >>> model = LaplaceMLPClassifier((3,), n_restarts=2, random_state=0).fit(X, y)
    >>> model.predict([[2.0, 0.0]]).tolist()
    ['right']
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (50,),
        activation: str | Activation = "tanh",
        *,
        prior: str | GaussianPrior | np.ndarray = "auto",
        curvature: str = "ggn",
        posterior: str = "auto",
        link: str = "auto",
        solver: str = "auto",
        prior_precision: Any = "auto",
        hyperprior: Any = "half_normal",
        standardize: bool | str = "auto",
        n_restarts: int = 1,
        selection: str = "evidence+loo",
        committee: int | str = "auto",
        committee_weights: str = "stacking",
        temperature: float | str = "auto",
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
        self.link = link
        self.solver = solver
        self.prior_precision = prior_precision
        self.hyperprior = hyperprior
        self.standardize = standardize
        self.n_restarts = n_restarts
        self.selection = selection
        self.committee = committee
        self.committee_weights = committee_weights
        self.temperature = temperature
        self.max_iter = max_iter
        self.max_cycles = max_cycles
        self.tol = tol
        self.gradient_tol = gradient_tol
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "LaplaceMLPClassifier":
        """Find weights and prior from the training rows.

        Parameters
        ----------
        X : array-like of shape (N, D)
            Inputs.
        y : array-like of shape (N,)
            Labels, of any type.
        sample_weight : array-like of shape (N,), optional
            A row of weight 2 counts as two rows.

        Returns
        -------
        self : LaplaceMLPClassifier
            Fitted.

        Raises
        ------
        ValueError
            If fewer than two classes carry weight.
        """
        self._check_parameters()
        if self.link not in LINKS:
            raise ValueError(f"link must be one of {', '.join(LINKS)}; got {self.link!r}.")
        X, y = validate_data(self, X, y, dtype=np.float64, order="C")
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        weights = checked_weights(sample_weight, X)
        if weights is not None:
            kept = weights > 0
            X, y, weights = X[kept], y[kept], weights[kept]
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError(
                "LaplaceMLPClassifier needs rows of at least two classes; the rows that carry "
                f"weight are of one class, {classes.tolist()[0]!r}."
            )
        self._check_link(len(classes))
        self.classes_ = classes
        X, targets, weights, self._places = distinct_rows(X, self._inner_targets(y), weights)
        self._link_seed = int(np.random.SeedSequence(len(X)).generate_state(1)[0])
        if isinstance(self.random_state, int | np.integer):
            self._link_seed = int(self.random_state)
        likelihood = Bernoulli() if len(classes) == 2 else Categorical()
        self._fit_rows(X, targets, weights, likelihood)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class of largest predictive probability, (n,)."""
        check_is_fitted(self)
        return self.classes_[np.argmax(self.predict_proba(X), axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities averaged over the posterior.

        p(C_k|x, D) ∝ (∫ link(f)_k N(f | f_MAP, J A⁻¹ Jᵀ) df)^(1/T) (PRML 5.189, 5.190), averaged
        over the committee before the temperature.

        Parameters
        ----------
        X : array-like of shape (n, D)
            Inputs.

        Returns
        -------
        ndarray of shape (n, C)
            In the order of ``classes_``; rows sum to 1.
        """
        check_is_fitted(self)
        return tempered(self._mixed(*self._linearised(X)), self.temperature_)

    def loo_predictions(self) -> np.ndarray:
        """Approximate leave-one-out class probabilities of the training rows, (N, C).

        One Newton step from the mode of all rows (`laplace_nn.leave_one_out`); of the rows that
        carry weight.
        """
        check_is_fitted(self)
        return self._left_out_probabilities()[self._places]

    def _mixed(self, means: Any, covariances: Any) -> np.ndarray:
        """The committee's class probabilities from every member's Gaussian logits, (n, C)."""
        pairs = zip(means, covariances, strict=True)
        each = [class_probabilities(*pair, self.link, self._link_seed) for pair in pairs]
        return mixed_probabilities(self._weights, np.array(each))

    def _left_out_probabilities(self) -> np.ndarray:
        """Of the distinct training rows, each without itself, (N, C)."""
        return tempered(self._mixed(*self._left_out), self.temperature_)

    def _recalibrate(self, rows: RowBlocks) -> None:
        """Without hidden layers the posterior is all but Gaussian, and right as it is."""
        found = self._is_auto("temperature")
        self.temperature_ = 1.0 if found else float(self.temperature)
        if found and self.mlp_.n_layers > 1:
            probabilities = self._mixed(*self._left_out)
            self.temperature_ = best_temperature(
                probabilities, class_codes(rows.targets), rows.sample_weight
            )

    def _loo_scores(self, rows: RowBlocks) -> np.ndarray:
        own = np.arange(rows.n_rows), class_codes(rows.targets)
        return np.log(self._left_out_probabilities()[own])

    @property
    def _log_scores(self) -> LogScores:
        return partial(class_log_scores, link=self.link, seed=self._link_seed)

    def map_proba(self, X: Any) -> np.ndarray:
        """Class probabilities of the best mode's MAP weights alone, link(f_MAP), (n, C)."""
        rows = self._rows(X)
        outputs = self.mlp_.forward(self.theta_, rows.X).outputs
        if len(self.classes_) == 2:
            positive = expit(outputs[:, 0])
            return np.column_stack([1.0 - positive, positive])
        return softmax(outputs, axis=1)

    def latent_mean_and_covariance(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n, K) and covariance (n, K, K) of the committee's logits; K = 1 for two classes."""
        check_is_fitted(self)
        return joint_moments(self._weights, *self._linearised(X))

    def log_predictive_density(self, X: Any, y: Any) -> np.ndarray:
        """Log predictive probability of the labels y (n,), in nats, (n,).

        Raises
        ------
        ValueError
            If a label was not among the training labels.
        """
        check_is_fitted(self)
        codes, probabilities = self._codes(np.asarray(y)), self.predict_proba(X)
        return np.log(probabilities[np.arange(len(codes)), codes])

    def _codes(self, labels: np.ndarray) -> np.ndarray:
        """Places of labels (n,) among ``classes_``, (n,)."""
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y holds the label {unknown.tolist()[0]!r}, which is not one of the training "
                f"labels {self.classes_.tolist()}, for which alone the network has outputs."
            )
        return np.searchsorted(self.classes_, labels)

    def _inner_targets(self, y: Any) -> np.ndarray:
        """Labels (N,) as the likelihood takes them, (N, K)."""
        codes, n_classes = self._codes(column_or_1d(y, warn=True)), len(self.classes_)
        return codes[:, None].astype(np.float64) if n_classes == 2 else np.eye(n_classes)[codes]

    def _check_link(self, n_classes: int) -> None:
        unfit = {"gauss_hermite": n_classes > 2, "monte_carlo": n_classes == 2}
        if unfit.get(self.link, False):
            usable = "probit or monte_carlo" if n_classes > 2 else "probit or gauss_hermite"
            raise ValueError(
                f"link={self.link!r} does not fit {n_classes} classes; use auto, {usable}."
            )
