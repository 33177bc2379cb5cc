"""Multilayer perceptrons with Laplace posteriors, evidence and honest uncertainty.

Chapter 5.4 and 5.7 of Bishop's *Pattern Recognition and Machine Learning* on NumPy and SciPy,
behind scikit-learn's ``fit`` and ``predict``.
"""

from laplace_nn.estimators import LaplaceMLPClassifier, LaplaceMLPRegressor

__all__ = ["LaplaceMLPClassifier", "LaplaceMLPRegressor", "__version__"]

__version__ = "0.1.0"
