"""The source notes' two overlapping classes, and the best that anyone can say of them."""

import numpy as np
from scipy.stats import multivariate_normal

SMALL, TALL = [[0.04, -0.02], [-0.02, 0.02]], [[0.02, -0.03], [-0.03, 0.10]]
#: Centre, covariance and rows of each cloud; the first two are class 0, the last is class 1.
CLOUDS = (((0.2, 0.4), SMALL, 30), ((0.8, 0.8), SMALL, 20), ((0.5, 0.7), TALL, 50))
N_ROWS = 100


def draw(rng: np.random.Generator, repeats: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Rows (100 repeats, 2) and their classes."""
    parts = [rng.multivariate_normal(mean, cov, n * repeats) for mean, cov, n in CLOUDS]
    return np.concatenate(parts), np.repeat([0, 1], 50 * repeats)


def optimum(X: np.ndarray) -> np.ndarray:
    """p(class 1 | x) from the densities that the rows are drawn from, (n,)."""
    joint = [n / N_ROWS * multivariate_normal(mean, cov).pdf(X) for mean, cov, n in CLOUDS]
    return joint[2] / np.sum(joint, axis=0)


def scores(probability: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Mean NLL and error rate of probabilities of class 1.

    A network can be so sure and wrong that its probability underflows to 0.
    """
    of_truth = np.where(y == 1, probability, 1.0 - probability)
    nll = -np.mean(np.log(np.maximum(of_truth, np.finfo(float).tiny)))
    return {"nll": float(nll), "error": float(np.mean((probability > 0.5) != y))}
