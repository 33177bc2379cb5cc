"""The report: one file, with what was found in it and nothing from elsewhere."""

import base64
import re

import numpy as np
import pandas as pd
import pytest

from laplace_nn import LaplaceMLPRegressor
from laplace_nn.report import report
from tests.displays.fits import classification, regression

KINDS = {
    "one input": lambda: regression(),
    "two targets": lambda: regression(n_features=2, n_targets=2),
    "two classes": lambda: classification(),
    "three classes": lambda: classification(n_features=3, n_classes=3),
}


def read(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held_out", [False, True])
def test_the_pictures_that_fit_the_task_are_in_it_and_nothing_is_fetched(kind, held_out, tmp_path):
    model, X, y = KINDS[kind]()
    rows = {"X_test": X[::2], "y_test": y[::2]} if held_out else {}
    text = read(report(model, X, y, tmp_path / "report.html", **rows))
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    shown = {"one input": "The regression and what", "two classes": "The decision, and where"}
    for name, title in shown.items():
        assert any(found.startswith(title) for found in titles) == (name == kind)
    assert ("Do the probabilities come true?" in titles) == (kind.endswith("classes"))
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(images) == len(titles) - 3  # summary, diagnostics and recipe have none
    assert all(base64.b64decode(image)[:4] == b"\x89PNG" for image in images)
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert ("held-out rows" in text) == held_out
    assert ("each left out by one Newton step" in text) != held_out


def test_the_figures_are_the_estimators(tmp_path):
    model, X, y = regression()
    text = read(report(model, X, y, tmp_path / "report.html", target_name="dose <mg>"))
    assert "<h1>dose &lt;mg&gt;: a regression by LaplaceMLPRegressor</h1>" in text
    assert f"{model.log_marginal_likelihood_:.2f} nats" in text
    assert f"{np.sum(model.n_effective_params_):.1f} of {len(model.theta_)}" in text
    rmse = np.sqrt(np.mean((model.predict(X) - y) ** 2))
    assert f"RMSE {rmse:.4g}" in text
    call = re.search(r"model = LaplaceMLPRegressor\((.*)\)\.fit", text).group(1)
    assert set(call.split(", ")) == {*("hidden_layer_sizes=(3,)", "tol=0.1", "random_state=0")}


def test_the_temperature_of_classes_is_told(tmp_path):
    model, X, y = classification()
    line = f"temperature of the probabilities</th><td>{model.temperature_:.3g}</td>"
    assert line in read(report(model, X, y, tmp_path / "classes.html"))
    assert "temperature" not in read(report(*regression(), tmp_path / "numbers.html"))


def test_long_tails_are_told_by_name(tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"age": rng.normal(size=40), "income": np.exp(2.0 * rng.normal(size=40))})
    y = X["age"] + np.log(X["income"]) + 0.1 * rng.normal(size=40)
    settings = {"n_restarts": 1, "random_state": 0}
    for standardize, told in (("auto", True), (True, False)):
        model = LaplaceMLPRegressor((3,), standardize=standardize, **settings).fit(X, y)
        text = read(report(model, X, y, tmp_path / f"{told}.html"))
        line = "<tr><th>inputs with long tails, drawn in</th><td>income</td></tr>"
        assert (line in text) == told


def test_findings_are_told_in_their_sentences(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 2)), rng.normal(size=12)
    with pytest.warns(UserWarning):
        model = LaplaceMLPRegressor((6,), prior_precision=1e-4, n_restarts=1, random_state=0)
        model.fit(X, y)
    found = model.diagnostics_.findings
    assert found
    text = read(report(model, X, y, tmp_path / "report.html"))
    assert text.count('<p class="bad">') == len(found)
    assert "Nothing was found" not in text
    assert "Nothing was found" in read(report(*regression(), tmp_path / "other.html"))


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    model, X, y = regression()
    with pytest.raises(ValueError, match="X_test and y_test go together"):
        report(model, X, y, tmp_path / "report.html", X_test=X)
    with pytest.raises(ValueError, match=r"left out 40 rows one by one.*; got 10 training rows"):
        report(model, X[:10], y[:10], tmp_path / "report.html")
    with pytest.raises(OSError):
        report(model, X, y, tmp_path / "nowhere" / "report.html")
    assert not list(tmp_path.iterdir())
