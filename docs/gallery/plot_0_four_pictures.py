"""
Laplace in four pictures
========================

Training finds the most probable weights. Laplace's approximation puts a Gaussian there, with the
curvature of the log posterior as its precision, and three things follow from it: error bars, a
way to tell models apart without a validation set, and a mixture where there are several modes.
"""

import matplotlib.pyplot as plt
import numpy as np

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.curvature import GGN, ExactHessian
from laplace_nn.displays.base import BLUE, GREEN, GREY, VERMILLION
from laplace_nn.evidence import log_likelihood, log_marginal_likelihood
from laplace_nn.likelihoods import Bernoulli, Gaussian
from laplace_nn.network import MLP, jacobian
from laplace_nn.objective import NegativeLogPosterior
from laplace_nn.posterior import DensePosterior
from laplace_nn.priors import single
from laplace_nn.pushforward import linearised
from laplace_nn.rows import RowBlocks
from laplace_nn.training import find_map

# %%
# 1. A mode, and a Gaussian at it
# -------------------------------
#
# Two weights can be looked at: the slope and the bias of a logistic regression. ``find_map`` goes
# down the negative log posterior E(w) until its gradient vanishes. There
# E(w) ≈ E(w_MAP) + ½ (w - w_MAP)ᵀ A (w - w_MAP), where A is the Hessian of the data's part plus
# the prior's precision, and the posterior is about N(w_MAP, A⁻¹).

rng = np.random.default_rng(3)
x = rng.normal(size=(12, 1))
label = (rng.uniform(size=(12, 1)) < 1.0 / (1.0 + np.exp(-2.0 * x - 1.0))).astype(float)

mlp, likelihood, rows = MLP((1, 1)), Bernoulli(), RowBlocks(x, label)
prior = single(mlp, precision=0.1)
objective = NegativeLogPosterior(mlp, likelihood, prior, rows)
theta = find_map(objective, np.zeros(2)).theta
H = ExactHessian(mlp, theta, likelihood, rows)
posterior = DensePosterior.from_curvature(theta, H, prior, likelihood.scale)

# %%
# The true posterior is drawn by its energy on a grid; the ellipses hold as many standard
# deviations as the contours would, were the posterior Gaussian. They agree near the mode. Far from
# it the true one leans to one side, which no Gaussian does: the approximation is local.

slopes, biases = np.meshgrid(np.linspace(-2.5, 8.0, 120), np.linspace(-2.0, 5.5, 120))
grid = np.column_stack([slopes.ravel(), biases.ravel()])
energy = np.array([objective.value_and_gradient(w)[0] for w in grid])
above = energy - objective.value_and_gradient(theta)[0]
moved = grid - theta
quadratic = 0.5 * np.einsum("ni,ni->n", moved @ np.linalg.inv(posterior.covariance()), moved)

fig, ax = plt.subplots(figsize=(5.6, 4.2), layout="constrained")
levels = 0.5 * np.array([1.0, 2.0, 3.0]) ** 2
ax.contour(slopes, biases, above.reshape(slopes.shape), levels, colors=BLUE)
ax.contour(
    slopes, biases, quadratic.reshape(slopes.shape), levels, colors=VERMILLION, linestyles="--"
)
ax.plot(*theta, "+", color="black", markersize=10)
ax.plot([], [], color=BLUE, label="posterior")
ax.plot([], [], color=VERMILLION, linestyle="--", label="Laplace's Gaussian: 1, 2, 3 sd")
ax.set(xlabel="slope", ylabel="bias")
ax.legend(loc="lower right")

# %%
# 2. A tangent, and a band
# ------------------------
#
# A network bends in its weights, and weights drawn from the Gaussian land where it no longer holds:
# the curves on the left miss the very points that made them. On the right the same draws go
# through the network's tangent in the weights, f(x, w_MAP) + J (w - w_MAP), for which the Gaussian
# was made. Its outputs are Gaussian too, with variance J A⁻¹ Jᵀ: no draws are needed, and that is
# what every estimator here predicts with.

x = np.concatenate([rng.uniform(-2.0, -0.5, 20), rng.uniform(0.7, 2.0, 20)])[:, None]
y = np.sin(2.0 * x) + 0.15 * rng.normal(size=x.shape)
mlp, likelihood, rows = MLP((1, 6, 1)), Gaussian(0.15**-2), RowBlocks(x, y)
prior = single(mlp, precision=0.3)
objective = NegativeLogPosterior(mlp, likelihood, prior, rows)
theta = find_map(objective, mlp.initialise(rng)).theta
posterior = DensePosterior.from_curvature(
    theta, GGN(mlp, theta, likelihood, rows), prior, likelihood.scale
)

new = RowBlocks(np.linspace(-2.6, 2.6, 200)[:, None])
draws = posterior.sample(25, rng)
through_network = [mlp.forward(w, new.X).outputs[:, 0] for w in draws]
tape = mlp.forward(theta, new.X)
J = jacobian(mlp, theta, tape).dense()[:, 0]  # (200, P)
through_tangent = [tape.outputs[:, 0] + J @ (w - theta) for w in draws]
mean, covariance = linearised(mlp, posterior, new)
spread = 2.0 * np.sqrt(covariance[:, 0, 0])

