"""
Are the probabilities right?
============================

A forecast of 70 % should come true in seven cases of ten, and a 90 % interval should hold nine new
targets of ten. On rows that were held out both can be counted.
"""

from sklearn.datasets import make_classification, make_friedman1
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from laplace_nn import LaplaceMLPClassifier, LaplaceMLPRegressor
from laplace_nn.displays import CoverageDisplay, ReliabilityDisplay

# %%
# Classes
# -------
#
# Predicted probability against observed frequency, of 3000 rows, and how many rows are given which
# probability. A hundred rows to train on are few for ten inputs: the network at its best weights
# (MAP) gives many rows to a class with near certainty, and errs on too many of them. Averaged over
# the weights it is certain less often, which the log score of the rows rewards.

X, y = make_classification(3100, 10, n_informative=5, flip_y=0.1, random_state=1)
X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=100, random_state=0)
classifier = LaplaceMLPClassifier((10,), random_state=0).fit(X_train, y_train)
ReliabilityDisplay.from_estimator(classifier, X_test, y_test)

print(f"log loss at the best weights: {log_loss(y_test, classifier.map_proba(X_test)):.3f}")
print(f"averaged:                     {log_loss(y_test, classifier.predict_proba(X_test)):.3f}")

# %%
# Intervals
# ---------
#
# The share of held-out rows inside central intervals, against the share they promise, with the
# range that chance allows for so many rows. And where in their predictive distribution the rows
# lie, which should be everywhere alike.

X, y = make_friedman1(n_samples=1300, noise=1.0, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=300, random_state=0)
regressor = LaplaceMLPRegressor((10,), random_state=0).fit(X_train, y_train)
CoverageDisplay.from_estimator(regressor, X_test, y_test)

# %%
# What the training rows had promised, by the leave-one-out score, beside what was reached. The
# promise errs on the bright side, since the hyperparameters were chosen with the same rows: the
# more so, the fewer there are beside the inputs.

print(f"promised by the training rows: {regressor.loo_log_score_:.3f} nats a row")
print(
    f"reached on the rows held out:  {regressor.log_predictive_density(X_test, y_test).mean():.3f}"
)
