"""A user's table to arrays and back."""

import gzip

import numpy as np
import pandas as pd
import pytest

from laplace_nn.tables import (
    Inputs,
    TableError,
    TableModel,
    choose_task,
    labels,
    numbers,
    predictions,
    read_table,
    scores,
)

ROWS = "size,kind,ok,y\n1.5,b,True,0.1\n2,a,False,0.2\n-3e2, c ,True,0.4\n"


@pytest.fixture
def table(tmp_path):
    def read(text):
        path = tmp_path / "data.csv"
        path.write_text(text, encoding="utf-8")
        return read_table(path)

    return read


def repeated(values, n_rows, column="y"):
    return pd.DataFrame({column: [str(values[i % len(values)]) for i in range(n_rows)]}, dtype=str)


class TestReading:
    def test_every_cell_is_text(self, table):
        frame = table("code,n\n007,1\n010,2\n")
        assert frame["code"].tolist() == ["007", "010"]
        assert numbers(frame, "n").tolist() == [1.0, 2.0]

    def test_byte_order_mark_spaces_and_quotes(self, table):
        frame = table('\ufeff a , b\n"1, 2",3\n')
        assert frame.columns.tolist() == ["a", "b"]
        assert labels(frame, "a").tolist() == ["1, 2"]

    def test_numbers_are_read_to_the_last_digit(self, table):
        values = [0.1 + 0.2, 1e-300, 2.0**-1074, 123456789.123456789]
        frame = table("a\n" + "\n".join(map(repr, values)))
        assert numbers(frame, "a").tolist() == values

    def test_compressed(self, tmp_path):
        path = tmp_path / "data.csv.gz"
        path.write_bytes(gzip.compress(ROWS.encode()))
        assert len(read_table(path)) == 3

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("", "not a comma-separated table"),
            ("a,b\n", "no rows"),
            ("a,b\n1,2,3\n", "not a comma-separated table"),
            ("a,b\n1,2\n1,2,3\n", "not a comma-separated table"),
            ("a,b,a\n1,2,3\n", "more than one column named 'a'"),
            ("a,b, a \n1,2,3\n", "more than one column named 'a'"),
        ],
    )
    def test_refused(self, table, text, sentence):
        with pytest.raises(TableError, match=sentence):
            table(text)

    def test_unreadable(self, tmp_path):
        with pytest.raises(TableError, match="No such file"):
            read_table(tmp_path / "none.csv")
        with pytest.raises(TableError, match="cannot read"):
            read_table(tmp_path)
        (tmp_path / "noise.csv").write_bytes(bytes(range(256)) * 4)
        with pytest.raises(TableError, match="not a comma-separated table"):
            read_table(tmp_path / "noise.csv")


class TestColumns:
    @pytest.mark.parametrize("cell", ["", "NA", "nan", "   "])
    def test_missing_values_name_the_column_and_row(self, table, cell):
        with pytest.raises(TableError, match=r"'b' has 1 missing value\(s\), the first in row 2"):
            numbers(table(f"a,b\n1,2\n1,{cell}\n"), "b")

    def test_text_names_the_column_and_row(self, table):
        with pytest.raises(TableError, match=r"'b' must hold numbers but has text in row 2: '3x'"):
            numbers(table("a,b\n1,2\n1,3x\n"), "b")

    def test_infinite(self, table):
        with pytest.raises(TableError, match=r"'a' .* an infinite number in row 1: 'inf'"):
            numbers(table("a\ninf\n1\n"), "a")

    def test_unknown_column_lists_the_others(self, table):
        with pytest.raises(TableError, match="no column 'z'; the table has 'size', 'kind', 'ok'"):
            numbers(table(ROWS), "z")

    def test_labels_are_integers_or_text(self, table):
        frame = table("a,b,c\n1,x,0.5\n2.0,y,1\n")
        assert labels(frame, "a").tolist() == [1, 2]
        assert labels(frame, "b").tolist() == ["x", "y"]
        assert labels(frame, "c").tolist() == ["0.5", "1"]


class TestTask:
    @pytest.mark.parametrize(
        ("values", "n_rows", "task"),
        [
            (["yes", "no"], 4, "classification"),
            ([True, False], 4, "classification"),
            ([0, 1], 10, "classification"),
            ([0, 1], 9, "regression"),
            (range(10), 50, "classification"),
            (range(11), 500, "regression"),
            ([0.5, 1.5], 100, "regression"),
        ],
    )
    def test_from_the_target(self, values, n_rows, task):
        assert choose_task(repeated(list(values), n_rows), "y")[0] == task

    def test_a_stray_word_in_a_measured_target(self):
        frame = repeated([*range(1, 20), "n.k."], 20)
        with pytest.raises(TableError, match=r"'y' .* text in row 20: 'n\.k\.'"):
            choose_task(frame, "y")


