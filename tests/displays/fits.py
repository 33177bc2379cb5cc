"""Small fits that the tests of the displays share; not to be changed."""

from functools import cache

import numpy as np

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor

QUICK = {"n_restarts": 2, "tol": 0.1, "random_state": 0}


@cache
def regression(n_features=1, n_targets=1):
    """A regressor of three units with two modes, and its rows."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2.0, 2.0, size=(40, n_features))
    signals = np.stack([np.sin((k + 1.0) * X[:, 0]) for k in range(n_targets)], axis=1)
    y = signals + 0.2 * rng.normal(size=signals.shape)
    y = y[:, 0] if n_targets == 1 else y
    return LaplaceMLPRegressor((3,), **QUICK).fit(X, y), X, y


@cache
def classification(n_features=2, n_classes=2):
    """A classifier of three units with two modes, and its rows; labels are words."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20 * n_classes, n_features))
    angle = 2.0 * np.pi * np.arange(n_classes) / n_classes
    codes = np.arange(len(X)) % n_classes
    X[:, 0] += 1.5 * np.cos(angle[codes])
    X[:, 1] += 1.5 * np.sin(angle[codes])
    y = np.array(["ant", "bee", "cat", "dog"])[codes]
    return LaplaceMLPClassifier((3,), **QUICK).fit(X, y), X, y
