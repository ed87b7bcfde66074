"""Laps and races in full: every physics step of a drive, replayed from its start and its actions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..envs.race import Race
from ..process.systemd_notify import alive
from ..sim.dynamics import GRAVITY_MPS2
from ..sim.params import YAW, X, Y
from .lap_evaluation import undisturbed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..config import EnvSettings
    from ..sim import Track
    from .lap_evaluation import Controller, Drive
    from .races import RaceResult


class DriveTape:
    """Drive by another controller; remember where each start was and each action."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.poses = np.empty((0, 3))  # (E, 3) x m, y m, yaw rad
        self.actions: list[NDArray[Any]] = []  # each (E, 2)

    def __call__(self, race: Race, observations: NDArray[np.float32]) -> NDArray[Any]:
        """Return the other controller's actions (E, 1, 2)."""
        if not self.actions:
            self.poses = race.world.states[:, 0][:, [X, Y, YAW]].copy()
        actions = self._controller(race, observations)
        self.actions.append(np.array(actions[:, 0]))
        return actions


class Rivals(NamedTuple):
    """The other cars of a race, row by row as in the trace of the car that is followed."""

    states: NDArray[np.float64]  # (n, M, 7)
    there: NDArray[np.bool_]  # (n, M) false once a car has left the track
    cars: tuple[int, ...]  # the number of each in its race; the pictures' colours go by it
    names: tuple[str, ...]  # of all cars of the race, the followed one too, by number


class Trace(NamedTuple):
    """A stretch of driving, one row a physics step, the first at time 0."""

    track: Track
    settings: EnvSettings
    time_s: NDArray[np.float64]  # (n,)
    states: NDArray[np.float64]  # (n, 7), indices of training.sim.params
    commands: NDArray[np.float64]  # (n, 2) steering rad, speed m/s, in force before each row
    scans: NDArray[np.float32]  # (n, beams) m, as the policy sees them
    lap_s: float | None  # None: the lap, or the race, was not completed
    collided: bool
    arc_m: NDArray[np.float64]  # (n,) place along the centreline, as laps are counted by it
    grip_mps2: float  # what the tyres hold: friction of vehicle and episode times gravity
    start: int = 0  # which of the drives it is, and its lap in there
    lap: int = 0
    rivals: Rivals | None = None  # in a race
    car: int = 0  # the number of the followed car in its race

    @property
    def step_s(self) -> float:
        """Give the time between two rows, s."""
        return float(self.time_s[1] - self.time_s[0])

    @property
    def xy(self) -> NDArray[np.float64]:
        """Give the places (n, 2) m."""
        return self.states[:, [X, Y]]


def best_lap(tape: DriveTape, drives: Sequence[Drive], track: Track, settings: EnvSettings) -> Trace:
    """Return the fastest lap of these drives on one track; without any lap, the drive that came furthest.

    Exact: the same simulator, start and actions give the same drive.
    """
    laps = [(lap_s, e, k) for e, drive in enumerate(drives) for k, lap_s in enumerate(drive.lap_s)]
    if laps:
        _, e, k = min(laps)
        return _lap(tape, drives, track, settings, (e, k))
    e = int(np.argmax([drive.distance_m for drive in drives]))
    end_s = drives[e].distance_m / max(drives[e].mean_speed_mps, 1e-9)
    return _replay(tape, e, track, settings, (0.0, end_s))._replace(collided=drives[e].collided)


def matching_lap(
    tape: DriveTape, drives: Sequence[Drive], track: Track, settings: EnvSettings, other: Trace
) -> Trace:
    """Return the lap of these drives to compare another driver's lap with: from the same start, the same lap of it.

    Without that one, their fastest: of the two laps one or both may then begin at rest at a place of its own.
    """
    if other.lap_s is not None and other.lap < len(drives[other.start].lap_s):
        return _lap(tape, drives, track, settings, (other.start, other.lap))
    return best_lap(tape, drives, track, settings)


def _lap(
    tape: DriveTape, drives: Sequence[Drive], track: Track, settings: EnvSettings, which: tuple[int, int]
) -> Trace:
    """Replay a lap: the number of its drive, and its own in there."""
    e, k = which
    lap_s, begin_s = drives[e].lap_s[k], sum(drives[e].lap_s[:k])
    trace = _replay(tape, e, track, settings, (begin_s, begin_s + lap_s))
    return trace._replace(lap_s=lap_s, lap=k)