class TestInputs:
    def test_numbers_two_categories_and_more(self, table):
        frame = table(ROWS)
        inputs = Inputs.learn(frame, "y")
        assert inputs.kinds == {"size": "numeric", "kind": "categorical", "ok": "categorical"}
        expected = [[1.5, 0, 1, 0, 1], [2.0, 1, 0, 0, 0], [-300.0, 0, 0, 1, 1]]
        encoded = inputs.encode(frame)
        assert encoded.to_numpy().tolist() == expected
        assert encoded.columns.tolist() == ["size", "kind=a", "kind=b", "kind=c", "ok=True"]

    def test_means_the_same_whatever_rows_a_file_holds(self, table):
        inputs = Inputs.learn(table("code,y\n01,1\nw,2\nx,3\n"), "y")
        assert inputs.encode(table("code\n01\n")).to_numpy().tolist() == [[1, 0, 0]]
        words = Inputs.learn(table("ok,y\ntrue,1\nfalse,2\nmaybe,3\n"), "y")
        assert words.encode(table("ok\ntrue\n")).to_numpy().tolist() == [[0, 0, 1]]

    def test_ignores_other_columns_and_their_order(self, table):
        inputs = Inputs.learn(table("a,b,y\n1,2,3\n4,5,6\n"), "y")
        assert inputs.encode(table("new,b,a\n,8,7\n")).to_numpy().tolist() == [[7.0, 8.0]]

    def test_constant_columns(self, table):
        inputs = Inputs.learn(table("a,b,y\n1,x,3\n1,x,6\n"), "y")
        assert inputs.encode(table("a,b\n2,x\n")).to_numpy().tolist() == [[2.0, 1.0]]

    def test_text_keys_are_left_out_with_a_warning(self):
        frame = pd.DataFrame({"key": [f"k{i}" for i in range(12)], "id": list(map(str, range(12)))})
        frame["y"] = frame["id"]
        with pytest.warns(UserWarning, match="left out.*key"):
            inputs = Inputs.learn(frame, "y")
        assert inputs.left_out == ("key",)
        assert inputs.kinds == {"id": "numeric"}

    def test_a_stray_word_in_a_measured_column(self):
        frame = pd.DataFrame({"a": [*map(str, range(30)), "3,5"], "y": ["1"] * 31})
        with pytest.raises(TableError, match="'a' must hold numbers but has text in row 31"):
            Inputs.learn(frame, "y")

    def test_few_values_with_a_word_are_categories(self):
        frame = pd.DataFrame({"rooms": ["1", "2", "3", "4+"] * 5, "y": ["1"] * 20})
        assert Inputs.learn(frame, "y").kinds == {"rooms": "categorical"}

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("size,kind\n1,a\n", "no column 'ok'"),
            ("size,kind,ok\nbig,a,True\n", "'size' must hold numbers but has text in row 1: 'big'"),
            ("size,kind,ok\n1,a,True\n1,d,True\n", r"'kind' has a new category in row 2: 'd'"),
            ("size,kind,ok\n1,,True\n", "'kind' has 1 missing"),
        ],
    )
    def test_refused_at_prediction(self, table, text, sentence):
        inputs = Inputs.learn(table(ROWS), "y")
        with pytest.raises(TableError, match=sentence):
            inputs.encode(table(text))

    def test_refused_when_learning(self, table):
        with pytest.raises(TableError, match="no column is left"):
            Inputs.learn(table("y\n1\n"), "y")
        with pytest.raises(TableError, match="no column 'z'"):
            Inputs.learn(table(ROWS), "z")
        with pytest.raises(TableError, match="'a' has 1 missing"):
            Inputs.learn(table("a,y\n1,1\n,2\n"), "y")


class Halfway:
    """An estimator whose predictions are known beforehand."""

    classes_ = np.array(["no", "yes"])

    def predict(self, X, return_std=False):
        mean = np.asarray(X)[:, 0]
        return (mean, np.ones(len(X))) if return_std else mean

    def predict_interval(self, X, coverage):
        assert coverage == 0.95
        mean = self.predict(X)
        return np.stack([mean - 2, mean + 2], axis=1)

    def predict_proba(self, X):
        return np.stack([1 - X[:, 0], X[:, 0]], axis=1)

    def log_predictive_density(self, X, y):
        return -np.ones(len(X))


def test_predictions_of_numbers(table):
    frame = table("x,y\n1,0\n4,0\n")
    model = TableModel(Halfway(), Inputs.learn(frame, "y"), "y", "regression")
    shown = model.predict(frame)
    assert shown.columns.tolist() == ["mean", "std", "lower_95", "upper_95"]
    assert shown.to_numpy().tolist() == [[1, 1, -1, 3], [4, 1, 2, 6]]


def test_predictions_of_classes():
    shown = predictions(Halfway(), np.array([[0.25], [0.75]]), "classification")
    assert shown["predicted"].tolist() == ["no", "yes"]
    assert shown["probability_yes"].tolist() == [0.25, 0.75]
    assert shown["probability_no"].tolist() == [0.75, 0.25]


def test_scores():
    X = np.array([[1.0], [2.0]])
    found = scores(Halfway(), X, np.array([1.0, 4.0]), "regression")
    assert found == {"rmse": pytest.approx(np.sqrt(2.0)), "log_likelihood": -1.0}
    found = scores(Halfway(), X, np.array([1.0, 4.0]), "classification")
    assert found == {"error_rate": 0.5, "log_likelihood": -1.0}
