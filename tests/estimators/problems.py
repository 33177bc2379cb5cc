"""Small tables and quick estimators for them."""

from functools import cache

import numpy as np

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor

#: One mode alone, by evidence alone; tests/estimators/test_committee.py is about the defaults.
QUICK = {
    "hidden_layer_sizes": (3,),
    "prior": "layer",
    "n_restarts": 2,
    "selection": "evidence",
    "committee": 1,
    "hyperprior": None,
    "random_state": 0,
}


def regressor(**settings):
    return LaplaceMLPRegressor(**{**QUICK, **settings})


def classifier(**settings):
    return LaplaceMLPClassifier(**{**QUICK, **settings})


def inputs(n_rows=40):
    return np.random.default_rng(0).uniform(-2.0, 2.0, size=(n_rows, 2)) * [1.0, 3.0] + [0.5, -2.0]


def sine_table(n_rows=40):
    """X (N, 2), y (N,): a sine of the first column, noise of 0.1."""
    X, rng = inputs(n_rows), np.random.default_rng(1)
    return X, np.sin(2.0 * X[:, 0]) + 0.1 * rng.normal(size=n_rows)


def two_target_table(n_rows=30):
    """X (N, 2), Y (N, 2) of different size."""
    X, y = sine_table(n_rows)
    return X, np.column_stack([y, 20.0 * X[:, 1] + np.random.default_rng(2).normal(size=n_rows)])


def line_table(n_rows=30):
    """X (N, 2), y (N,): a noisy plane."""
    X, rng = inputs(n_rows), np.random.default_rng(3)
    return X, X @ [1.0, -0.5] + 3.0 + 0.5 * rng.normal(size=n_rows)


def label_table(n_classes=2, n_rows=40):
    """X (N, 2), string labels (N,): overlapping bands."""
    X, rng = inputs(n_rows), np.random.default_rng(4)
    score = X[:, 0] + 0.1 * X[:, 1] ** 2 + 0.4 * rng.normal(size=n_rows)
    bands = np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes))
    return X, np.array(["low", "mid", "up", "very high"])[bands]


#: Name → (estimator with settings, its table).
KINDS = {
    "regressor": (regressor, sine_table),
    "classifier": (classifier, label_table),
    "three-classes": (classifier, lambda: label_table(3)),
    "two-targets": (regressor, two_target_table),
}


def outputs_of(model, X):
    """What a fitted model says about rows: mean and std, or probabilities."""
    if isinstance(model, LaplaceMLPClassifier):
        return model.predict_proba(X)
    return np.stack(model.predict(X, return_std=True))


def table(kind):
    return KINDS[kind][1]()


def build(kind, **settings):
    return KINDS[kind][0](**settings)


@cache
def fitted(kind):
    """With default settings; not to be changed."""
    return build(kind).fit(*table(kind))
