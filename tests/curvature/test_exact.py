"""The exact Hessian of two layers against PRML 5.93-5.95, entry by entry."""

import numpy as np
import pytest

from laplace_nn.network import rvjp
from tests import reference
from tests.cases import CASES
from tests.contracts import assert_close

TWO_LAYERS = [case for case in CASES if len(case.layer_sizes) == 3]


def by_the_book(case):
    """Σ_n of 5.93 (second layer), 5.94 (first layer) and 5.95 (one weight of either)."""
    mlp, rows = case.mlp, case.rows
    (W1, b1), (W2, b2) = mlp.unpack(case.theta)
    n_hidden = len(b1)
    H = np.zeros((mlp.n_params, mlp.n_params))
    weights = np.ones(rows.n_rows) if rows.sample_weight is None else rows.sample_weight
    # Where the weight of unit j (k) from input i (hidden unit j) stands; the bias's input is 1.
    first = np.column_stack([np.arange(W1.size).reshape(W1.shape), W1.size + np.arange(n_hidden)])
    start = W1.size + n_hidden
    second = np.column_stack(
        [start + np.arange(W2.size).reshape(W2.shape), start + W2.size + np.arange(len(b2))]
    )
    for n, weight in enumerate(weights):
        x = np.append(rows.X[n], 1.0)
        a = W1 @ rows.X[n] + b1
        h, h1, h2 = (function(a) for function in derivatives(case))
        f = W2 @ h + b2
        delta = case.likelihood.gradient(rows.y[n : n + 1], f[None])[0]
        M = reference.output_hessian(case.likelihood_name, f)
        z = np.append(h, 1.0)
        for k in range(len(b2)):
            for m in range(len(b2)):
                # 5.93: z_j z_j' M_kk'
                H[np.ix_(second[k], second[m])] += weight * M[k, m] * np.outer(z, z)
        for j in range(n_hidden):
            for g in range(n_hidden):
                # 5.94: x_i x_i' [h''_j I_jj' Σ_k w_kj δ_k + h'_j h'_j' Σ_kk' w_kj w_k'j' M_kk']
                term = h1[j] * h1[g] * (W2[:, j] @ M @ W2[:, g])
                term += (j == g) * h2[j] * (W2[:, j] @ delta)
                H[np.ix_(first[j], first[g])] += weight * term * np.outer(x, x)
            for k in range(len(b2)):
                # 5.95: x_i h'(a_j) {δ_k I_jj' + z_j' Σ_k' w_k'j M_kk'}; the bias has no I_jj'.
                inner = z * (W2[:, j] @ M[k])
                inner[j] += delta[k]
                block = weight * h1[j] * np.outer(x, inner)
                H[np.ix_(first[j], second[k])] += block
                H[np.ix_(second[k], first[j])] += block.T
    return H


def derivatives(case):
    activation = case.mlp.activation
    return activation.value, activation.first, activation.second


@pytest.mark.parametrize("case", TWO_LAYERS, ids=str)
def test_two_layers_term_by_term(case):
    assert_close(case.exact.dense(), by_the_book(case), rtol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_batched_r_passes_give_the_same_matrix(case):
    """PRML 5.96-5.111 on every unit vector at once: another way to the same numbers."""
    tape = case.mlp.forward(case.theta, case.rows.X)
    y, f = case.rows.y, tape.outputs
    signal = case.rows.weigh(case.likelihood.gradient(y, f))
    M = case.rows.weigh(case.likelihood.hessian(y, f))
    H = rvjp(case.mlp, case.theta, tape, signal, np.eye(case.mlp.n_params), M)
    assert_close(case.exact.dense(), H, rtol=1e-12)
