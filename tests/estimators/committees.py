"""Small committees of both estimators, for the tests of what they share."""

from functools import cache

import pytest

from tests.estimators import problems

#: Name → (estimator with settings, its table).
KINDS = {
    "regressor": (problems.regressor, lambda: problems.sine_table(20)),
    "classifier": (problems.classifier, lambda: problems.label_table(2, 20)),
    "three-classes": (problems.classifier, lambda: problems.label_table(3, 20)),
    "two-targets": (problems.regressor, lambda: problems.two_target_table(20)),
}
EACH_KIND = pytest.mark.parametrize("kind", KINDS)
BOTH = pytest.mark.parametrize("kind", ["regressor", "classifier"])


def table(kind):
    return KINDS[kind][1]()


def build(kind, **settings):
    """Two starts' modes of two units, roughly re-estimated."""
    quick = {"hidden_layer_sizes": (2,), "n_restarts": 2, "tol": 0.1}
    defaults = {"selection": "evidence+loo", "committee": "all", "hyperprior": 10.0}
    return KINDS[kind][0](**{**quick, **defaults, **settings})


@cache
def climbed(kind, **settings):
    """Re-estimated; not to be changed."""
    return build(kind, **settings).fit(*table(kind))
