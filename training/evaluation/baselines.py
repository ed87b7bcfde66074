"""The laps of a report: a policy and the baseline drivers, on every track of a run, from the same starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..envs.car import vehicle_of
from ..envs.drivers.follow_the_gap import FEWEST_BEAMS
from ..envs.drivers.grip_profile import point_mass_lap_s
from ..envs.drivers.grip_pursuit import racing_shape
from ..envs.drivers.registry import driver_of
from ..envs.drivers.smooth_line import smooth_line
from ..process.systemd_notify import alive
from ..sim import Track, TrackError
from ..sim.track.names import packed_parts
from .lap_evaluation import evaluate
from .recording import DriveTape, best_lap, matching_lap
from .tum_racelines import raceline_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..config import EnvSettings, EvaluationSettings
    from ..config.randomisation import RandomisationSettings
    from ..envs.drivers.registry import Driver
    from ..envs.race import Race
    from .lap_evaluation import Controller, Drive
    from .recording import Trace

# Starts that neither training nor the choice of the kept policy has seen.
REPORT_SEED = 9_000_000
RACING_LINE, PURE_PURSUIT, FOLLOW_THE_GAP = "racing line", "pure pursuit", "follow-the-gap"
# The driver whose laps a report compares those of the policy with, sector by sector.
REFERENCE = RACING_LINE


# A run may learn on many tracks; their laps look alike.
SHOWN_TRAINING_TRACKS = 2


class EvalTrack(NamedTuple):
    """A track to drive on, and whether training has driven on it."""

    track: Track
    seen: bool

    @property
    def kind(self) -> str:
        """Say in a word what the policy knows of it."""
        return "training" if self.seen else "unseen"


class Tally(NamedTuple):
    """The totals of one driver's drives on one track; None if no lap was completed."""

    track: str
    starts: int
    completed: int
    collisions: int
    lap_s: tuple[float, ...]
    best_lap_s: float | None
    mean_lap_s: float | None
    mean_speed_mps: float | None  # of completed drives
    top_speed_mps: float
    mean_distance_m: float

    @property
    def completion_rate(self) -> float:
        """Give the share of starts that ended as they should."""
        return self.completed / max(self.starts, 1)

    def to_json_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {**self._asdict(), "lap_s": list(self.lap_s), "completion_rate": self.completion_rate}


class References(NamedTuple):
    """Flying laps of no car, s."""

    point_mass_s: float | None  # on our racing line at the vehicle's limits; None on tyres without a limit
    tum_s: float | None  # of TUM's racing line, by its own speeds; None if there is none

    def named(self) -> list[tuple[str, float]]:
        """Return those that are known, by their names in tables."""
        times = (("point mass", self.point_mass_s), ("TUM", self.tum_s))
        return [(name, time_s) for name, time_s in times if time_s is not None]


class Result(NamedTuple):
    """One driver on one course: every drive, their sum, and a lap in full of the first policy and the reference."""

    course: EvalTrack
    driver: str
    drives: list[Drive]
    tally: Tally
    trace: Trace | None


class DriverController:
    """Let a driver that gives commands drive as a Controller."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __call__(self, race: Race, observations: NDArray[np.float32]) -> NDArray[Any]:  # noqa: ARG002
        """Return the actions (E, N, 2) that stand for the driver's commands."""
        return race.actions_of(self._driver.act(race.world))


def courses_of(names: Sequence[str], learnt: Sequence[str]) -> list[EvalTrack]:
    """Load the named tracks; learnt: those that training has driven on. TrackError names a broken one."""
    tracks = told_apart([Track.load(name) for name in names], names)
    return [EvalTrack(track, name in learnt) for track, name in zip(tracks, names, strict=True)]


def told_apart(tracks: Sequence[Track], given: Sequence[str]) -> list[Track]:
    """Return the tracks with unique names: those of equal name get as much of their path as it takes.

    given: by what each was loaded, a path or a name; that of a packed map tells it apart by itself.
    """
    names = [track.name for track in tracks]
    same = {name for name in names if names.count(name) > 1}
    deep = [
        ("", text) if packed_parts(text) is not None else Path(text).absolute().parent.parts for text in given
    ]
    told = list(names)
    for depth in range(1, max(map(len, deep), default=0)):
        told = [
            "-".join((*parts[-depth:], name)) if name in same else name
            for parts, name in zip(deep, names, strict=True)
        ]
        if len(set(told)) == len(set(given)):
            break
    return [
        track if track.name == name else replace(track, name=name)
        for track, name in zip(tracks, told, strict=True)
    ]


