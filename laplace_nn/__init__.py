"""Bayesian multilayer perceptrons by Laplace's approximation, with a scikit-learn interface."""
