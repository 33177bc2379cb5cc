"""
Which inputs matter
===================

With automatic relevance determination every input has a prior precision of its own. Where an input
does not help to explain the targets, the evidence pushes its precision up, and that its weights
towards zero. The relevance is the size of the weights that are left, √(mean w²).
"""

import numpy as np
import pandas as pd

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays import RelevanceDisplay

# %%
# Of five inputs the target depends on two. ``echo`` is the first one seen through noise: it is
# correlated with the target, and tells nothing that ``dose`` does not.

rng = np.random.default_rng(0)
n_rows = 150
table = pd.DataFrame(
    {
        "dose": rng.uniform(-2.0, 2.0, size=n_rows),
        "age": rng.normal(50.0, 12.0, size=n_rows),
        "weekday": rng.integers(0, 7, size=n_rows),
        "shoe size": rng.normal(42.0, 2.0, size=n_rows),
    }
)
table["echo"] = table["dose"] + 0.5 * rng.normal(size=n_rows)
response = np.sin(2.0 * table["dose"]) + 0.02 * (table["age"] - 50.0)
response += 0.1 * rng.normal(size=n_rows)

print(table.corrwith(response).round(2))

# %%
# Inputs are standardised inside, so that the relevances of years and of milligrams can be compared.
# ``dose`` comes first by far, although ``age`` is correlated more with the response: what bends it
# takes larger weights than what shifts it. Beside the picture stands γ, how many of an input's
# weights the data determine.

model = LaplaceMLPRegressor((8,), prior="ard", random_state=0).fit(table, response)
RelevanceDisplay.from_estimator(model)

# %%
# ``relevance_`` holds the same numbers.

for name, relevance in zip(table.columns, model.relevance_, strict=True):
    print(f"{name:>9}: {relevance:.4f}")

# %%
# Of two inputs that say the same, either may get all of the relevance. And relevance speaks of the
# weights, not of causes.
