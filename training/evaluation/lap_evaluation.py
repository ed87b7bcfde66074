"""Laps driven and timed: any driver, any tracks, all starts at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..config.randomisation import RandomisationSettings
from ..envs.race import Race
from ..process.systemd_notify import alive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ..config import EnvSettings
    from ..sim import Track

# A lap slower than this mean speed counts as not completed: a car that crawls or turns in circles must end some time.
SLOWEST_MEAN_MPS = 1.0
# A car that has driven less than this distance in this time is stuck or drives in circles.
STUCK_M, STUCK_S = 5.0, 10.0


class Controller(Protocol):
    """Drive all cars of a Race: actions (E, N, 2) in [-1, 1] from its state and observations (E, N, D)."""

    def __call__(self, race: Race, observations: NDArray[np.float32]) -> NDArray[Any]:
        """Return the actions (E, N, 2)."""


class Drive(NamedTuple):
    """The outcome of one start."""

    track: str
    start_m: float  # where along the centreline
    completed: bool  # all laps, without touching anything
    collided: bool
    laps: int
    lap_s: tuple[float, ...]  # of each completed lap; the first from standing
    distance_m: float  # along the centreline
    mean_speed_mps: float  # distance over time
    top_speed_mps: float


def evaluate(  # noqa: PLR0913 - what, where, how often; all but the first three have defaults
    controller: Controller,
    settings: EnvSettings,
    tracks: Sequence[Track],
    *,
    starts: int = 10,
    laps: int = 1,
    seed: int = 0,
    watch: Callable[[Race], None] | None = None,
    randomisation: RandomisationSettings | None = None,
) -> list[Drive]:
    """Drive `laps` laps from `starts` random standing starts on each track and report each.

    The car and its sight are those of the settings, without noise; randomisation: what is drawn for each start, nothing
    if None. watch: called after every decision. The starts depend on the seed alone.
    """
    fields = [t for t in tracks for _ in range(starts)]
    limit_s = max(t.length_m for t in tracks) * laps / SLOWEST_MEAN_MPS
    plain = undisturbed(settings, randomisation).model_copy(
        update={"num_envs": len(fields), "random_starts": True, "max_episode_s": limit_s}
    )
    race = Race(plain, fields, len(fields), seed=seed + 1_000_003)
    observations = race.reset()
    start_m = race.world.arc_m[:, 0].copy()
    book = _Book(len(fields))
    while not book.over.all():
        outcome = race.step(controller(race, observations))
        observations = outcome.observations
        book.note(race, outcome.terminated[:, 0], outcome.truncated, laps)
        if watch is not None:
            watch(race)
        alive()
    return [book.drive(e, fields[e].name, float(start_m[e])) for e in range(len(fields))]


def undisturbed(settings: EnvSettings, randomisation: RandomisationSettings | None = None) -> EnvSettings:
    """Return the settings without noise, and with a randomisation or none: the car as it is."""
    plain = {"scan_noise_m": 0.0, "randomisation": randomisation or RandomisationSettings()}
    return settings.model_copy(update=plain)


class _Book:
    """Keep what happened to each start until its end; what a car does afterwards does not count."""

    def __init__(self, count: int) -> None:
        self.over = np.zeros(count, dtype=np.bool_)
        self.completed = np.zeros(count, dtype=np.bool_)
        self.collided = np.zeros(count, dtype=np.bool_)
        self.distance_m = np.zeros(count)
        self.time_s = np.zeros(count)
        self.top_mps = np.zeros(count)
        self.lap_s: list[list[float]] = [[] for _ in range(count)]
        self._mark_m = np.zeros(count)
        self._mark_s = np.zeros(count)

    def note(
        self, race: Race, terminated: NDArray[np.bool_], truncated: NDArray[np.bool_], laps: int
    ) -> None:
        running = ~self.over
        world = race.world
        np.copyto(self.distance_m, world.progress_m[:, 0], where=running)
        np.copyto(self.time_s, world.time_s, where=running)
        np.copyto(self.top_mps, np.maximum(self.top_mps, world.states[:, 0, 3]), where=running)
        for e in np.flatnonzero(running & (race.laps.done[:, 0] > [len(times) for times in self.lap_s])):
            self.lap_s[e].append(float(race.laps.last_s[e, 0]))
        self.collided |= running & world.collisions[:, 0]
        self.completed |= running & ~terminated & (race.laps.done[:, 0] >= laps)
        self.over |= terminated | truncated | self.completed | self._stuck()

    def _stuck(self) -> NDArray[np.bool_]:
        moved = self.distance_m >= self._mark_m + STUCK_M
        np.copyto(self._mark_m, self.distance_m, where=moved)
        np.copyto(self._mark_s, self.time_s, where=moved)
        return self.time_s - self._mark_s > STUCK_S

    def drive(self, e: int, track: str, start_m: float) -> Drive:
        return Drive(
            track=track,
            start_m=start_m,
            completed=bool(self.completed[e]),
            collided=bool(self.collided[e]),
            laps=len(self.lap_s[e]),
            lap_s=tuple(self.lap_s[e]),
            distance_m=float(self.distance_m[e]),
            mean_speed_mps=float(self.distance_m[e] / max(self.time_s[e], 1e-9)),
            top_speed_mps=float(self.top_mps[e]),
        )
