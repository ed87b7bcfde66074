"""A lap in full: every physics step of a drive that was timed, replayed from its start and its actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from training.envs.race import Race
from training.report.evaluation import undisturbed
from training.sim.params import YAW, X, Y

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.config import EnvSettings
    from training.report.evaluation import Controller, Drive
    from training.sim import Track


class Tape:
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


class Trace(NamedTuple):
    """A stretch of driving, one row a physics step, the first at time 0."""

    track: Track
    settings: EnvSettings
    time_s: NDArray[np.float64]  # (n,)
    states: NDArray[np.float64]  # (n, 7), indices of training.sim.params
    commands: NDArray[np.float64]  # (n, 2) steering rad, speed m/s, in force before each row
    scans: NDArray[np.float32]  # (n, beams) m, as the policy sees them
    lap_s: float | None  # None: the lap was not completed
    collided: bool

    @property
    def step_s(self) -> float:
        """Give the time between two rows, s."""
        return float(self.time_s[1] - self.time_s[0])

    @property
    def xy(self) -> NDArray[np.float64]:
        """Give the places (n, 2) m."""
        return self.states[:, [X, Y]]


def best_lap(tape: Tape, drives: Sequence[Drive], track: Track, settings: EnvSettings) -> Trace:
    """Return the fastest lap of these drives on one track; without any lap, the drive that came furthest.

    Exact: the same simulator, start and actions give the same drive.
    """
    laps = [(lap_s, e, k) for e, drive in enumerate(drives) for k, lap_s in enumerate(drive.lap_s)]
    if laps:
        lap_s, e, k = min(laps)
        begin_s = sum(drives[e].lap_s[:k])
        return _replay(tape, e, track, settings, (begin_s, begin_s + lap_s))._replace(lap_s=lap_s)
    e = int(np.argmax([drive.distance_m for drive in drives]))
    end_s = drives[e].distance_m / max(drives[e].mean_speed_mps, 1e-9)
    return _replay(tape, e, track, settings, (0.0, end_s))._replace(collided=drives[e].collided)


def _replay(tape: Tape, e: int, track: Track, settings: EnvSettings, span_s: tuple[float, float]) -> Trace:
    """Drive start `e` again; keep the physics steps within a span of its time, the one after it included."""
    race = Race(undisturbed(settings), [track], 1)
    world, actions = race.world, np.array([row[e] for row in tape.actions], dtype=np.float64)
    world.reset(tape.poses[None, [e]])
    begin, end = (round(at_s / world.timestep_s) for at_s in span_s)
    commands = race.commands_of(np.clip(actions, -1.0, 1.0)[:, None, None, :])
    rows = [(world.states[0, 0].copy(), np.zeros(2), world.scans[0, 0].astype(np.float32))]
    for tick in range(min(end + 1, len(actions) * settings.action_repeat)):
        command = commands[tick // settings.action_repeat]
        world.step(command)
        rows.append((world.states[0, 0].copy(), command[0, 0], world.scans[0, 0].astype(np.float32)))
        if world.collisions[0, 0]:
            break
    states, told, scans = (np.array(column) for column in zip(*rows[begin:], strict=True))
    time_s = np.arange(len(states)) * world.timestep_s
    return Trace(track, settings, time_s, states, told, scans, None, collided=False)
