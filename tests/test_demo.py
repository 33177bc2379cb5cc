"""What the demo shows, in pieces and once as a whole at a reduced size."""

import numpy as np
import pytest
from PIL import Image

from laplace_nn import demo

SMALL = demo.Settings(hidden=2, n_restarts=1, n_frames=5, n_grid=15, max_rows=100)


@pytest.fixture(scope="module")
def notes():
    return demo.notes_problem()


@pytest.fixture(scope="module")
def classifier(notes):
    return demo._fit(notes, demo.Settings())


class TestTwoClasses:
    def test_is_seeded(self):
        first, second = (demo.two_classes(np.random.default_rng(3)) for _ in range(2))
        assert first[0].shape == (100, 2)
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], np.repeat([0, 1], 50))

    def test_has_the_moments_of_the_notes(self):
        X, y = demo.two_classes(np.random.default_rng(0), repeats=2000)
        clouds = [(X[:60_000], (0.2, 0.4)), (X[60_000:100_000], (0.8, 0.8))]
        for cloud, mean in clouds:
            np.testing.assert_allclose(cloud.mean(axis=0), mean, atol=0.005)
            np.testing.assert_allclose(np.cov(cloud.T), [[0.04, -0.02], [-0.02, 0.02]], atol=1e-3)
        np.testing.assert_allclose(X[y == 1].mean(axis=0), (0.5, 0.7), atol=0.005)
        np.testing.assert_allclose(np.cov(X[y == 1].T), [[0.02, -0.03], [-0.03, 0.1]], atol=2e-3)

    def test_the_network_learns_them(self, classifier, notes):
        assert classifier.mlp_.layer_sizes == (2, 8, 1)
        assert classifier.log_marginal_likelihood_ > -50.0  # a dead network: 100 ln ½ = -69.3
        assert classifier.score(notes.X_test, notes.y_test) > 0.88
        far = np.array([[-0.8, -0.8], [1.9, 1.9]])
        sure = np.abs(classifier.map_proba(far)[:, 1] - 0.5)
        moderate = np.abs(classifier.predict_proba(far)[:, 1] - 0.5)
        assert np.all(moderate < sure)


class TestPictures:
    def test_decision(self, classifier, notes):
        figure = demo.draw_decision(classifier, notes, SMALL)
        left, right, bar = figure.axes
        assert left.get_title().startswith("MAP")
        assert right.get_title().startswith("predictive")
        assert bar.get_ylabel() == "probability of class 1"
        for axes in (left, right):
            assert axes.get_aspect() == 1.0
            low, high = np.transpose([axes.get_xlim(), axes.get_ylim()])
            assert np.all(low < notes.X.min(axis=0) - 0.3)
            assert np.all(high > notes.X.max(axis=0) + 0.3)

    def test_animation(self, classifier, notes, tmp_path):
        demo.draw_training(tmp_path / "training.gif", classifier, notes, SMALL)
        with Image.open(tmp_path / "training.gif") as picture:
            assert picture.n_frames >= 4
            first = np.asarray(picture.convert("RGB"), dtype=float)
            picture.seek(picture.n_frames - 1)
            last = np.asarray(picture.convert("RGB"), dtype=float)
        assert np.mean(np.any(first != last, axis=2)) > 0.2


class TestTable:
    def test_columns_are_aligned(self):
        lines = [{"data": "a", "error": "1"}, {"error": "12345.6"}]
        assert demo.format_table(lines).splitlines() == [
            "data    error",
            "----  -------",
            "a           1",
            "      12345.6",
        ]

    def test_baseline_noise_is_that_of_its_training_residuals(self):
        problem = demo.real_problems(SMALL)[0]
        found, sd = demo.fit_with_sklearn(problem)
        assert sd is not None
        expected = -np.log(sd) - 0.5 * np.log(2 * np.pi) - 0.5 * (found["rmse"] / sd) ** 2
        assert found["log_likelihood"] == pytest.approx(expected)

    def test_splits_are_fixed(self):
        for first, second in zip(demo.real_problems(SMALL), demo.real_problems(SMALL), strict=True):
            np.testing.assert_array_equal(first.X_test, second.X_test)
            assert len(first.y_test) == 25


def test_whole_demo(tmp_path, capsys):
    result = demo.run(tmp_path, SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(result.files)
    lines = result.table.splitlines()
    assert [line.split()[0] for line in (lines[2], lines[4], lines[6])] == [
        "two",
        "diabetes",
        "breast",
    ]
    assert all("sklearn MLP" in line for line in (lines[3], lines[5], lines[7]))
    for name in ("α", "noise sd", "γ of P", "log evidence", "error", "log lik."):
        assert name in lines[0]
    assert "training residuals" in result.table
    assert "breast cancer" in capsys.readouterr().err
