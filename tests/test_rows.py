"""Rows in blocks: every row once and in order, whatever the budget and the workers."""

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_array_equal

from laplace_nn.rows import RowBlocks

RNG = np.random.default_rng(0)
X, Y, WEIGHTS = RNG.normal(size=(11, 3)), RNG.normal(size=(11, 2)), RNG.uniform(size=11)
BUDGETS = [1, 16, 40, 88, 10_000]


def outer_product(block: RowBlocks) -> np.ndarray:
    return block.weigh(block.X).T @ block.y


def add_outer_product(block: RowBlocks, out: np.ndarray) -> None:
    out += outer_product(block)


def inputs(block: RowBlocks) -> np.ndarray:
    return block.X


@pytest.mark.parametrize("budget", BUDGETS)
def test_blocks_keep_to_the_budget_and_hold_every_row_once(budget):
    rows = RowBlocks(X, Y, WEIGHTS, memory_budget=budget)
    blocks = [rows.block(part) for part in rows.slices(row_bytes=8)]
    assert_array_equal(np.concatenate([block.X for block in blocks]), X)
    assert_array_equal(np.concatenate([block.y for block in blocks]), Y)
    assert_array_equal(np.concatenate([block.sample_weight for block in blocks]), WEIGHTS)
    assert max(block.n_rows for block in blocks) == min(11, max(1, budget // 8))


@pytest.mark.parametrize("budget", BUDGETS)
def test_sums_and_stacks_do_not_depend_on_the_budget(budget):
    rows = RowBlocks(X, Y, WEIGHTS, memory_budget=budget)
    expected = sum(w * np.outer(x, y) for x, y, w in zip(X, Y, WEIGHTS, strict=True))
    np.testing.assert_allclose(rows.sum(outer_product, 8), expected, rtol=1e-12)
    assert_array_equal(rows.concatenate(inputs, 8), X)


@pytest.mark.parametrize("budget", BUDGETS)
def test_sums_in_one_array_are_the_sums(budget):
    rows = RowBlocks(X, Y, WEIGHTS, memory_budget=budget)
    assert_array_equal(rows.accumulate(add_outer_product, (3, 2), 8), rows.sum(outer_product, 8))


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_change_nothing(backend):
    alone = RowBlocks(X, Y, WEIGHTS, memory_budget=24)
    with parallel_config(backend=backend):
        shared = RowBlocks(X, Y, WEIGHTS, memory_budget=24, n_jobs=2)
        assert_array_equal(shared.sum(outer_product, 8), alone.sum(outer_product, 8))
        assert_array_equal(
            shared.accumulate(add_outer_product, (3, 2), 8), alone.sum(outer_product, 8)
        )
        assert_array_equal(shared.concatenate(inputs, 8), X)


def shifted_count(block: RowBlocks) -> np.ndarray:
    return np.array([block.n_rows, block.X.sum()])


@pytest.mark.parametrize("cache", [8, 40, 10_000])
@pytest.mark.parametrize("budget", [24, 10_000])
def test_passes_are_cut_to_the_cache_and_add_up_to_the_same(monkeypatch, cache, budget):
    monkeypatch.setattr("laplace_nn.rows.CACHE_BUDGET", cache)
    rows = RowBlocks(X, Y, WEIGHTS, memory_budget=budget)
    seen = []
    total = rows.sum_passes(lambda block: seen.append(block.n_rows) or shifted_count(block), 8)
    np.testing.assert_allclose(total, [11.0, X.sum()], rtol=1e-12)
    assert max(seen) <= max(1, min(cache, budget) // 8)
    np.testing.assert_allclose(rows.sum_passes(outer_product, 8), rows.sum(outer_product, 8))


def test_workers_change_no_digit_of_passes():
    alone, shared = (RowBlocks(X, Y, WEIGHTS, memory_budget=24, n_jobs=n) for n in (1, 2))
    assert_array_equal(shared.sum_passes(outer_product, 8), alone.sum_passes(outer_product, 8))


def test_copies_are_the_weight_of_equal_rows_relative_to_the_own():
    twice = RowBlocks(X[[0, 1, 0, 2]], Y[[0, 1, 0, 2]], np.array([1.0, 2.0, 3.0, 0.0]))
    np.testing.assert_allclose(twice.copies, [4.0, 1.0, 4.0 / 3.0, 1.0])
    assert_array_equal(RowBlocks(X[[0, 0]], Y[:2]).copies, [1.0, 1.0])  # other targets


def test_number_of_workers_may_come_from_outside():
    rows = RowBlocks(X, Y, memory_budget=24, n_jobs=None)
    with parallel_config(backend="threading", n_jobs=2):
        assert_array_equal(rows.concatenate(inputs, 8), X)


def test_a_sum_does_not_write_into_the_rows():
    """A term may hand back a view of the data."""
    before = X.copy()
    rows = RowBlocks(X, memory_budget=8)
    np.testing.assert_allclose(rows.sum(inputs, 8), before.sum(axis=0, keepdims=True))
    assert_array_equal(X, before)


def test_sums_of_plain_numbers():
    rows = RowBlocks(X, memory_budget=24)
    assert rows.sum(lambda block: block.n_rows, 8) == 11


def test_rows_that_fit_one_block_are_that_block():
    rows = RowBlocks(X)
    (part,) = rows.slices(8)
    assert rows.block(part) is rows


def test_rows_may_live_in_a_file(tmp_path):
    on_disk = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=X.shape)
    on_disk[:] = X
    rows = RowBlocks(on_disk, Y, memory_budget=24)
    expected = RowBlocks(X, Y, memory_budget=24).sum(outer_product, 8)
    assert_array_equal(rows.sum(outer_product, 8), expected)


def test_weights_multiply_every_entry_of_a_row():
    values = RNG.normal(size=(11, 2, 2))
    expected = np.array([w * v for w, v in zip(WEIGHTS, values, strict=True)])
    assert_array_equal(RowBlocks(X, Y, WEIGHTS).weigh(values), expected)
    assert RowBlocks(X, Y).weigh(values) is values


def test_total_weight():
    assert RowBlocks(X).total_weight == 11.0
    np.testing.assert_allclose(RowBlocks(X, Y, WEIGHTS).total_weight, sum(WEIGHTS))


@pytest.mark.parametrize("part", [{"y": Y[:-1]}, {"sample_weight": WEIGHTS[:-1]}])
def test_numbers_of_rows_that_differ_are_refused(part):
    with pytest.raises(ValueError, match="must have as many rows as X, 11; got 10"):
        RowBlocks(X, **part)


def test_targets_that_are_absent_are_missed():
    with pytest.raises(ValueError, match="carry no targets"):
        _ = RowBlocks(X).targets
