"""Five networks whose every number another program computed.

The values are Netlab 3.3.1's, derived a second time in NumPy. Netlab's weight order, w1(:)', b1,
w2(:)', b2 with w1 (inputs, hidden) column by column, is this package's own: W = w1' row by row.
"""

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from laplace_nn.curvature import GGN, ExactHessian, PositivePart
from laplace_nn.evidence import log_likelihood, log_marginal_likelihood
from laplace_nn.likelihoods import Bernoulli, Categorical, Gaussian
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import MLP, jacobian, vjp
from laplace_nn.posterior import DensePosterior, KernelPosterior
from laplace_nn.priors import GaussianPrior
from laplace_nn.pushforward import linearised
from laplace_nn.rows import RowBlocks
from tests.contracts import assert_close

DATA = Path(__file__).parent / "data"
NAMES = ["glm_linear", "demev1_fixed", "demev2_demo", "multiout_groups", "softmax_scalar"]
EACH = pytest.mark.parametrize("name", NAMES)
#: demev2_demo is no MAP: its exact A is indefinite, and no Gaussian stands on it.
DEFINITE = [name for name in NAMES if name != "demev2_demo"]
#: (file, which matrix, posterior): everything that makes a Gaussian.
GAUSSIANS = pytest.mark.parametrize(
    ("name", "form", "posterior"),
    [(name, "exact", DensePosterior) for name in DEFINITE]
    + [(name, "ggn", DensePosterior) for name in NAMES]
    + [(name, "ggn", KernelPosterior) for name in NAMES],
)


def build_likelihood(stored):
    if str(stored["outfn"]) == "linear":
        return Gaussian(float(stored["beta"]))
    return {"logistic": Bernoulli(), "softmax": Categorical()}[str(stored["outfn"])]


@cache
def load(name):
    """A stored network as the package's values, beside what is stored."""
    with np.load(DATA / f"{name}.npz") as archive:
        stored = dict(archive)
    sizes = [int(stored[key]) for key in ("nin", "nhidden", "nout")]
    mlp = MLP(tuple(size for size in sizes if size > 0))
    groups = stored.get("index", np.ones((mlp.n_params, 1))).argmax(axis=1)
    theta, likelihood = stored["w"], build_likelihood(stored)
    rows = RowBlocks(stored["x"], stored["t"])
    return SimpleNamespace(
        stored=stored,
        mlp=mlp,
        theta=theta,
        likelihood=likelihood,
        rows=rows,
        prior=GaussianPrior(groups, np.atleast_1d(stored["alpha"])),
        exact=ExactHessian(mlp, theta, likelihood, rows),
        ggn=GGN(mlp, theta, likelihood, rows),
    )


def gaussian(net, curvature, posterior=DensePosterior):
    return posterior.from_curvature(net.theta, curvature, net.prior, net.likelihood.scale)


def evidence(net, posterior):
    fit = log_likelihood(net.mlp, net.theta, net.likelihood, net.rows)
    return log_marginal_likelihood(posterior, fit).total


@EACH
def test_weight_order_is_netlabs(name):
    net = load(name)
    n_hidden, n_out = int(net.stored["nhidden"]), net.mlp.n_outputs
    layers = [(net.stored["w1"].T, np.atleast_1d(net.stored["b1"]))]
    if n_hidden:
        w2 = net.stored["w2"].reshape(n_hidden, n_out)
        layers.append((w2.T, np.atleast_1d(net.stored["b2"])))
    np.testing.assert_array_equal(net.mlp.pack(layers), net.theta)


@EACH
def test_outputs_and_jacobian(name):
    net = load(name)
    tape = net.mlp.forward(net.theta, net.stored["x_test"])
    assert_close(tape.outputs, net.stored["a_test"], rtol=1e-12)
    J = net.stored["jac_test"]  # (n, P, K), or (n, P) for one output
    expected = J.transpose(0, 2, 1) if J.ndim == 3 else J[:, None, :]
    assert_close(jacobian(net.mlp, net.theta, tape).dense(), expected, rtol=1e-12)


@EACH
def test_energies(name):
    net = load(name)
    f = net.mlp.forward(net.theta, net.rows.X).outputs
    edata = net.likelihood.nll(net.rows.y, f).sum()
    np.testing.assert_allclose(edata, net.stored["edata"], rtol=1e-11)
    norms = 0.5 * net.prior.squared_norms(net.theta)
    np.testing.assert_allclose(norms, np.atleast_1d(net.stored["eprior"]), rtol=1e-12)
    total = net.likelihood.scale * edata + net.prior.energy(net.theta)
    np.testing.assert_allclose(total, net.stored["E"], rtol=1e-12)


@EACH
def test_gradient(name):
    net = load(name)
    tape = net.mlp.forward(net.theta, net.rows.X)
    signals = net.likelihood.gradient(net.rows.y, tape.outputs)
    data_part = net.likelihood.scale * vjp(net.mlp, net.theta, tape, signals)
    prior_part = net.prior.gradient(net.theta)
    # At a MAP the two parts cancel: their sum has the digits of the parts.
    atol = 1e-11 * np.abs(prior_part).max()
    np.testing.assert_allclose(data_part + prior_part, net.stored["grad"], rtol=1e-9, atol=atol)


