"""The classifier: labels, links and moderated probabilities."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn.datasets import make_moons
from sklearn.linear_model import LogisticRegression

from laplace_nn import LaplaceMLPClassifier
from laplace_nn.temperature import best_temperature, tempered
from tests.estimators.problems import classifier, inputs, label_table

EACH_COUNT = pytest.mark.parametrize("n_classes", [2, 3, 4])


@cache
def fitted(n_classes, link="auto", **settings):
    return classifier(link=link, **settings).fit(*label_table(n_classes))


def new_inputs():
    return 1.5 * inputs(9)[::-1] + 0.1


@EACH_COUNT
def test_string_labels(n_classes):
    X, y = label_table(n_classes)
    model = fitted(n_classes)
    assert model.classes_.tolist() == sorted(set(y))
    assert set(model.predict(X)) <= set(y)
    assert model.score(X, y) > 1.5 / n_classes
    assert model.mlp_.n_outputs == (1 if n_classes == 2 else n_classes)


@pytest.mark.parametrize("rename", [{"low": 7, "mid": -2}, {"low": False, "mid": True}])
def test_what_labels_are_called_changes_their_order_only(rename):
    X, y = label_table(2)
    other = np.array([rename[label] for label in y])
    # Without a hidden layer there is one mode; with one, mirrored labels may lead to another.
    model = classifier(hidden_layer_sizes=()).fit(X, other)
    original = classifier(hidden_layer_sizes=()).fit(X, y)
    order = np.argsort([rename["low"], rename["mid"]])
    probabilities = original.predict_proba(X)[:, order]
    assert_allclose(model.predict_proba(X), probabilities, rtol=1e-6)
    assert_array_equal(model.predict(X), [rename[label] for label in original.predict(X)])


@pytest.mark.parametrize(
    ("link", "n_classes"),
    [
        ("gauss_hermite", 2),
        *[("probit", n_classes) for n_classes in (2, 3, 4)],
        *[("monte_carlo", n_classes) for n_classes in (3, 4)],
    ],
)
def test_probabilities_sum_to_one_and_the_largest_wins(link, n_classes):
    model, new = fitted(n_classes, link), new_inputs()
    probabilities = model.predict_proba(new)
    assert probabilities.shape == (9, n_classes)
    assert np.all(probabilities > 0.0)
    assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    assert_array_equal(model.predict(new), model.classes_[probabilities.argmax(axis=1)])
    moderated = np.max(np.abs(probabilities - model.map_proba(new)))
    assert 1e-3 < moderated < 0.5


def test_links_for_two_classes_agree():
    new = new_inputs()
    links = "auto", "gauss_hermite", "probit"
    auto, exact, mackay = (fitted(2, link, temperature=1.0) for link in links)
    assert_array_equal(auto.predict_proba(new), exact.predict_proba(new))
    mean, covariance = exact.latent_mean_and_covariance(new)
    spread = np.sqrt(covariance[:, 0])
    rng = np.random.default_rng(0)
    sampled = expit(mean + spread * rng.normal(size=(9, 200_000))).mean(axis=1)
    assert_allclose(exact.predict_proba(new)[:, 1], sampled, atol=0.5 * 6 / np.sqrt(200_000))
    gap = np.abs(exact.predict_proba(new) - mackay.predict_proba(new))
    assert 0.0 < np.max(gap) < 0.018


@pytest.mark.parametrize("n_classes", [3, 4])
def test_links_for_several_classes_agree(n_classes):
    new = new_inputs()
    mackay, sampled = fitted(n_classes, "probit"), fitted(n_classes, "monte_carlo")
    assert_array_equal(fitted(n_classes).predict_proba(new), mackay.predict_proba(new))
    gap = np.abs(mackay.predict_proba(new) - sampled.predict_proba(new))
    assert 0.0 < np.max(gap) < 0.08
    # The same draws at every call and for every row.
    assert_array_equal(sampled.predict_proba(new), sampled.predict_proba(new))


@pytest.mark.parametrize("link", ["probit", "gauss_hermite"])
def test_two_classes_are_moderated_towards_a_half(link):
    new, model = new_inputs(), fitted(2, link)
    moderated = np.abs(model.predict_proba(new) - 0.5)
    assert np.all(moderated < np.abs(model.map_proba(new) - 0.5))


@EACH_COUNT
def test_coefficients_applied_to_raw_inputs_give_the_map_logits(n_classes):
    model, z = fitted(n_classes), new_inputs()
    z = np.tanh(z @ model.coefs_[0] + model.intercepts_[0])
    logits = z @ model.coefs_[1] + model.intercepts_[1]
    if n_classes == 2:
        expected = np.column_stack([expit(-logits), expit(logits)])
    else:
        expected = softmax(logits, axis=1)
    assert_allclose(model.map_proba(new_inputs()), expected, rtol=1e-8)
    mean, covariance = model.latent_mean_and_covariance(new_inputs())
    assert_allclose(mean, logits, rtol=1e-8)
    assert covariance.shape == (9, model.mlp_.n_outputs, model.mlp_.n_outputs)
    assert np.all(np.linalg.eigvalsh(covariance) > -1e-10)


@EACH_COUNT
def test_without_hidden_layer_the_map_is_logistic_regression(n_classes):
    X, y = label_table(n_classes)
    settings = {"hidden_layer_sizes": (), "standardize": False, "prior_precision": 0.5}
    model = classifier(**settings).fit(X, y)
    twin = LogisticRegression(C=2.0, fit_intercept=False, solver="newton-cg", tol=1e-10)
    twin.fit(np.column_stack([X, np.ones(len(X))]), y)
    found = np.vstack([model.coefs_[0], model.intercepts_[0]]).T
    assert_allclose(found, twin.coef_, atol=1e-6)


@EACH_COUNT
def test_log_predictive_density_is_the_log_probability_of_the_label(n_classes):
    X, y = label_table(n_classes)
    model = fitted(n_classes)
    probabilities = model.predict_proba(X)
    of_label = y[:, None] == model.classes_
    expected = np.log(probabilities[of_label])
    assert_allclose(model.log_predictive_density(X, y), expected, rtol=1e-12)


def test_log_predictive_density_of_an_unknown_label():
    X, _ = label_table(2)
    with pytest.raises(ValueError, match="'up', which is not one of the training labels"):
        fitted(2).log_predictive_density(X[:1], ["up"])


@pytest.mark.parametrize(
    ("link", "n_classes", "usable"),
    [("gauss_hermite", 3, "probit or monte_carlo"), ("monte_carlo", 2, "probit or gauss_hermite")],
)
def test_links_that_do_not_fit_the_classes(link, n_classes, usable):
    sentence = f"link='{link}' does not fit {n_classes} classes; use auto, {usable}"
    with pytest.raises(ValueError, match=sentence):
        classifier(link=link).fit(*label_table(n_classes))


@pytest.mark.parametrize("link", ["logit", None])
def test_unknown_links(link):
    with pytest.raises(ValueError, match=f"link must be one of auto, probit.*got {link!r}"):
        classifier(link=link).fit(*label_table())


def test_one_class():
    X, y = label_table(2)
    with pytest.raises(ValueError, match=r"at least two classes.*of one class, 'low'"):
        classifier().fit(X, np.full(len(X), "low"))
    with pytest.raises(ValueError, match="rows that carry weight are of one class"):
        classifier().fit(X, y, sample_weight=(y == "low").astype(float))


def test_a_class_without_weight_is_no_class():
    X, y = label_table(3)
    model = classifier().fit(X, y, sample_weight=(y != "up").astype(float))
    assert model.classes_.tolist() == ["low", "mid"]
    kept = y != "up"
    removed = classifier().fit(X[kept], y[kept])
    assert_allclose(model.predict_proba(X), removed.predict_proba(X), rtol=1e-6)


def test_numbers_are_no_labels():
    X, _ = label_table()
    with pytest.raises(ValueError, match="continuous"):
        classifier().fit(X, X[:, 0])


def test_far_from_the_data_it_is_less_sure_than_its_map():
    """Along the ray away from the data the MAP saturates, the moderated probability does not."""
    model = fitted(2)
    ray = np.array([0.5, -2.0]) + np.outer([1.0, 100.0], [2.0, 0.0])
    moderated, plain = model.predict_proba(ray).max(axis=1), model.map_proba(ray).max(axis=1)
    assert np.all(moderated < plain)
    assert plain[1] > 0.9


@pytest.mark.parametrize("n_rows", [100, 400])
def test_two_moons_are_not_parted_by_a_straight_line(n_rows):
    """Which costs 0.34 nats a row; a Gaussian process on 400 rows takes 0.24."""
    X, y = make_moons(n_rows, noise=0.3, random_state=0)
    X_new, y_new = make_moons(2000, noise=0.3, random_state=1)
    model = LaplaceMLPClassifier((10,), random_state=0).fit(X, y)
    assert np.mean(model.log_predictive_density(X_new, y_new)) > -0.28


@EACH_COUNT
def test_a_given_temperature_sharpens_the_average(n_classes):
    new, average = new_inputs(), fitted(n_classes, temperature=1.0)
    sharp = fitted(n_classes, temperature=0.5)
    assert (average.temperature_, sharp.temperature_) == (1.0, 0.5)
    assert_allclose(sharp.predict_proba(new), tempered(average.predict_proba(new), 0.5), rtol=1e-12)
    assert_array_equal(sharp.predict(new), average.predict(new))
    assert_array_equal(sharp.map_proba(new), average.map_proba(new))


@EACH_COUNT
def test_the_temperature_is_that_of_the_left_out_rows(n_classes):
    _, y = label_table(n_classes)
    model, average = fitted(n_classes), fitted(n_classes, temperature=1.0)
    codes = np.searchsorted(model.classes_, y)
    left_out = average.loo_predictions()
    assert_allclose(model.temperature_, best_temperature(left_out, codes), rtol=1e-10)
    assert_allclose(model.loo_predictions(), tempered(left_out, model.temperature_), rtol=1e-10)
    assert model.temperature_ != 1.0


def test_rows_that_are_the_same_count_in_the_temperature_as_their_weight_does():
    X, y = label_table(2)
    times = np.where(np.arange(len(y)) % 3, 1, 2)
    weighted = classifier().fit(X, y, sample_weight=times)
    repeated = classifier().fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert_allclose(weighted.temperature_, repeated.temperature_, rtol=1e-6)


def test_without_a_hidden_layer_probabilities_stay_as_they_are():
    X, y = label_table(3)
    assert classifier(hidden_layer_sizes=()).fit(X, y).temperature_ == 1.0
    given = classifier(hidden_layer_sizes=(), temperature=2.0).fit(X, y)
    assert given.temperature_ == 2.0


def test_further_rows_leave_the_temperature():
    X, y = label_table(2)
    model = classifier().fit(X, y)
    before = model.temperature_
    assert model.partial_fit(X[:9] + 0.1, y[:9]).temperature_ == before


@pytest.mark.parametrize("value", ["high", 0.0, -1.0, None, [1.0]])
def test_temperatures_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match=r'temperature must be "auto" or (a )?positive'):
        classifier(temperature=value).fit(*label_table(2))
