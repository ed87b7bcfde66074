"""The end of a run: its laps beside the yardsticks', the report, and where everything lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from training.display import LapRow, laps_table
from training.envs.drivers_gap import FollowTheGap
from training.envs.drivers_pursuit import PurePursuit
from training.report.evaluation import Drive, evaluate
from training.sim import Track

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from training.agents.policy import Kept
    from training.config import Config
    from training.envs.opponents import Driver
    from training.envs.race import Race

CLOSING_SEED = 9_000_000


class Laps(NamedTuple):
    """Drives of the kept policy and of the yardsticks, on the same tracks from the same starts."""

    policy: list[Drive]
    pure_pursuit: list[Drive]
    follow_the_gap: list[Drive]


class Driven:
    """Let a driver that gives commands drive as a Controller."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __call__(self, race: Race, observations: NDArray[np.float32]) -> NDArray[Any]:  # noqa: ARG002 - Controller
        """Return the actions (E, N, 2) that stand for the driver's commands."""
        return race.actions_of(self._driver.act(race.world))


def drive_laps(config: Config, best: Kept | None) -> Laps:
    """Drive the first training track and the unseen ones: the kept policy, pure pursuit, follow-the-gap."""
    tracks = [Track.load(name) for name in (config.env.tracks[0], *config.evaluation.tracks)]
    drivers = (best.policy if best else None, Driven(PurePursuit()), Driven(FollowTheGap()))
    how = {"starts": config.evaluation.starts, "laps": config.evaluation.laps, "seed": CLOSING_SEED}
    return Laps(*([] if driver is None else evaluate(driver, config.env, tracks, **how) for driver in drivers))


def show(config: Config, laps: Laps, best: Kept | None) -> None:
    """Print the table of laps."""
    named = (("policy", laps.policy), ("pure pursuit", laps.pure_pursuit), ("follow the gap", laps.follow_the_gap))
    rows = [
        lap_row(driver, [d for d in drives if d.track == track], unseen=track in config.evaluation.tracks)
        for track in dict.fromkeys(d.track for d in laps.pure_pursuit)
        for driver, drives in named
        if drives
    ]
    chosen = "no policy was kept" if best is None else f"the kept policy is that of step {best.step:,}"
    laps_table(f"Laps from standing starts; {chosen}", rows)


def lap_row(driver: str, drives: list[Drive], *, unseen: bool) -> LapRow:
    """Sum up a driver's starts on one track; nan where no lap was completed."""
    laps = [lap for drive in drives for lap in drive.lap_s] or [float("nan")]
    completed = [drive for drive in drives if drive.completed]
    return LapRow(
        track=drives[0].track,
        driver=driver,
        completed=len(completed),
        starts=len(drives),
        best_lap_s=min(laps),
        mean_lap_s=float(np.mean(laps)),
        mean_speed_mps=float(np.mean([d.mean_speed_mps for d in completed])) if completed else float("nan"),
        top_speed_mps=max(d.top_speed_mps for d in drives),
        unseen=unseen,
    )
