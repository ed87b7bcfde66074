"""The races of a report: agents and drivers against each other, a run's policies over time, the race to film."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from training.report.contestants import Named, driver, policy_at, steps_of
from training.report.loading import policy_of
from training.report.race_table import Row, beaten, elo, table
from training.report.races import Contestant, pairings, race_all
from training.report.record import race_trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.report.loading import LoadedRun
    from training.report.races import RaceResult
    from training.report.record import Trace
    from training.sim import Track
    from training.store.storage import Storage

RACES, LAPS = 4, 1  # between each two, and of each race
# A report takes half a minute: with many agents fewer races each, of many checkpoints some.
MOST_RACES, MOST_STEPS = 120, 5
DRIVERS = ("follow_the_gap", "pure_pursuit")
# All of them are in the picture's legend.
MOST_FILMED = 8
FILM_SEED = 5


class OverTime(NamedTuple):
    """Policies of different steps raced against each other."""

    agent: int
    steps: list[int]
    wins: NDArray[np.float64]  # (K, K) races in which the row came in before the column
    elo: NDArray[np.float64]  # (K,)
    races: int  # between each two


class Season(NamedTuple):
    """All races of a report."""

    track: Track
    rows: list[Row]
    races: int  # between each two
    over_time: OverTime | None  # None: the run left fewer than two policies
    trace: Trace
    filmed: RaceResult


def season_of(loaded: LoadedRun, storage: Storage, track: Track) -> Season:
    """Race the agents of a run, two drivers and the run's earlier policies on one track, a few laps each."""
    agents = [
        Contestant(
            _agent_name(loaded, number), loaded.config.env, policy_of(storage, loaded.run, number).policy
        )
        for number in range(loaded.agents)
    ]
    field = [*agents, *(driver(name, loaded.config.env) for name in DRIVERS)]
    races = max(1, min(RACES, MOST_RACES // len(pairings(len(field), 1))))
    results = race_all(field, pairings(len(field), races), track, laps=LAPS)
    past = _snapshots(loaded, storage)
    trace, filmed = _film(
        agents if len(agents) > 1 else [*agents, *past[::-1]], loaded.config.num_cars, track
    )
    return Season(
        track,
        table([one.name for one in field], results),
        races,
        _over_time(loaded, past, track),
        trace,
        filmed,
    )


def in_words(over_time: OverTime) -> list[dict[str, Any]]:
    """Return the rows of the matrix of checkpoints: rating, and the share of races won against each other one."""
    rows = []
    for i, step in enumerate(over_time.steps):
        cells = [
            "–" if i == k else f"{100.0 * over_time.wins[i, k] / over_time.races:.0f} %"
            for k in range(len(over_time.steps))
        ]
        rows.append({"step": f"{step:,}", "elo": f"{over_time.elo[i]:.0f}", "cells": cells})
    return rows


def _agent_name(loaded: LoadedRun, number: int) -> str:
    return f"agent {number}" if loaded.agents > 1 else "policy"


def _snapshots(loaded: LoadedRun, storage: Storage) -> list[Contestant]:
    """Return an agent's policies of a few steps from the first save to the last, by their steps."""
    steps = [step for step in steps_of(storage, loaded.run, loaded.agent) if step > 0]
    chosen = sorted({steps[round(i)] for i in np.linspace(0, len(steps) - 1, min(MOST_STEPS, len(steps)))})
    return [
        Contestant(
            f"step {step:,}",
            loaded.config.env,
            policy_at(storage, loaded.config, Named(loaded.run, step, loaded.agent)),
        )
        for step in chosen
    ]


def _over_time(loaded: LoadedRun, past: Sequence[Contestant], track: Track) -> OverTime | None:
    if len(past) < 2:
        return None
    results = race_all(past, pairings(len(past), RACES), track, laps=LAPS)
    wins = beaten(len(past), results)
    steps = [int(one.name.removeprefix("step ").replace(",", "")) for one in past]
    return OverTime(loaded.agent, steps, wins, elo(wins), RACES)


def _film(drivers: Sequence[Contestant], cars: int, track: Track) -> tuple[Trace, RaceResult]:
    """Race as many cars as the run has and return the race with the most passes; drivers take turns in the cars."""
    seats = [car % len(drivers) for car in range(min(cars, MOST_FILMED))]
    results = race_all(drivers, [seats] * len(seats), track, laps=LAPS, seed=FILM_SEED)
    chosen = max(results, key=lambda one: (sum(e.finished for e in one.entries), one.overtakes))
    names = [drivers[seat].name for seat in seats]
    twice = [name if names.count(name) == 1 else f"{name}, car {car}" for car, name in enumerate(names)]
    return race_trace(chosen, twice), chosen