@EACH
def test_exact_hessian(name):
    net = load(name)
    assert_close(net.exact.dense(), net.stored["hess_data"], rtol=1e-9)
    assert_close(net.exact.diagonal(), np.diag(net.stored["hess_data"]), rtol=1e-9)
    A = net.likelihood.scale * net.exact.dense() + np.diag(net.prior.precision)
    assert_close(A, net.stored["hess"], rtol=1e-9)


@EACH
def test_outer_products(name):
    net = load(name)
    assert_close(net.ggn.dense(), net.stored["ggn_data"], rtol=1e-9)
    assert_close(net.ggn.diagonal(), np.diag(net.stored["ggn_data"]), rtol=1e-9)


@EACH
def test_products(name):
    net, v = load(name), load(name).stored["v"]
    # No product is stored for glm_linear: that of its stored matrix stands in.
    assert ("hdotv" in net.stored) == (name != "glm_linear")
    expected = net.stored.get("hdotv", net.stored["hess_data"] @ v)
    assert_close(net.exact @ v, expected, rtol=1e-9)
    assert_close(net.ggn @ v, net.stored["ggn_data"] @ v, rtol=1e-9)


@GAUSSIANS
def test_gamma(name, form, posterior):
    net = load(name)
    gamma = gaussian(net, getattr(net, form), posterior).n_effective_params()
    np.testing.assert_allclose(gamma, np.atleast_1d(net.stored[f"gamma_{form}"]), rtol=1e-8)


@GAUSSIANS
def test_log_evidence(name, form, posterior):
    net = load(name)
    actual = evidence(net, gaussian(net, getattr(net, form), posterior))
    np.testing.assert_allclose(actual, net.stored[f"logev_laplace_{form}"], rtol=1e-8)


@GAUSSIANS
def test_predictive_variances_and_covariances(name, form, posterior):
    net = load(name)
    built = gaussian(net, getattr(net, form), posterior)
    mean, covariance = linearised(net.mlp, built, RowBlocks(net.stored["x_test"]))
    assert_close(mean, net.stored["a_test"], rtol=1e-12)
    variances = np.diagonal(covariance, axis1=1, axis2=2)
    np.testing.assert_allclose(variances, net.stored[f"var_a_{form}"], rtol=1e-8)
    stored = net.stored[f"cov_a_{form}"]  # (n, K, K), or (n, 1) for one output
    assert_close(covariance.reshape(stored.shape), stored)


@pytest.mark.parametrize("name", DEFINITE)
def test_covariance_of_the_weights(name):
    net = load(name)
    # Two inverses of one matrix agree to its condition number times rounding.
    rtol = max(1e-8, 1e-15 * np.linalg.cond(net.stored["hess"]))
    assert_close(gaussian(net, net.exact).covariance(), net.stored["invhess"], rtol=rtol)


def test_glm_evidence_is_the_published_one():
    net = load("glm_linear")
    for curvature in (net.exact, net.ggn):
        np.testing.assert_allclose(evidence(net, gaussian(net, curvature)), -23.4130, atol=5e-5)


def test_a_state_that_is_no_minimum_is_refused():
    net = load("demev2_demo")
    stored = net.stored["hess"]
    smallest = np.linalg.eigvalsh(0.5 * (stored + stored.T))[0]
    assert smallest < 0.0
    posterior = gaussian(net, net.exact)
    verbs = (
        lambda: posterior.logdet_precision,
        posterior.variance,
        posterior.n_effective_params,
        lambda: posterior.solve(net.theta),
        lambda: posterior.sample(1, np.random.default_rng(0)),
        lambda: linearised(net.mlp, posterior, RowBlocks(net.stored["x_test"])),
    )
    for verb in verbs:
        with pytest.raises(NotPositiveDefiniteError) as caught:
            verb()
        assert caught.value.smallest_eigenvalue == pytest.approx(smallest, rel=1e-8)


@EACH
def test_positive_part(name):
    """Negative eigenvalues of the data Hessian at zero, as Netlab's evidence has them."""
    net = load(name)
    part = PositivePart(net.exact)
    eigenvalues = net.stored["eig_data"]
    assert part.n_dropped_ == np.sum(eigenvalues < -1e-12 * np.abs(eigenvalues).max())
    built = gaussian(net, part)
    actual = evidence(net, built)
    np.testing.assert_allclose(actual, net.stored["logev_laplace_clipped"], rtol=1e-8)
    gamma = built.n_effective_params().sum()
    np.testing.assert_allclose(gamma, net.stored["raw_evstep_gamma"], rtol=1e-8)


def test_the_state_that_is_no_minimum_has_eigenvalues_to_drop():
    assert PositivePart(load("demev2_demo").exact).n_dropped_ > 0


def test_a_capped_group_is_among_the_files():
    assert load("multiout_groups").prior.precisions.max() == 1e6
