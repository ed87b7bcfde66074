"""Races between drivers: policies of any runs and steps, and the built-in ones, many races at once.

Drivers may see and act differently: each gets its own scans, its own rate of decisions and its own range of speeds.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..config.checks import PHYSICS, differing_settings, other_physics
from ..envs.car import commands_of
from ..envs.grid import grid_places
from ..envs.observation import ScanStack
from ..envs.race import Race
from ..envs.starts import clear_starts
from ..errors import UsageError
from ..process.systemd_notify import alive
from ..sim import Track
from .lap_evaluation import SLOWEST_MEAN_MPS, undisturbed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..agents.policy import Policy
    from ..config import EnvSettings
    from ..config.fields import Grid
    from ..envs.drivers.registry import Driver
    from ..sim import World

    Array = NDArray[np.float64]

# A scan fine enough for drivers with different numbers of beams may have this many.
MOST_BEAMS = 4321
# Beams of two lidars whose angles differ by less point the same way, within a degree.
_ANGLE_TOLERANCE = 0.005
# The number of places along a track that are tried for a start side by side.
_GRID_DRAWS = 64
# A race's seed never meets training's or an evaluation's.
RACE_SEED = 11_000_000


class Entrant(NamedTuple):
    """A contestant: a name, the settings of its observations and actions, and its policy or driver."""

    name: str
    settings: EnvSettings
    controller: Policy | Driver


class CarResult(NamedTuple):
    """How one car fared in one race."""

    contestant: int  # its index in the list of contestants
    start: int  # place on the grid, 1 is in front, or on the right of its front row
    position: int  # 1 won or came furthest
    won: bool  # finished, and first
    finished: bool
    finish_s: float | None
    laps: float  # driven, along the centreline
    overtakes: int
    at_fault: bool  # ended by driving into another car
    hit: bool  # was run into by another car
    wall: bool  # ended at a wall


class RaceTape(NamedTuple):
    """All that a replay of one race needs."""

    track: Track
    settings: EnvSettings
    contestants: tuple[int, ...]  # of each car
    poses: Array  # (N, 3) of the start
    commands: Array  # (T, N, 2) steering rad, speed m/s, each for settings.action_repeat physics steps
    out: NDArray[np.bool_]  # (T, N) had left the track before each decision
    finish_m: float  # standings' distance of the finish


class RaceResult(NamedTuple):
    """One race: its entries by car, and its tape."""

    entries: tuple[CarResult, ...]
    tape: RaceTape

    @property
    def overtakes(self) -> int:
        """Count the passes of the race."""
        return sum(entry.overtakes for entry in self.entries)


def race_all(  # noqa: PLR0913 - the conditions of a race
    contestants: Sequence[Entrant],
    fixtures: Sequence[Sequence[int]],
    track: Track | Sequence[Track],
    *,
    laps: int = 2,
    seed: int = 0,
    grid: Grid | None = None,
) -> list[RaceResult]:
    """Run all races side by side, on one track or each on its own.

    fixtures: for each race its contestants by index, one a car; all of one length N, two or more. Cars start from
    standing somewhere on the track; grid: in single file on the centreline, side by side, or either by turns (None: as
    the first contestant's `env.race.grid` says, in single file where there is no room for two), rows
    `env.race.grid_spacing_m` apart. N fixtures in a row of the same contestants on the same track start from the same
    places, each time one place further back, so that every one has each place equally often. A car that crashes is out;
    one that is hit without fault races on; one that has finished leaves the track. A slow car has as much time as the
    longest track takes.

    Raises:
        UsageError: contestants whose settings fit no common race; names the settings. A track that is too narrow for
            the start side by side that grid asks for.

    """
    tracks = [track] * len(fixtures) if isinstance(track, Track) else list(track)
    settings = common_settings(contestants, max(one.length_m for one in tracks), laps)
    if grid is not None:
        settings = settings.model_copy(update={"race": settings.race.model_copy(update={"grid": grid})})
    seats = np.array(fixtures, dtype=np.int64)
    field = _Field(contestants, seats, tracks, settings, laps)
    race = Race(settings, tracks, len(seats), seats.shape[1], seed=RACE_SEED + seed)
    places, poses = _grids(settings, tracks, seats, seed, demanded=grid == "side_by_side")
    poses = clear_starts(race.world, settings, poses, np.ones_like(seats, dtype=np.bool_))
    field.begin(race, places, poses)
    while field.racing.any():
        field.step(race)
        alive()
    return field.results(poses)


def common_settings(contestants: Sequence[Entrant], length_m: float, laps: int) -> EnvSettings:
    """Return the settings of a race in which each contestant can see and act as it is used to.

    Beams: so many that each finds its own among them. Physics: the first one's (`physics_in_words`). Raises UsageError
    where there is no such race.
    """
    all_settings = [one.settings for one in contestants]
    first = all_settings[0]
    gaps = math.lcm(*(one.beams - 1 for one in all_settings))
    if gaps + 1 > MOST_BEAMS:
        told = " and ".join(str(count) for count in sorted({one.beams for one in all_settings}))
        raise UsageError(
            f"env.beams of {told} fit into no common scan of at most {MOST_BEAMS} beams",
            next_step="Race runs with equal numbers of beams, or such as 20 and 39.",
        )
    angles = [one.car_numbers["lidar_fov_rad"] for one in all_settings]
    if max(angles) - min(angles) > _ANGLE_TOLERANCE * min(angles):
        told = ", ".join(f"{angle:g} for {one.name}" for angle, one in zip(angles, contestants, strict=True))
        raise UsageError(
            f"env.car.lidar_fov_rad differs: {told}; their beams point elsewhere",
            next_step="Race runs whose lidars see the same angle.",
        )
    changes = {
        "beams": gaps + 1,
        "action_repeat": math.gcd(*(one.action_repeat for one in all_settings)),
        "speed_cap_mps": max(one.speed_cap_mps for one in all_settings),
        "min_speed_mps": min(one.min_speed_mps for one in all_settings),
        "max_episode_s": (laps * length_m + 50.0) / SLOWEST_MEAN_MPS,
        "race": first.race.model_copy(
            update={"after_crash": "out", "terminate_at_fault_contact": True, "hit_cars_continue": True}
        ),
    }
    return undisturbed(first).model_copy(update=changes)


def physics_of(contestants: Sequence[Entrant]) -> dict[str, Any]:
    """Return the physics of a race: those in which the first contestant learnt."""
    first = contestants[0].settings
    return {name: getattr(first, name) for name in PHYSICS} | {"car": first.car.model_dump(exclude_none=True)}


def physics_in_words(contestants: Sequence[Entrant]) -> str:
    """Say whose physics hold in a race, and who learnt in others; "" where all learnt in the same."""
    first, *others = contestants
    learnt = {one.name: other_physics(one.settings, first.settings) for one in others}
    told = [f"{name} learnt with {differing_settings(other)}" for name, other in learnt.items() if other]
    if not told:
        return ""
    return f"The races have the physics of {first.name}: {'; '.join(told)}. Name another one first for its physics."


def _grids(
    settings: EnvSettings, tracks: Sequence[Track], seats: NDArray[np.int64], seed: int, *, demanded: bool
) -> tuple[NDArray[np.int64], Array]:
    """Return places on the grid (E, N), from 0, and starting poses (E, N, 3); see `race_all`.

    demanded: a start side by side that finds no room is an error, and no start in single file.
    """
    num_cars, rules = seats.shape[1], settings.race
    places = np.empty_like(seats)
    poses = np.empty((*seats.shape, 3))
    met: Counter[tuple[int, ...]] = Counter()
    for e, (track, row) in enumerate(zip(tracks, seats, strict=True)):
        who = (id(track), *row)
        turn = met[who]
        met[who] += 1
        rng = np.random.default_rng([RACE_SEED, seed, turn // num_cars])
        abreast = rules.grid == "side_by_side" or (rules.grid == "either" and turn // num_cars % 2 == 1)
        found = _somewhere(track, settings, num_cars, rng, abreast=abreast)
        if found is None and demanded:
            raise UsageError(
                f"track {track.name} is too narrow for {num_cars} cars that start side by side",
                next_step="Start them one behind the other: single_file.",
            )
        s_m, left_m = found or _somewhere(track, settings, num_cars, rng, abreast=False)
        places[e] = (np.arange(num_cars) + turn) % num_cars
        poses[e] = np.stack(track.pose_at(s_m[places[e]], left_m[places[e]]), axis=1)
    return places, poses


def _somewhere(
    track: Track, settings: EnvSettings, num_cars: int, rng: np.random.Generator, *, abreast: bool
) -> tuple[Array, Array] | None:
    """Return the places of a grid somewhere on the track, None if nowhere that was tried has room for two abreast."""
    for _ in range(_GRID_DRAWS):
        found = grid_places(track, rng.uniform(0.0, track.length_m), settings, num_cars, abreast=abreast)
        if found is not None:
            return found
    return None


class _Field:
    """The cars of all races: the driver of each, whether it is still racing, and its result."""

    def __init__(
        self,
        contestants: Sequence[Entrant],
        seats: NDArray[np.int64],
        tracks: Sequence[Track],
        settings: EnvSettings,
        laps: int,
    ) -> None:
        self._seats, self._tracks, self._settings, self._laps = seats, tracks, settings, laps
        self._lap_m = np.array([[track.length_m] for track in tracks])
        self._pilots = [
            _Pilot(one, seats == index, settings)
            for index, one in enumerate(contestants)
            if (seats == index).any()
        ]
        shape = seats.shape
        self.racing = np.ones(shape, dtype=np.bool_)
        self._commands = np.zeros((*shape, 2))
        self._finish_s = np.full(shape, np.nan)
        self._at_fault, self._wall, self._hit = (np.zeros(shape, dtype=np.bool_) for _ in range(3))
        self._log: list[tuple[Array, NDArray[np.bool_]]] = []

    def begin(self, race: Race, places: NDArray[np.int64], poses: Array) -> None:
        race.reset(poses=poses)
        self._race = race
        self._finish_m = race.standings.distance_m.max(axis=1, keepdims=True) + self._laps * self._lap_m
        self._start = places + 1
        for pilot in self._pilots:
            pilot.begin(race.world)

    def step(self, race: Race) -> None:
        decisions = len(self._log)
        for pilot in self._pilots:
            pilot.command(race, decisions, self._commands)
        self._log.append((self._commands.copy(), ~race.active))
        before_m = race.standings.distance_m.copy()
        outcome = race.step(race.actions_of(self._commands))
        ended = outcome.terminated & self.racing
        self._at_fault |= ended & outcome.contacts.at_fault
        self._wall |= ended & outcome.contacts.wall
        self._hit |= self.racing & outcome.contacts.hit
        at = race.standings
        finished = self.racing & ~outcome.terminated & (at.distance_m >= self._finish_m)
        over_m = (at.distance_m - self._finish_m) / np.maximum(at.distance_m - before_m, 1e-9)
        crossing_s = race.world.time_s[:, None] - race.decision_s * np.clip(over_m, 0.0, 1.0)
        np.copyto(self._finish_s, crossing_s, where=finished)
        gone = ended | finished
        if gone.any():
            # A car that has finished is in no other car's way either.
            race.clear_crashed(outcome._replace(terminated=gone))
        self.racing &= ~gone & ~outcome.truncated[:, None]
        for pilot in self._pilots:
            pilot.see(race.world, len(self._log))

    def results(self, poses: Array) -> list[RaceResult]:
        commands = np.array([row for row, _ in self._log])
        out = np.array([row for _, row in self._log])
        found = []
        for e in range(len(self._seats)):
            # Cars that finished are ranked by time, the others behind them by the distance they drove.
            order = sorted(range(self._seats.shape[1]), key=lambda n: self._rank(e, n))
            entries = tuple(self._entry(e, n, order.index(n) + 1) for n in range(self._seats.shape[1]))
            last = int((~out[:, e]).any(axis=1).sum())
            tape = RaceTape(
                self._tracks[e], self._settings, tuple(self._seats[e].tolist()), poses[e],
                commands[:last, e], out[:last, e], float(self._finish_m[e, 0]),
            )  # fmt: skip
            found.append(RaceResult(entries, tape))
        return found

    def _rank(self, e: int, n: int) -> tuple[float, float]:
        finish_s = self._finish_s[e, n]
        unfinished = math.isnan(finish_s)
        return (math.inf if unfinished else finish_s, -float(self._race.standings.distance_m[e, n]))

    def _entry(self, e: int, n: int, position: int) -> CarResult:
        finish_s = float(self._finish_s[e, n])
        finished = not math.isnan(finish_s)
        return CarResult(
            contestant=int(self._seats[e, n]),
            start=int(self._start[e, n]),
            position=position,
            won=finished and position == 1,
            finished=finished,
            finish_s=finish_s if finished else None,
            laps=max(0.0, float(self._race.world.progress_m[e, n])) / float(self._lap_m[e, 0]),
            overtakes=int(self._race.standings.overtakes[e, n]),
            at_fault=bool(self._at_fault[e, n]),
            hit=bool(self._hit[e, n]),
            wall=bool(self._wall[e, n]),
        )


class _ScanView(NamedTuple):
    """The part of a world that a ScanStack reads: states, what cars measure and, of their scans, some beams."""

    states: Array
    measured: Array
    scans: NDArray[Any]


class _Pilot:
    """Let a contestant drive its cars, where (E, N), at its own rate and with its own sight."""

    def __init__(self, one: Entrant, where: NDArray[np.bool_], common: EnvSettings) -> None:
        self._one, self._where = one, where
        self._every = one.settings.action_repeat // common.action_repeat
        self._beams = np.linspace(0, common.beams - 1, one.settings.beams).round().astype(np.int64)
        self._stack = ScanStack(one.settings, *where.shape)
        self._previous = np.zeros((*where.shape, 2))  # its actions, for they are part of what it sees

    def begin(self, world: World) -> None:
        self._stack.restart(self._sight(world), np.ones(len(self._where), dtype=np.bool_))

    def see(self, world: World, decisions: int) -> None:
        if decisions % self._every == 0:
            self._stack.push(self._sight(world))

    def command(self, race: Race, decisions: int, commands: Array) -> None:
        if decisions % self._every != 0:
            return
        controller = self._one.controller
        if hasattr(controller, "encode"):  # a policy; drivers know the world
            seen = self._stack.observe(self._sight(race.world), self._previous)[self._where]
            actions = np.clip(controller.act(seen).astype(np.float64), -1.0, 1.0)
            self._previous[self._where] = actions
            commands[self._where] = commands_of(self._one.settings, actions)
        else:
            commands[self._where] = controller.act(race.world)[self._where]

    def _sight(self, world: World) -> World:
        return _ScanView(world.states, world.measured, world.scans[..., self._beams])  # type: ignore[return-value]


def pairings(count: int, races: int) -> list[tuple[int, int]]:
    """Return the fixtures in which each of so many contestants meets each other one so often."""
    return [pair for pair in itertools.combinations(range(count), 2) for _ in range(races)]
