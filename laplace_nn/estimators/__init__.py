"""Top: the estimators, with scikit-learn's interface."""