fig, axes = plt.subplots(1, 2, figsize=(9.6, 3.8), sharey=True, layout="constrained")
titles = ("the network at drawn weights", "its tangent at the same weights")
for ax, curves, title in zip(axes, (through_network, through_tangent), titles, strict=True):
    ax.plot(new.X, np.transpose(curves), color=GREY, linewidth=0.6, alpha=0.7)
    ax.plot(new.X, mean, color=BLUE, linewidth=2, label="most probable weights")
    ax.scatter(x, y, s=14, color=VERMILLION, zorder=3, linewidths=0, label="data")
    ax.set(title=title, xlabel="x", ylim=(-4.0, 4.0))
axes[1].fill_between(
    new.X[:, 0], mean[:, 0] - spread, mean[:, 0] + spread, color=BLUE, alpha=0.2, label="± 2 sd"
)
axes[0].set_ylabel("y")
axes[1].legend(loc="lower left")

# %%
# 3. The evidence, a razor
# ------------------------
#
# How strong should the prior be? A weak one lets the network fit the rows better and better. What
# is asked of it is something else: the probability of the data before they were seen, p(D), in
# which a flexible model has spread its bets over many data sets that did not come. By Laplace's
# approximation ln p(D) is the fit at the mode plus the log of the Occam factor: how much of the
# prior's volume is left. A weak prior pays for the freedom it had, a strong one for weights far
# from zero. The sum has a top, and the training rows alone say where. New rows, on the right, are
# predicted well there and worse on either side.


def draw(n_rows, rng):
    x = rng.uniform(-2.0, 2.0, size=(n_rows, 1))
    return x, np.sin(2.0 * x) + 0.3 * rng.normal(size=x.shape)


rng = np.random.default_rng(0)
mlp, likelihood, rows = MLP((1, 10, 1)), Gaussian(0.3**-2), RowBlocks(*draw(30, rng))
x_test, y_test = draw(500, rng)
theta = mlp.initialise(rng)
precisions = np.geomspace(1e-4, 10.0, 21)
fits, factors, held_out = [], [], []
for precision in precisions[::-1]:
    prior = single(mlp, precision)
    theta = find_map(NegativeLogPosterior(mlp, likelihood, prior, rows), theta).theta
    posterior = DensePosterior.from_curvature(
        theta, GGN(mlp, theta, likelihood, rows), prior, likelihood.scale
    )
    fit = log_likelihood(mlp, theta, likelihood, rows)
    evidence = log_marginal_likelihood(posterior, fit)
    fits.append(fit)
    factors.append(evidence.total - fit)
    mean, covariance = linearised(mlp, posterior, RowBlocks(x_test))
    variance = covariance[:, 0, 0] + 1.0 / likelihood.scale
    error = (y_test - mean)[:, 0]
    held_out.append(np.mean(-0.5 * (error**2 / variance + np.log(2.0 * np.pi * variance))))
fits, factors, held_out = (np.array(values[::-1]) for values in (fits, factors, held_out))
totals = fits + factors

fig, axes = plt.subplots(1, 2, figsize=(9.6, 3.8), layout="constrained")
axes[0].plot(precisions, fits, color=GREEN, linestyle="--", label="fit, ln p(D|w_MAP)")
axes[0].plot(precisions, factors, color=VERMILLION, linestyle="-.", label="ln of the Occam factor")
axes[0].plot(precisions, totals, color=BLUE, linewidth=2, label="log evidence, their sum")
axes[1].plot(precisions, held_out, color=BLUE)
for ax in axes:
    ax.axvline(precisions[np.argmax(totals)], color=GREY, linestyle=":")
    ax.set(xscale="log", xlabel="prior precision α")
axes[0].set_ylabel("nats")
axes[1].set_ylabel("log density of new rows [nats a row]")
axes[0].legend()

# %%
# The estimators climb this hill for every precision at once, and for the noise, each step at the
# mode of the last one (:func:`laplace_nn.reestimation.reestimate`).

# %%
# 4. Several modes, mixed
# -----------------------
#
# One Gaussian stands at one mode, and a network has many. Each start of an estimator ends in one;
# where they agree they need no mixture, and where they do not, no single one of them should be
# believed. An estimator predicts with all of them: three quarters of the weight go where they help
# to predict rows that were left out, the rest is shared equally, even by the straight line here.

rng = np.random.default_rng(101)
x = np.concatenate([rng.uniform(-2.0, -0.9, 10), rng.uniform(0.9, 2.0, 10)])[:, None]
y = np.sin(2.5 * x[:, 0]) + 0.1 * rng.normal(size=20)
settings = {"standardize": True, "n_restarts": 4, "random_state": 5}
model = LaplaceMLPRegressor((10,), **settings).fit(x, y)

line = np.linspace(-2.4, 2.4, 200)[:, None]
standardised = RowBlocks((line - model.input_mean_) / model.input_scale_)
fig, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
mean, std = model.predict(line, return_std=True)
ax.fill_between(line[:, 0], mean - 2 * std, mean + 2 * std, color=BLUE, alpha=0.2)
for member, style in zip(model.committee_, ("-", "--", "-.", ":"), strict=False):
    inner, _ = linearised(model.mlp_, member.posterior, standardised)
    curve = inner[:, 0] * model.target_scale_[0] + model.target_mean_[0]
    ax.plot(line, curve, color=GREY, linestyle=style, label=f"mode of weight {member.weight:.2f}")
ax.plot(line, mean, color=BLUE, linewidth=2, label="mixture, ± 2 sd")
ax.scatter(x, y, color=VERMILLION, s=16, zorder=3)
ax.set(xlabel="x", ylabel="y")
ax.legend(fontsize="small")
