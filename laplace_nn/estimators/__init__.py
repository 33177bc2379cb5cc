"""scikit-learn estimators; the only place where strings become classes."""

from laplace_nn.estimators.classifier import LaplaceMLPClassifier
from laplace_nn.estimators.regressor import LaplaceMLPRegressor

__all__ = ["LaplaceMLPClassifier", "LaplaceMLPRegressor"]
