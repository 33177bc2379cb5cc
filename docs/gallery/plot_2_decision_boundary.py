"""
The most probable weights, and all weights
==========================================

A classifier at its most probable weights is as sure far from the data as among them. Averaged over
the posterior it is not: its logit's spread grows with the distance, and draws the probability
towards one half.
"""

import numpy as np

from laplace_nn import LaplaceMLPClassifier
from laplace_nn.displays import DecisionBoundaryDisplay

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 2))
labels = np.where(X[:, 0] * X[:, 1] > 0.0, "same sign", "other sign")
model = LaplaceMLPClassifier((10,), random_state=0).fit(X, labels)

# %%
# On the left ``map_proba``, the network at its best weights. In the middle ``predict_proba``, the
# average. On the right what makes the difference: the standard deviation of the log odds.

DecisionBoundaryDisplay.from_estimator(model, X, labels, margin=0.7)

# %%
# Among the rows the two agree. Beyond them the best weights go on with their stripes, and are sure
# of them; the average is not. Whatever depends on that, such as whether to ask a person, should be
# reckoned with the average.

far = [[4.0, -4.0]]
print(model.classes_)
print("at the best weights:", model.map_proba(far).round(3))
print("averaged:           ", model.predict_proba(far).round(3))
