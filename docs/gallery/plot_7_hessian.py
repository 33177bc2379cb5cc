"""
The Hessian, looked at
======================

Everything here rests on one matrix, the second derivatives of the negative log likelihood. For a
network of ten weights it can be looked at, entry by entry, as eigenvalues, and by what it says of
each weight.
"""

import numpy as np

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays import (
    HessianDisplay,
    HintonDisplay,
    PosteriorPairsDisplay,
    SpectrumDisplay,
)

rng = np.random.default_rng(0)
X = rng.uniform(-2.0, 2.0, size=(60, 1))
y = np.sin(2.0 * X[:, 0]) + 0.1 * rng.normal(size=60)
model = LaplaceMLPRegressor((3,), prior="layer", n_restarts=2, random_state=0).fit(X, y)

# %%
# Entry by entry
# --------------
#
# Outer products (PRML 5.84), then the exact Hessian (PRML 5.93 to 5.95). At a mode they look alike,
# entry by entry. In the direction that the data say least about, what the outer products leave out
# may count all the same: ``residual_curvature`` is its size there, in units of the posterior's
# precision.

HessianDisplay.from_estimator(model, X, y)
HessianDisplay.from_estimator(model, X, y, curvature="exact")
print(f"residual curvature: {model.diagnostics_.residual_curvature:.2g}")

# %%
# As eigenvalues
# --------------
#
# Each direction in weight space is determined by the data (eigenvalue above the prior's precision)
# or by the prior (below). The shares of the data add up to γ, the effective number of weights.

SpectrumDisplay.from_estimator(model, X, y)

# %%
# Weight by weight
# ----------------
#
# A square's area is the weight over its posterior standard deviation: small squares could be zero
# for all that the data say.

HintonDisplay.from_estimator(model)

# %%
# Weight against weight
# ---------------------
#
# Weights make up for each other: what is badly known of each may be well known of their sum. A
# diagonal posterior cannot say that.

PosteriorPairsDisplay.from_estimator(model, X, y, parameters=[0, 3, 6])
