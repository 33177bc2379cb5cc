"""The animation of training: frames of one path downhill, drawn one after the other."""

import numpy as np
import pytest
from matplotlib.animation import AbstractMovieWriter
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy.interpolate import RegularGridInterpolator
from scipy.special import expit, log_expit

from laplace_nn.displays.training import TrainingDisplay, chosen_frames, training_path
from laplace_nn.rows import RowBlocks
from tests.displays.fits import classification, regression


def display_of(**options):
    model, X, y = classification()
    settings = {"n_frames": 6, "n_points": 15, "random_state": 0} | options
    return TrainingDisplay.from_estimator(model, X, y, **settings)


class Recorder(AbstractMovieWriter):
    """What a display shows at every frame that is grabbed."""

    def __init__(self, display):
        super().__init__()
        self.display, self.titles, self.paths, self.places = display, [], [], []

    def setup(self, fig, outfile, dpi=None):
        pass

    def grab_frame(self, **options):
        self.titles.append(self.display.ax_.get_title())
        (band,) = self.display.tints_
        self.paths.append([path.vertices for path in band.get_paths()])
        self.display.figure_.draw_without_rendering()
        self.places.append(self.display.ax_.get_position().bounds)

    def finish(self):
        pass


class TestPath:
    def test_goes_downhill_from_indifference_to_a_stationary_point(self):
        model, X, y = classification()
        inputs = (X - model.input_mean_) / model.input_scale_
        targets = (y == "bee").astype(float)
        rows = RowBlocks(inputs, targets[:, None])
        thetas, energies = training_path(model, rows, np.random.default_rng(0))
        assert len(thetas) == len(energies) > 10
        start = model.mlp_.forward(thetas[0], inputs).outputs
        assert np.all(np.abs(expit(start) - 0.5) < 0.2)
        assert np.all(np.diff(energies) <= 1e-6 * energies[0])

        def energy(theta):
            logit = model.mlp_.forward(theta, inputs).outputs[:, 0]
            fit = np.sum(log_expit(np.where(targets == 1.0, logit, -logit)))
            return 0.5 * np.sum(model.prior_.precision * theta**2) - fit

        drops = [energy(theta) - energy(thetas[-1]) for theta in thetas]
        assert_allclose(energies - energies[-1], drops, atol=1e-8)
        steps = 1e-4 * np.eye(len(thetas[-1]))
        slopes = [(energy(thetas[-1] + s) - energy(thetas[-1] - s)) / 2e-4 for s in steps]
        assert np.max(np.abs(slopes)) < 1e-5 * energies[-1]

    def test_frames_are_many_early_and_few_late(self):
        energies = 50.0 * np.exp(-np.arange(1000) / 40.0)
        frames = chosen_frames(energies, 40)
        assert 25 <= len(frames) <= 40
        assert frames[:4].tolist() == [0, 1, 2, 3]
        assert frames[-1] == 999
        gaps = np.diff(frames[:-1])
        assert gaps[-1] > 5 * gaps[0]
        assert energies[frames[-2]] <= 0.011

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_frames_of_a_short_path(self, n):
        assert chosen_frames(np.linspace(3.0, 1.0, n), 40).tolist() == list(range(n))

    @pytest.mark.parametrize("n_frames", [2, 3, 7])
    def test_frames_are_no_more_than_asked_for(self, n_frames):
        frames = chosen_frames(np.linspace(3.0, 1.0, 200), n_frames)
        assert len(frames) <= n_frames
        assert (frames[0], frames[-1]) == (0, 199)


class TestFrames:
    def test_a_frame_shows_its_probabilities_its_iteration_and_its_energy(self):
        display = display_of(n_points=60)
        for frame in (0, 2, -1):
            display.plot(frame=frame)
            now, end = display.iterations[frame], display.iterations[-1]
            energy = f"energy {display.energies[frame]:.2f} nats"
            assert display.ax_.get_title() == f"iteration {now} of {end}, {energy}"
            p = display.probabilities[frame]
            crossed = [level for level in (0.1, 0.3, 0.5, 0.7, 0.9) if p.min() < level < p.max()]
            assert [level for lines in display.lines_ for level in lines.levels] == crossed
            at = RegularGridInterpolator((display.x1, display.x0), p)
            for lines in display.lines_:
                for level, path in zip(lines.levels, lines.get_paths(), strict=True):
                    # On the edge a line's end may lie outside by rounding.
                    ends = display.x1[[0, -1]], display.x0[[0, -1]]
                    places = np.clip(path.vertices[:, ::-1], *np.array(ends).T)
                    assert_allclose(places, path.vertices[:, ::-1], rtol=1e-12)
                    assert_allclose(at(places), level, atol=1e-8)
        assert crossed == [0.1, 0.3, 0.5, 0.7, 0.9]

    def test_probabilities_are_the_networks_on_the_grid(self):
        model, X, y = classification()
        display = display_of()
        rows = RowBlocks(
            (X - model.input_mean_) / model.input_scale_, (y == "bee").astype(float)[:, None]
        )
        seed = np.random.RandomState(0).randint(2**31 - 1)
        thetas, energies = training_path(model, rows, np.random.default_rng(seed))
        assert_array_equal(display.energies, energies[display.iterations])
        for frame, theta in enumerate(thetas[display.iterations]):
            for i, j in ((0, 0), (3, 11), (14, 2)):
                point = np.array([[display.x0[j], display.x1[i]]])
                inside = (point - model.input_mean_) / model.input_scale_
                logit = model.mlp_.forward(theta, inside).outputs[0, 0]
                assert_allclose(display.probabilities[frame, i, j], expit(logit), rtol=1e-8)

    def test_rows_keys_and_given_axes(self):
        import matplotlib.pyplot as plt

        model, X, y = classification()
        figure, axes = plt.subplots()
        display = display_of(ax=axes, scatter_kwargs={"s": 9}, contour_kwargs={"linestyles": ":"})
        assert display.figure_ is figure and display.ax_ is axes
        for label, dots in zip(model.classes_, display.scatters_, strict=True):
            assert_allclose(dots.get_offsets(), X[y == label])
            assert_array_equal(dots.get_sizes(), [9])
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ant", "bee"]
        assert display.color_bar_.ax.get_ylabel() == "probability of class bee"
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("x0", "x1")
        assert display.lines_[0].get_linestyles()[0][1] is not None  # dashed

    def test_a_row_of_weight_two_is_two_rows(self):
        model, X, y = classification()
        twice = display_of(sample_weight=np.full(len(X), 2.0))
        doubled = TrainingDisplay.from_estimator(
            model, np.tile(X, (2, 1)), np.tile(y, 2), n_frames=2, n_points=5, random_state=0
        )
        assert_allclose(twice.energies[-1], doubled.energies[-1], rtol=1e-6)
        assert twice.energies[0] > display_of().energies[0]