def _replay(
    tape: DriveTape, e: int, track: Track, settings: EnvSettings, span_s: tuple[float, float]
) -> Trace:
    """Drive start `e` again; keep the physics steps within a span of its time, the one after it included."""
    race = Race(undisturbed(settings), [track], 1)
    world, actions = race.world, np.array([row[e] for row in tape.actions], dtype=np.float64)
    world.reset(tape.poses[None, [e]])
    begin, end = (round(at_s / world.timestep_s) for at_s in span_s)
    commands = race.commands_of(np.clip(actions, -1.0, 1.0)[:, None, None, :])
    rows = [(world.states[0, 0].copy(), np.zeros(2), world.scans[0, 0].astype(np.float32), world.arc_m[0, 0])]
    for tick in range(min(end + 1, len(actions) * settings.action_repeat)):
        command = commands[tick // settings.action_repeat]
        world.step(command)
        alive()
        scan = world.scans[0, 0].astype(np.float32)
        rows.append((world.states[0, 0].copy(), command[0, 0], scan, world.arc_m[0, 0]))
        alive()
        if world.collisions[0, 0]:
            break
    states, told, scans, arc_m = (np.array(column) for column in zip(*rows[begin:], strict=True))
    time_s = np.arange(len(states)) * world.timestep_s
    return Trace(
        track, settings, time_s, states, told, scans, None,
        collided=False, arc_m=arc_m, grip_mps2=_grip_mps2(race, 0), start=e,
    )  # fmt: skip


def _grip_mps2(race: Race, car: int) -> float:
    """Return the acceleration that a car's tyres hold in this episode, m/s^2."""
    return float(race.world.state_dict()["friction"][0, car]) * GRAVITY_MPS2


def race_trace(result: RaceResult, names: Sequence[str]) -> Trace:
    """Return a race as its winner drove it, or the car that came furthest if none finished; names: of the cars.

    Exact: the same simulator, starts and commands give the same race.
    """
    tape = result.tape
    car = next(n for n, entry in enumerate(result.entries) if entry.position == 1)
    entry = result.entries[car]
    others = tuple(n for n in range(len(names)) if n != car)
    race = Race(tape.settings, [tape.track], 1, len(names))
    race.reset(poses=tape.poses[None])
    world, repeat = race.world, tape.settings.action_repeat
    # Commands went through the range of actions on their way to the cars.
    commands = race.commands_of(race.actions_of(tape.commands))
    scan = world.scans[0, car].astype(np.float32)
    rows = [(world.states[0].copy(), np.zeros(2), scan, ~tape.out[0], world.arc_m[0, car])]
    end = len(commands) if entry.finish_s is None else math.ceil(entry.finish_s / race.decision_s - 1e-9)
    for command, out in zip(commands[:end], tape.out[:end], strict=True):
        if out[car]:
            break
        if out.any():
            world.take_out(out[None])
        before = world.state_dict()
        for _ in range(repeat):
            world.step(command[None])
            alive()
            scan = world.scans[0, car].astype(np.float32)
            rows.append((world.states[0].copy(), command[car], scan, ~out, world.arc_m[0, car]))
        # The race itself took all of a decision's steps at once, in which a car that touches a wall stays there.
        world.load_state_dict(before)
        world.step(command[None], repeat)
        alive()
        alive()
    if entry.finish_s is not None:
        rows = rows[: round(entry.finish_s / world.timestep_s) + 1]
    states, told, scans, there, arc_m = (np.array(column) for column in zip(*rows, strict=True))
    rivals = Rivals(states[:, others], there[:, others], others, tuple(names))
    time_s = np.arange(len(states)) * world.timestep_s
    crashed = entry.at_fault or entry.wall
    return Trace(
        tape.track, tape.settings, time_s, states[:, car], told, scans, entry.finish_s,
        collided=crashed, arc_m=arc_m, grip_mps2=_grip_mps2(race, car), rivals=rivals, car=car,
    )  # fmt: skip
