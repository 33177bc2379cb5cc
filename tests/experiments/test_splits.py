"""The sets and their splits."""

import numpy as np
import pytest

from experiments.common import splits
from experiments.robot_arm import run as robot_arm

ALL_SETS = [(name, "regression") for name in splits.REGRESSION_SETS]
ALL_SETS += [(name, "classification") for name in splits.CLASSIFICATION_SETS]
SHAPES = {
    "yacht": (308, 6),
    "energy": (768, 8),
    "concrete": (1030, 8),
    "wine": (1599, 11),
    "australian": (690, 14),
    "breast_cancer": (683, 10),
    "glass": (214, 9),
    "ionosphere": (351, 34),
}


def stored(name):
    with np.load(splits.DATA / f"{name}.npz", allow_pickle=False) as archive:
        return dict(archive)


@pytest.mark.parametrize(("name", "task"), ALL_SETS)
def test_sets_are_whole(name, task):
    data = splits.load(name, task)
    assert data.X.shape == SHAPES[name]
    assert data.y.shape == SHAPES[name][:1]
    assert np.isfinite(data.X).all()
    assert np.isfinite(data.y).all()
    assert len(data.splits) == (20 if task == "regression" else 10)


@pytest.mark.parametrize(("name", "task"), ALL_SETS)
def test_splits_are_disjoint_and_complete(name, task):
    data, arrays = splits.load(name, task), stored(name)
    for split in data.splits:
        parts = [split.train, split.test]
        if task == "classification":
            parts.append(arrays["valid_idx"][split.number])
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(data.y)))


@pytest.mark.parametrize("name", splits.REGRESSION_SETS)
def test_protocol_regenerates_the_regression_splits(name):
    data = splits.load(name, "regression")
    drawn = splits.standard_test_rows(len(data.y))
    assert np.array_equal(drawn, [split.test for split in data.splits])


@pytest.mark.parametrize("name", splits.REGRESSION_SETS)
def test_gap_splits_are_the_stored_ones_and_leave_a_gap(name):
    X, _ = splits.load_rows(name)
    gaps = splits.gap_test_rows(X)
    assert np.array_equal(gaps, stored(name)["gap_test_idx"])
    for feature, test in enumerate(gaps):
        rest = np.delete(X[:, feature], test)
        below, above = rest <= X[test, feature].min(), rest >= X[test, feature].max()
        assert np.all(below | above)
        assert abs(len(test) - len(X) / 3) < 1


@pytest.mark.parametrize("name", splits.CLASSIFICATION_SETS)
def test_protocol_regenerates_the_classification_splits(name):
    data = splits.load(name, "classification")
    for split in data.splits:
        train, test, _ = splits.stratified_rows(data.y, split.seed)
        assert np.array_equal(train, split.train)
        assert np.array_equal(test, split.test)


def test_a_given_folder_comes_first(tmp_path):
    arrays = stored("yacht")
    np.savez(tmp_path / "yacht.npz", **{**arrays, "y": arrays["y"] + 1.0})
    np.savez(tmp_path / "other.npz", **arrays)
    assert np.array_equal(splits.load("yacht", "regression", tmp_path).y, arrays["y"] + 1.0)
    assert np.array_equal(splits.load_rows("yacht", tmp_path)[1], arrays["y"] + 1.0)
    assert splits.load("other", "regression", tmp_path).name == "other"
    assert splits.load("energy", "regression", tmp_path).name == "energy"


@pytest.mark.parametrize(
    ("name", "task", "sentence"),
    [
        ("boston", "regression", "open licence.*--data"),
        ("glass", "regression", "use uci_classification"),
        ("yacht", "classification", "no classification set"),
    ],
)
def test_errors_of_the_loader(name, task, sentence):
    with pytest.raises(splits.DataError, match=sentence):
        splits.load(name, task)


@pytest.mark.parametrize("name", ["glass", "robot_arm_regenerated"])
def test_gap_splits_are_for_one_target(name):
    with pytest.raises(splits.DataError, match=f"{name} is no regression set"):
        splits.load_rows(name)


def test_robot_arm_is_whole():
    arm = robot_arm.load()
    for part in ("train", "test"):
        X, y = arm[f"X_{part}"], arm[f"y_{part}"]
        assert X.shape == y.shape == (200, 2)
    first, both = arm["X_test"][:, 0], arm["X_test"].sum(axis=1)
    angles = np.array([first, both])
    noiseless = [2.0, 1.3] @ np.cos(angles), [2.0, 1.3] @ np.sin(angles)
    assert arm["y_test_noiseless"] == pytest.approx(np.transpose(noiseless), abs=1e-12)
    noise = (arm["y_test"] - arm["y_test_noiseless"]).std()
    assert noise == pytest.approx(float(arm["noise_std"]), rel=0.1)
