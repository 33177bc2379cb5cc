"""
What more rows would take away, and what they would not
=======================================================

A regression's uncertainty has two parts. The network does not know its own weights, and the targets
are noisy. Rows narrow the first part, where they are; the second is a property of the world.
"""

import matplotlib.pyplot as plt
import numpy as np

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays import PredictiveBandDisplay


def draw(n_rows, rng):
    """Two clusters of inputs with a gap between them."""
    side = rng.choice([-1.0, 1.0], size=n_rows)
    x = side * rng.uniform(1.0, 3.0, size=n_rows)
    return x[:, None], np.sin(2.0 * x) + 0.2 * rng.normal(size=n_rows)


# %%
# The same estimator sees 20, 60 and 400 rows. The dark band shrinks where rows are and stays wide
# in the gap and outside, where no number of rows on either side can tell how the curve goes on. The
# pale band keeps the width of the noise, ± 2 · 0.2, which nobody told the estimator.

rng = np.random.default_rng(0)
fig, axes = plt.subplots(1, 3, figsize=(12.5, 4.2), sharey=True, layout="constrained")
for ax, n_rows in zip(axes, (20, 60, 400), strict=True):
    X, y = draw(n_rows, rng)
    model = LaplaceMLPRegressor((10,), random_state=0).fit(X, y)
    PredictiveBandDisplay.from_estimator(model, X, y, ax=ax)
    found = f"{n_rows} rows, noise found: {model.noise_precision_**-0.5:.2f}"
    ax.text(0.03, 0.04, found, transform=ax.transAxes)
    if ax is not axes[0]:
        ax.get_legend().remove()
        ax.label_outer()
axes[0].set_ylim(-4.0, 4.0)

# %%
# ``predict_parts`` gives the parts in numbers: for an input among the rows, in the gap, and beyond.

mean, network_std, noise_std = model.predict_parts([[2.0], [0.0], [4.0]])
for place, network, noise in zip(("among", "gap", "beyond"), network_std, noise_std, strict=True):
    print(f"{place:>6}: network {network:.2f}, noise {noise:.2f}")
