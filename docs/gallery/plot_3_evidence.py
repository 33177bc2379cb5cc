"""
How many hidden units? The training rows say
============================================

The log evidence, ln p(D | network), rises while further units explain the data and stops rising, or
falls, when they explain noise. No rows are held out for it. Here they are only to check.
"""

import numpy as np

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays import EvidenceDisplay
from laplace_nn.model_selection import compare


def draw(n_rows, rng):
    X = rng.uniform(-2.0, 2.0, size=(n_rows, 1))
    return X, np.sin(4.0 * X[:, 0]) * np.exp(-0.3 * X[:, 0]) + 0.2 * rng.normal(size=n_rows)


rng = np.random.default_rng(0)
X, y = draw(80, rng)
X_test, y_test = draw(1000, rng)

sizes = (0, 1, 2, 3, 4, 6, 8, 12)
networks = {
    f"{size} units": LaplaceMLPRegressor((size,) if size else (), random_state=0) for size in sizes
}
comparison = compare(networks, X, y, X_test=X_test, y_test=y_test)
EvidenceDisplay.from_comparison(comparison)

# %%
# The table has more: how much of the evidence is due to the symmetry of hidden units, which of the
# P weights the data determine (γ), and each network's posterior probability (``weight``).

comparison.table().drop(columns=["log_symmetry", "converged", "seconds", "n_hidden_units"]).round(3)
