"""What the displays of a plane share: its grid, its colours, its lines and its rows."""

import warnings

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose, assert_array_equal

from laplace_nn.displays.base import BLUE, VERMILLION
from laplace_nn.displays.plane import class_codes, draw_lines, plane_grid, tints


def test_the_grid_goes_beyond_the_rows_and_rests_elsewhere_at_the_medians():
    rows = np.array([[0.0, 5.0, 10.0], [4.0, 6.0, 30.0], [1.0, 9.0, 50.0]])
    x0, x1, points = plane_grid(rows, (2, 0), 3, margin=0.25)
    assert_allclose(x0, [0.0, 30.0, 60.0])
    assert_allclose(x1, [-1.0, 2.0, 5.0])
    assert points.shape == (9, 3)
    assert_array_equal(points[:, 1], np.full(9, 6.0))
    assert_allclose(points[:4, [2, 0]], [[0, -1], [30, -1], [60, -1], [0, 2]])


def test_a_grid_of_one_point_is_refused():
    with pytest.raises(ValueError, match=r"n_points must be at least 2.*got 1"):
        plane_grid(np.eye(3), (0, 1), 1, margin=0.25)


def test_labels_have_the_places_of_their_classes():
    classes = np.array(["ant", "bee", "cat"])
    assert_array_equal(class_codes(classes, ["cat", "ant", "cat"]), [2, 0, 2])
    with pytest.raises(ValueError, match="y holds the label 'dog', which is none of the classes"):
        class_codes(classes, ["cat", "dog"])


def test_tints_grow_stronger_and_every_eye_tells_the_two_classes_apart():
    """By the blue channel, which red-green blindness leaves alone."""
    for color in (BLUE, VERMILLION):
        distances = np.linalg.norm(np.array(tints(color)) - to_rgb(color), axis=1)
        assert np.all(np.diff(distances) < 0.0)
    assert tints(BLUE)[-1][2] - tints(VERMILLION)[-1][2] > 0.4


def test_lines_are_drawn_only_of_levels_that_are_crossed():
    import matplotlib.pyplot as plt

    axes, x = plt.figure().add_subplot(), np.array([0.0, 1.0])
    values = np.array([[0.2, 0.6], [0.2, 0.6]])
    (lines,) = draw_lines(axes, x, x, values, (0.1, 0.3, 0.5, 0.7), bold=0.5)
    assert list(lines.levels) == [0.3, 0.5]
    thin, thick = lines.get_linewidths()
    assert thick > 2 * thin
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_lines(axes, x, x, np.full((2, 2), 0.4), (0.3, 0.5)) == []