def loadable_courses(learnt: Sequence[str], unseen: Sequence[str]) -> tuple[list[EvalTrack], list[str]]:
    """Return the tracks that a report shows, if they load: the first training tracks and all unseen ones.

    Also returns what is wrong with those that do not, in words.
    """
    tracks, problems = {}, []
    for name in dict.fromkeys((*learnt[:SHOWN_TRAINING_TRACKS], *unseen)):
        try:
            tracks[name] = Track.load(name)
            alive()
        except TrackError as error:
            problems.append(f"Track {name} is missing from this report: {error}")
    told = told_apart(list(tracks.values()), list(tracks))
    return [EvalTrack(track, name in learnt) for name, track in zip(tracks, told, strict=True)], problems


def tally(drives: Sequence[Drive]) -> Tally:
    """Sum up the drives on one track."""
    laps = tuple(lap_s for drive in drives for lap_s in drive.lap_s)
    speeds = [drive.mean_speed_mps for drive in drives if drive.completed]
    return Tally(
        track=drives[0].track,
        starts=len(drives),
        completed=len(speeds),
        collisions=sum(drive.collided for drive in drives),
        lap_s=laps,
        best_lap_s=min(laps, default=None),
        mean_lap_s=float(np.mean(laps)) if laps else None,
        mean_speed_mps=float(np.mean(speeds)) if speeds else None,
        top_speed_mps=max(drive.top_speed_mps for drive in drives),
        mean_distance_m=float(np.mean([drive.distance_m for drive in drives])),
    )


def drive(  # noqa: PLR0913 - who, where, how often, in what car
    controller: Controller,
    settings: EnvSettings,
    course: EvalTrack,
    *,
    starts: int,
    laps: int = 1,
    randomisation: RandomisationSettings | None = None,
) -> tuple[DriveTape, list[Drive]]:
    """Drive one course from `starts` standing starts; the same ones whatever other courses are driven.

    randomisation: what is drawn for each start, nothing if None.
    """
    tape = DriveTape(controller)
    drives = evaluate(
        tape,
        settings,
        [course.track],
        starts=starts,
        laps=laps,
        seed=REPORT_SEED,
        randomisation=randomisation,
    )
    return tape, drives


def baseline_drivers(settings: EnvSettings) -> dict[str, tuple[Controller, EnvSettings]]:
    """Return the drivers to compare with, by name, and the settings they drive under."""
    seeing = settings.model_copy(update={"beams": max(settings.beams, FEWEST_BEAMS)})
    return {
        RACING_LINE: (DriverController(driver_of("racing_line", settings)), settings),
        PURE_PURSUIT: (DriverController(driver_of("pure_pursuit", settings)), settings),
        FOLLOW_THE_GAP: (DriverController(driver_of("follow_the_gap", settings)), seeing),
    }


def references(track: Track, settings: EnvSettings) -> References:
    """Return the lap times that a track's laps are compared with; the track has a centreline."""
    vehicle = vehicle_of(settings)
    line, bound_s = raceline_of(track), None
    if settings.tyres == "saturating":
        points = smooth_line(track, racing_shape(vehicle))
        bound_s = point_mass_lap_s(points, vehicle, settings.speed_cap_mps)
    return References(bound_s, None if line is None else line.lap_s)


def results(
    policies: Mapping[str, Controller],
    env: EnvSettings,
    evaluation: EvaluationSettings,
    courses: Sequence[EvalTrack],
) -> list[Result]:
    """Drive a run's policies, by their names in tables, and the baseline drivers on every track of the settings.

    The first policy's best laps are recorded in full, and the reference driver's laps from the same starts.
    """
    own = {name: (controller, env) for name, controller in policies.items()}
    drivers: Mapping[str, tuple[Controller, EnvSettings]] = {**own, **baseline_drivers(env)}
    first = next(iter(policies))
    best: dict[EvalTrack, Trace] = {}
    found = []
    for name, (controller, settings) in drivers.items():
        for course in courses:
            tape, drives = drive(controller, settings, course, starts=evaluation.starts, laps=evaluation.laps)
            trace = None
            if name == first:
                trace = best[course] = best_lap(tape, drives, course.track, settings)
            elif name == REFERENCE:
                trace = matching_lap(tape, drives, course.track, settings, best[course])
            found.append(Result(course, name, drives, tally(drives), trace))
    return found