class TestAnimation:
    def test_every_frame_takes_the_place_of_the_one_before_and_the_last_is_held(self):
        display = display_of()
        n_artists = len(display.ax_.get_children())
        recorder = Recorder(display)
        animation = display.animate(fps=5)
        animation.save("unwritten", writer=recorder)
        n_frames = len(display.iterations)
        numbers = [int(title.split()[1]) for title in recorder.titles]
        assert numbers == [*display.iterations, *[display.iterations[-1]] * 6]
        for frame in range(n_frames):
            (band,) = display.plot(frame=frame).tints_
            for drawn, path in zip(recorder.paths[frame], band.get_paths(), strict=True):
                assert_array_equal(drawn, path.vertices)
        assert len(display.ax_.get_children()) == n_artists
        assert len(set(recorder.places)) == 1  # nothing moves but the contours

    def test_is_drawn_where_it_is_told_to_or_where_the_last_picture_is(self):
        import matplotlib.pyplot as plt

        display = display_of(n_frames=2, n_points=5)
        before = display.figure_
        display.animate(fps=1).save("unwritten", writer=Recorder(display))
        assert display.figure_ is before
        figure, axes = plt.subplots()
        display.animate(axes, fps=1).save("unwritten", writer=Recorder(display))
        assert display.figure_ is figure

    def test_is_written_as_a_gif_that_holds_its_last_frame(self, tmp_path):
        display = display_of()
        display.save(tmp_path / "training.gif", fps=2)
        durations = []
        with Image.open(tmp_path / "training.gif") as picture:
            first = np.asarray(picture.convert("RGB"), dtype=float)
            for frame in range(picture.n_frames):
                picture.seek(frame)
                durations.append(picture.info["duration"])
            last = np.asarray(picture.convert("RGB"), dtype=float)
        assert np.mean(np.any(first != last, axis=2)) > 0.2
        assert durations[:-1] == [500] * (len(display.iterations) - 1)
        assert durations[-1] == 1500  # twice more, for 1.2 s

    @pytest.mark.parametrize("layout", [None, "constrained", "compressed"])
    def test_axes_stay_where_they_are_and_the_layout_comes_back(self, tmp_path, layout):
        import matplotlib.pyplot as plt

        figure, places = plt.figure(layout=layout), []
        engine, axes = figure.get_layout_engine(), figure.add_subplot(aspect="equal")
        display = display_of(n_frames=6, n_points=5, ax=axes)
        figure.canvas.mpl_connect(
            "draw_event", lambda event: places.append(axes.get_window_extent().bounds)
        )
        display.save(tmp_path / "training.gif", fps=1)
        assert len(places) > len(display.iterations)
        assert len(set(places[1:])) == 1  # after the draw that settles them
        assert figure.get_layout_engine() is engine

    def test_a_part_of_a_figure_is_animated_in_it(self, tmp_path):
        import matplotlib.pyplot as plt

        _, part = plt.figure(layout="constrained").subfigures(1, 2)
        display = display_of(n_frames=2, n_points=5, ax=part.add_subplot())
        display.save(tmp_path / "training.gif", fps=1)
        with Image.open(tmp_path / "training.gif") as picture:
            assert picture.size == (640, 480)


def test_what_it_cannot_show_is_refused_in_a_sentence():
    from sklearn.linear_model import LogisticRegression

    model, X, y = classification()
    show = TrainingDisplay.from_estimator
    with pytest.raises(ValueError, match="shows a classification; got a LaplaceMLPRegressor"):
        show(*regression(n_features=2))
    with pytest.raises(
        ValueError, match=r"shows two classes in the plane .* got 3 classes and 2 in"
    ):
        show(*classification(n_classes=3))
    with pytest.raises(ValueError, match="got 2 classes and 3 inputs: fit a classifier to two of"):
        show(*classification(n_features=3))
    with pytest.raises(ValueError, match="network once more; got a LogisticRegression, which has"):
        show(LogisticRegression().fit(X, y), X, y)
    with pytest.raises(ValueError, match="y holds the label 'wasp'"):
        show(model, X, ["wasp"] * len(X))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        show(model, X, y[1:])
    with pytest.raises(ValueError, match="n_frames must be at least 2"):
        display_of(n_frames=1)
    display = display_of(n_frames=3)
    with pytest.raises(ValueError, match="frame must be one of the 3, -3 to 2; got 3"):
        display.plot(frame=3)
    with pytest.raises(ValueError, match=r"fps must be a positive number .* got 0"):
        display.save("unwritten", fps=0)
