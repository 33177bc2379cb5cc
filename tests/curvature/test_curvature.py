"""Curvatures against their dense twins."""

import numpy as np
import pytest
from joblib import parallel_config

from laplace_nn.curvature import GGN, ExactHessian, PositivePart
from laplace_nn.curvature.base import MissingCapabilityError, require
from laplace_nn.likelihoods import Gaussian
from laplace_nn.network import MLP
from laplace_nn.posterior import DensePosterior, KernelPosterior
from laplace_nn.priors import single
from laplace_nn.rows import RowBlocks
from tests import reference
from tests.cases import CASES
from tests.contracts import assert_close, check_curvature

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)

#: Every curvature with its dense twin, from a case.
CURVATURES = {
    "ggn": lambda case: (case.ggn, case.ggn_twin),
    "exact": lambda case: (case.exact, case.exact_twin),
    "positive-part": lambda case: (
        PositivePart(case.exact),
        reference.positive_part(case.exact_twin),
    ),
}


@EACH_CASE
@pytest.mark.parametrize("name", CURVATURES)
def test_contract(name, case):
    check_curvature(*CURVATURES[name](case))


@pytest.mark.parametrize("case", [c for c in CASES if len(c.layer_sizes) == 2], ids=str)
def test_without_hidden_layers_outer_products_are_the_exact_hessian(case):
    assert_close(case.ggn.dense(), case.exact.dense(), rtol=1e-13)


@pytest.mark.parametrize("case", [c for c in CASES if len(c.layer_sizes) > 2], ids=str)
def test_with_hidden_layers_the_two_differ(case):
    """Else every test of one against its twin would also be one of the other."""
    difference = np.abs(case.ggn_twin - case.exact_twin).max()
    assert difference > 1e-3 * np.abs(case.exact_twin).max()


@EACH_CASE
def test_outer_products_are_never_negative(case):
    eigenvalues = np.linalg.eigvalsh(case.ggn.dense())
    assert eigenvalues[0] > -1e-13 * eigenvalues[-1]


@EACH_CASE
def test_factor_squares_to_the_outer_products(case):
    for budget in (2**27, 1):
        rows = RowBlocks(case.rows.X, case.rows.y, case.rows.sample_weight, budget)
        F = GGN(case.mlp, case.theta, case.likelihood, rows).factor().dense()
        F = F.reshape(-1, case.mlp.n_params)
        assert_close(F.T @ F, case.ggn_twin)


@pytest.mark.parametrize("curvature", [GGN, ExactHessian])
def test_noise_precision_is_left_out(curvature):
    case = next(case for case in CASES if case.likelihood_name == "gaussian")
    quiet = curvature(case.mlp, case.theta, Gaussian(1.0), case.rows)
    loud = curvature(case.mlp, case.theta, Gaussian(1e4), case.rows)
    np.testing.assert_array_equal(quiet.dense(), loud.dense())


@pytest.mark.parametrize("curvature", [GGN, ExactHessian])
@pytest.mark.parametrize("case", [CASES[5], CASES[8]], ids=str)
def test_weight_two_is_the_row_twice(curvature, case):
    X, y = case.rows.X, case.rows.y
    weights = np.arange(len(X)) % 3.0
    times = weights.astype(int)
    weighted = RowBlocks(X, y, weights)
    repeated = RowBlocks(np.repeat(X, times, axis=0), np.repeat(y, times, axis=0))
    one = curvature(case.mlp, case.theta, case.likelihood, weighted)
    other = curvature(case.mlp, case.theta, case.likelihood, repeated)
    assert_close(one.dense(), other.dense(), rtol=1e-13)
    assert_close(one @ case.theta, other @ case.theta, rtol=1e-13)


def test_processes_give_the_same_matrix():
    """The battery's workers are threads; a curvature also has to survive pickling."""
    case = CASES[5]
    rows = RowBlocks(case.rows.X, case.rows.y, case.rows.sample_weight, 1, n_jobs=2)
    alone = RowBlocks(case.rows.X, case.rows.y, case.rows.sample_weight, 1)
    with parallel_config(backend="loky"):
        shared = ExactHessian(case.mlp, case.theta, case.likelihood, rows).dense()
    expected = ExactHessian(case.mlp, case.theta, case.likelihood, alone).dense()
    np.testing.assert_array_equal(shared, expected)


@EACH_CASE
def test_positive_part_says_what_it_dropped(case):
    eigenvalues = np.linalg.eigvalsh(case.exact.dense())
    part = PositivePart(case.exact)
    floor = 1e-12 * np.abs(eigenvalues).max()
    assert part.n_dropped_ == np.sum(eigenvalues < -floor)
    np.testing.assert_allclose(part.smallest_eigenvalue_, eigenvalues[0], atol=floor)
    assert np.linalg.eigvalsh(part.dense())[0] > -floor


def test_some_case_has_negative_eigenvalues_to_drop():
    assert max(PositivePart(case.exact).n_dropped_ for case in CASES) > 3


def test_a_missing_capability_is_a_sentence_with_two_remedies():
    case = CASES[4]
    for build in (case.exact, PositivePart(case.exact)):
        with pytest.raises(MissingCapabilityError, match="needs factor") as caught:
            KernelPosterior.from_curvature(case.theta, build, case.prior, 1.0)
        sentence = str(caught.value)
        assert "KernelPosterior" in sentence and type(build).__name__ in sentence
        other = f"DensePosterior with {type(build).__name__}"
        assert other in sentence and "KernelPosterior with GGN" in sentence


def test_something_that_is_no_curvature_is_refused():
    mlp = MLP((1, 1))
    with pytest.raises(MissingCapabilityError, match="ndarray does not offer"):
        DensePosterior.from_curvature(np.zeros(2), np.eye(2), single(mlp), 1.0)
    with pytest.raises(MissingCapabilityError, match="dense and factor"):
        require(np.eye(2), {"factor", "dense"}, "Somebody")
    with pytest.raises(MissingCapabilityError, match="Somebody with KFAC, or DensePosterior"):
        require(GGN, {"kronecker"}, "Somebody")
