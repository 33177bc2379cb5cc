"""
How the hyperparameters were found
==================================

``fit`` alternates between training the weights and moving the precisions of prior and noise, and
keeps the state of the best score. ``history_`` holds every cycle of every start.
"""

from sklearn.datasets import make_friedman1

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays import ReestimationDisplay, RestartsDisplay

X, y = make_friedman1(n_samples=300, noise=1.0, random_state=0)
model = LaplaceMLPRegressor((10,), n_restarts=4, random_state=0).fit(X, y)

# %%
# One start
# ---------
#
# Ten inputs of which five matter, and noise of standard deviation 1 that has to be found. The start
# that led to the best mode: the evidence and the leave-one-out score, the precision of
# each group of weights, the noise, and how many weights the data determine (γ).

ReestimationDisplay.from_estimator(model)

# %%
# All starts
# ----------
#
# Starts differ in their random weights and in what shares a precision: one an input, one a layer,
# in turn. Each has a mode of eight times the best precisions ("stronger"), and the best start that
# of the best ones too; ``committee="all"`` would train it for all. They predict as a mixture.

RestartsDisplay.from_estimator(model)

# %%
# The last cycle of every way, in numbers.

last = {e["start"]: e for e in model.history_ if e["event"] == "step"}
for start, entry in last.items():
    print(
        f"start {start}: log evidence {entry['log_marginal_likelihood']:.1f}, leave-one-out "
        f"{entry['loo_log_score']:.3f}, γ {sum(entry['n_effective_params']):.1f}"
    )
