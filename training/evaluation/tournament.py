"""The races of a report: agents and drivers against each other, a run's policies over time, the race to film."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import UsageError
from .baselines import FOLLOW_THE_GAP, PURE_PURSUIT
from .entrants import Named, driver, policy_at, steps_of
from .load_run import policies_of
from .races import Entrant, pairings, race_all
from .ratings import ContestantRow, beaten, elo, table
from .recording import race_trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..config.fields import Grid
    from ..sim import Track
    from ..store.storage import Storage
    from .load_run import LoadedRun
    from .races import RaceResult
    from .recording import Trace

# Races of each pair: with alternating starts in single file and side by side, each has every place of both once.
RACES, LAPS = 4, 1
# Of many checkpoints some, and more races between each two: they are nearly equals.
MOST_STEPS, RACES_OVER_TIME = 5, 8
DRIVERS = {"pure_pursuit": PURE_PURSUIT, "follow_the_gap": FOLLOW_THE_GAP}
# All of them are in the picture's legend.
MOST_FILMED = 8
FILM_SEED = 5


class PolicyHistory(NamedTuple):
    """Policies of different steps raced against each other."""

    agent: int
    steps: list[int]
    wins: NDArray[np.float64]  # (K, K) races in which the row came in before the column
    elo: NDArray[np.float64]  # (K,)
    races: int  # between each two
    grid: Grid  # how they start


class Tournament(NamedTuple):
    """All races of a report."""

    track: Track
    grid: Grid  # how cars start
    rows: list[ContestantRow]
    over_time: PolicyHistory | None  # None: the run left fewer than two policies
    trace: Trace
    filmed: RaceResult


def run_tournament(loaded: LoadedRun, storage: Storage, track: Track) -> Tournament:
    """Race the agents of a run, two drivers and the run's earlier policies on one track, a few laps each."""
    own = policies_of(loaded, storage)
    agents = [Entrant(name, loaded.config.env, policy) for name, policy in own.items()]
    baseline_drivers = [
        driver(name, loaded.config.env)._replace(name=shown) for name, shown in DRIVERS.items()
    ]
    field = [*agents, *baseline_drivers]
    results = race_all(field, pairings(len(field), RACES), track, laps=LAPS)
    past = _snapshots(loaded, storage)
    trace, filmed = _film(
        agents if len(agents) > 1 else [*agents, *past[::-1]], loaded.config.num_cars, track
    )
    return Tournament(
        track,
        loaded.config.env.race.grid,
        table([one.name for one in field], results),
        _over_time(loaded, past, track),
        trace,
        filmed,
    )


def in_words(over_time: PolicyHistory) -> list[dict[str, Any]]:
    """Return the rows of the matrix of checkpoints: rating, and the share of races won against each other one."""
    rows = []
    for i, step in enumerate(over_time.steps):
        cells = [
            "–" if i == k else f"{100.0 * over_time.wins[i, k] / over_time.races:.0f} %"
            for k in range(len(over_time.steps))
        ]
        rows.append({"step": f"{step:,}", "elo": f"{over_time.elo[i]:.0f}", "cells": cells})
    return rows


def _snapshots(loaded: LoadedRun, storage: Storage) -> list[Entrant]:
    """Return an agent's policies of a few steps from the first save to the last, by their steps."""
    steps = [step for step in steps_of(storage, loaded.run, loaded.agent) if step > 0]
    chosen = sorted({steps[round(i)] for i in np.linspace(0, len(steps) - 1, min(MOST_STEPS, len(steps)))})
    return [
        Entrant(
            f"step {step:,}",
            loaded.config.env,
            policy_at(storage, Named(loaded.run, step, loaded.agent), loaded.config.actor_sizes),
        )
        for step in chosen
    ]


def _over_time(loaded: LoadedRun, past: Sequence[Entrant], track: Track) -> PolicyHistory | None:
    if len(past) < 2:
        return None
    fixtures = pairings(len(past), RACES_OVER_TIME)
    # In single file the car in front mostly wins, even against a better driver; a policy that trained only with this
    # start knows no other.
    grid: Grid = "single_file" if loaded.config.env.race.grid == "single_file" else "side_by_side"
    try:
        results = race_all(past, fixtures, track, laps=LAPS, grid=grid)
    except UsageError:  # no room for two
        grid = "single_file"
        results = race_all(past, fixtures, track, laps=LAPS, grid=grid)
    wins = beaten(len(past), results)
    steps = [int(one.name.removeprefix("step ").replace(",", "")) for one in past]
    return PolicyHistory(loaded.agent, steps, wins, elo(wins), RACES_OVER_TIME, grid)


def _film(drivers: Sequence[Entrant], cars: int, track: Track) -> tuple[Trace, RaceResult]:
    """Race as many cars as the run has and return the race with the most passes; drivers take turns in the cars."""
    seats = [car % len(drivers) for car in range(min(cars, MOST_FILMED))]
    results = race_all(drivers, [seats] * len(seats), track, laps=LAPS, seed=FILM_SEED)
    chosen = max(results, key=lambda one: (sum(e.finished for e in one.entries), one.overtakes))
    names = [drivers[seat].name for seat in seats]
    twice = [name if names.count(name) == 1 else f"{name}, car {car}" for car, name in enumerate(names)]
    return race_trace(chosen, twice), chosen
