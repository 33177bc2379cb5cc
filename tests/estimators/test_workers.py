"""Starts side by side: how many at a time, and that it changes nothing."""

import joblib
import pytest
from numpy.testing import assert_array_equal

from laplace_nn.estimators import climbs, machine
from laplace_nn.estimators.machine import ONE_THREAD_SIZE, WORTH_A_WORKER, n_workers
from tests.estimators.problems import KINDS, build, fitted, outputs_of, table

EACH_KIND = pytest.mark.parametrize("kind", KINDS)
BOTH = pytest.mark.parametrize("kind", ["regressor", "classifier"])
SMALL, DEAR = ONE_THREAD_SIZE - 1, WORTH_A_WORKER


@EACH_KIND
def test_workers_change_nothing(kind):
    X, y = table(kind)
    with joblib.parallel_config(backend="threading"):
        threads = build(kind, n_jobs=2).fit(X, y)
    assert_array_equal(threads.theta_, fitted(kind).theta_)
    assert_array_equal(outputs_of(threads, X), outputs_of(fitted(kind), X))
    assert threads.log_marginal_likelihood_ == fitted(kind).log_marginal_likelihood_


@BOTH
def test_processes_change_nothing(kind):
    X, y = table(kind)
    model = build(kind, n_jobs=2).fit(X, y)
    assert_array_equal(model.theta_, fitted(kind).theta_)
    assert_array_equal(outputs_of(model, X), outputs_of(fitted(kind), X))
    assert [e["event"] for e in model.history_] == [e["event"] for e in fitted(kind).history_]


@pytest.fixture
def four_cores(monkeypatch):
    real = joblib.effective_n_jobs
    monkeypatch.setattr(machine, "effective_n_jobs", lambda n: 4 if n == -1 else real(n))


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("n_jobs", "n_tasks", "size", "cost", "expected"),
    [
        ("auto", 2, SMALL, DEAR, 2),
        ("auto", 9, SMALL, DEAR, 4),
        ("auto", 1, SMALL, DEAR, 1),
        ("auto", 2, SMALL, 0.9 * DEAR, 1),  # over before a worker has begun
        ("auto", 2, ONE_THREAD_SIZE, DEAR, 1),  # BLAS has the cores
        (None, 9, SMALL, DEAR, 1),
        (3, 9, ONE_THREAD_SIZE, 0.0, 3),
        (-1, 9, ONE_THREAD_SIZE, 0.0, 4),
    ],
)
def test_workers_are_as_many_as_asked_for_or_as_pay(n_jobs, n_tasks, size, cost, expected):
    assert n_workers(n_jobs, n_tasks, size, cost) == expected


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize("n_jobs", ["auto", None])
def test_a_context_says_how_many(n_jobs):
    with joblib.parallel_config(n_jobs=2):
        assert n_workers(n_jobs, 9, SMALL, 0.0) == 2


def test_inside_a_worker_there_is_one():
    call = joblib.delayed(n_workers)("auto", 9, SMALL, DEAR)
    with joblib.parallel_config(backend="threading"):
        assert joblib.Parallel(n_jobs=2)([call, call]) == [1, 1]
    assert joblib.Parallel(n_jobs=2)([call, call]) == [1, 1]


def test_the_default_takes_workers_where_a_start_takes_long(monkeypatch):
    asked = []

    def parallel(n_jobs, return_as):
        asked.append(n_jobs)
        return joblib.Parallel(n_jobs=1, return_as=return_as)

    X, y = table("regressor")
    monkeypatch.setattr(climbs, "Parallel", parallel)
    monkeypatch.setattr(machine, "effective_n_jobs", lambda n: 2)
    build("regressor").fit(X, y)
    assert asked == []
    monkeypatch.setattr(machine, "WORTH_A_WORKER", 0.0)
    model = build("regressor").fit(X, y)
    assert asked == [2, 2]  # the ways, and the trainings that end them
    assert_array_equal(model.theta_, fitted("regressor").theta_)


@BOTH
@pytest.mark.parametrize("n_jobs", [0, "all", 1.5])
def test_other_numbers_of_workers_are_refused(n_jobs, kind):
    with pytest.raises(ValueError, match='n_jobs must be "auto", None or an integer other than 0'):
        build(kind, n_jobs=n_jobs).fit(*table(kind))
