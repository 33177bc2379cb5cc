"""
A CSV file from start to finish
===============================

Read, fit, look, save, load, predict: the strength of concrete from what is in it (Yeh 1998, one of
the sets that the experiments are made with). The file is written first, as it would come from a
laboratory; put your own in its place.
"""

import tempfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import train_test_split

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.displays import PredictionErrorDisplay, RelevanceDisplay

folder = Path(tempfile.mkdtemp())
data = Path("experiments", "data", "concrete.npz")
clone = next(path for path in (Path.cwd(), *Path.cwd().parents) if (path / data).exists())
stored = np.load(clone / data)
frame = pd.DataFrame(stored["X"], columns=stored["feature_names"]).assign(strength=stored["y"])
frame.to_csv(folder / "concrete.csv", index=False)

# %%
# Read
# ----
#
# Columns must hold numbers. Text becomes numbers by scikit-learn's ``OneHotEncoder``, in a pipeline
# with the network; ``laplace-nn fit`` does it by itself. Nothing has to be scaled.

table = pd.read_csv(folder / "concrete.csv")
X, y = table.drop(columns="strength"), table["strength"]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=0)
table.head(3)

# %%
# Fit
# ---

model = LaplaceMLPRegressor((10,), random_state=0).fit(X_train, y_train)
straight = BayesianRidge().fit(X_train, y_train)
print(f"R² on the rows held out: {model.score(X_test, y_test):.2f}")
print(f"of a straight plane:     {straight.score(X_test, y_test):.2f}")
print(f"noise found:             {model.noise_precision_**-0.5:.1f} MPa")
print(f"log density promised:    {model.loo_log_score_:.2f} nats a row")
print(f"reached:                 {model.log_predictive_density(X_test, y_test).mean():.2f}")

# %%
# May it be trusted?
# ------------------
#
# A line for each assumption, with a remark where one fails. What each means, and what to do, is
# said in :doc:`the guide </guide/when_not_to_trust_it>`.

print(model.diagnostics_)

# %%
# Look
# ----
#
# The rows held out, with the intervals that should hold 95 % of them.

PredictionErrorDisplay.from_estimator(model, X_test, y_test)

# %%
# Which inputs matter: the size of the weights that leave each.

RelevanceDisplay.from_estimator(model)

# %%
# Save and load
# -------------
#
# The posterior is stored with the weights. A file of this kind can run code when it is loaded: load
# only what you trust.

joblib.dump(model, folder / "model.joblib")
again = joblib.load(folder / "model.joblib")

# %%
# Predict
# -------
#
# New mixtures, with mean, standard deviation and interval in a table of their own.

new = X_test.head(5)
mean, std = again.predict(new, return_std=True)
lower, upper = again.predict_interval(new).T
predicted = new.assign(mean=mean, std=std, lower=lower, upper=upper)
predicted.to_csv(folder / "predictions.csv", index=False)
predicted.round(1)
