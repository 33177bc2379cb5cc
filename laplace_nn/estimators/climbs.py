"""The ways from a fit's starts and the trainings that end them, side by side where that pays."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from joblib import Parallel, delayed

from laplace_nn.estimators.machine import blas_threads, n_workers
from laplace_nn.estimators.progress import Progress
from laplace_nn.estimators.starts import Start
from laplace_nn.evidence_surface import EvidenceSurface, State
from laplace_nn.hyperpriors import Hyperprior
from laplace_nn.network import MLP
from laplace_nn.objective import matrix_size
from laplace_nn.reestimation import explore
from laplace_nn.rows import RowBlocks
from laplace_nn.selection import Selection
from laplace_nn.trail import History, Trail, finish, strengthen

__all__ = ["Climb", "Climbs", "Settings"]


@dataclass(frozen=True)
class Settings:
    """What all climbs of a fit have in common; see `laplace_nn.reestimation.reestimate`.

    Unless ``finish_all``, of walks only the one that has seen the best state gets the training that
    ends it. With a ratio, ``stronger``, every walk gets that of its second mode.
    """

    fit_noise: bool
    hyperprior: Hyperprior | None
    selection: Selection
    refine: bool
    finish_all: bool
    stronger: float | None
    solver: str
    tol: float
    gradient_tol: float
    max_cycles: int
    max_iter: int


@dataclass(frozen=True)
class Climb:
    """What has come of a start.

    Parameters
    ----------
    history : list of dict
        A record of every cycle.
    converged : bool
        Whether the way ended by itself.
    mode : State, optional
        Of the best precisions; None where only another start's is wanted.
    stronger : State, optional
        Of stronger precisions.
    """

    history: list[dict[str, Any]] = field(repr=False)
    converged: bool
    mode: State | None
    stronger: State | None = None

    def after(self, earlier: "Climb") -> "Climb":
        """The same climb as the continuation of an earlier one."""
        n = len(earlier.history)
        later = [{**entry, "cycle": entry["cycle"] + n} for entry in self.history]
        return replace(self, history=earlier.history + later)


@dataclass(frozen=True)
class Climbs:
    """How a fit's starts are climbed from.

    Parameters
    ----------
    mlp : MLP
        The network.
    rows : RowBlocks
        The training rows.
    settings : Settings
        What all have in common.
    n_jobs : int, "auto" or None
        See `n_workers`.
    step_cost : float
        Of training, in multiplications.
    progress : Progress
        Told of every state, or where workers are at work, of the last ones.
    """

    mlp: MLP
    rows: RowBlocks
    settings: Settings
    n_jobs: int | str | None
    step_cost: float
    progress: Progress

    def run(self, starts: Sequence[Start]) -> list[Climb]:
        """Every start's way, and then the trainings that end them."""
        surfaces = [self._surface(start) for start in starts]
        explored = list(self._each(_explore, self._ways(surfaces, starts)))
        trainings = self._trainings([trail for trail, _ in explored])
        self.progress.expect(len(trainings))
        tasks = [(surfaces[i], explored[i][0], ratio, self.settings) for i, ratio in trainings]
        states = dict(zip(trainings, self._each(_train, tasks), strict=True))
        climbs = []
        for index, (trail, history) in enumerate(explored):
            history.callback = self.progress.callback(index)
            mode, ratio = states.get((index, None)), self.settings.stronger
            stronger = None if ratio is None else states.get((index, ratio))
            if surfaces[index].moves_anything:
                history.note_ends(mode, stronger)
            climbs.append(Climb(list(history), trail.converged, mode, stronger))
        return climbs

    def _ways(self, surfaces: list[EvidenceSurface], starts: Sequence[Start]) -> list[tuple]:
        """What the ways need; those in workers show nothing until they are back."""
        inside = self._workers(len(starts)) == 1
        histories = [
            History(self.rows.sample_weight, self.progress.callback(index) if inside else None)
            for index in range(len(starts))
        ]
        settings = [self.settings] * len(starts)
        return list(zip(surfaces, starts, settings, histories, strict=True))

    def _trainings(self, trails: list[Trail]) -> list[tuple[int, float | None]]:
        """The trainings that end the ways, by start and ratio, the longer ones first."""
        indices = range(len(trails))
        leading = max(indices, key=lambda index: trails[index].best.merit)
        every = self.settings.finish_all
        trainings: list[tuple[int, float | None]] = [
            (i, None) for i in indices if every or i == leading or not trails[i].walked
        ]
        if self.settings.stronger is not None:
            trainings += [(i, self.settings.stronger) for i in indices if trails[i].walked]
        return trainings

    def _each(self, call: Callable[..., Any], tasks: list[tuple]) -> Iterator[Any]:
        """The call with every task's arguments, in their order."""
        calls = [delayed(call)(*arguments) for arguments in tasks]
        workers = self._workers(len(calls))
        results: Iterator[Any] = (done(*arguments) for done, arguments, _ in calls)
        if workers > 1:
            results = Parallel(n_jobs=workers, return_as="generator")(calls)
        for result in results:
            yield result
            self.progress.advance()

    def _workers(self, n_tasks: int) -> int:
        size = matrix_size(self.mlp, self.rows)
        return n_workers(self.n_jobs, n_tasks, size, self.step_cost)

    def _surface(self, start: Start) -> EvidenceSurface:
        settings = self.settings
        return EvidenceSurface(
            self.mlp,
            self.rows,
            start.moving,
            settings.fit_noise,
            settings.solver,
            settings.gradient_tol,
            settings.hyperprior,
            settings.selection,
        )


def _explore(
    surface: EvidenceSurface, start: Start, settings: Settings, history: History
) -> tuple[Trail, History]:
    with blas_threads(matrix_size(surface.mlp, surface.rows)):
        trail = explore(
            surface,
            start.prior,
            start.likelihood,
            start.theta,
            history.note,
            tol=settings.tol,
            max_cycles=settings.max_cycles,
            max_iter=settings.max_iter,
            refine=settings.refine,
            strength_ratio=start.strength_ratio,
        )
    history.callback = None
    return trail, history


def _train(
    surface: EvidenceSurface, trail: Trail, ratio: float | None, settings: Settings
) -> State | None:
    with blas_threads(matrix_size(surface.mlp, surface.rows)):
        if ratio is None:
            return finish(surface, trail, settings.max_iter)
        return strengthen(surface, trail, ratio, settings.max_iter)
