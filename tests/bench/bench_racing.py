"""Agents that learnt together, in figures: laps alone, races without a crash at fault, self-play against its own past.

    make bench ARGS="-k bench_racing"      two trainings of 15 minutes; BENCH_MINUTES= trains shorter or longer

Settings of `make train TYPE=sac_multiagent` (preset local), 2 cars. Alone: ten standing starts a track, one lap, on
the training track generated-1 and two unseen ones. Races: two cars, START_GAP_M from one to the other on the grid,
LAPS laps from standing on an unseen track, each car in front in half of them. Fault is what
`training.sim.fault.judge_contact` says (docs/multi_agent.md). A race is clean if no car ended it by a contact at its
own fault, and the winner's mean pace, standing start included, is at least MINIMUM_MPS: cars that crawl past each other
prove nothing.

Self-play is raced at SELF_PLAY_CAP_MPS: at the 8 m/s of the preset half of the training is enough to drive flat out
everywhere, and whoever starts in front stays there. Half-time is the end of a training of half the length, which then
goes on; each policy is the one that its training keeps. Its races are spread over the tracks, of the training track and
five unseen ones, that both complete ten of ten alone: who falls off a track by himself has not been beaten. The
training track must be one of them, and the final policy must be of a step after half-time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.bench.bench_learning import STARTS, UNSEEN, laps_of, settings, three_tracks, unseen
from training import runner
from training.report.loading import policy_of, runs_in
from training.report.race_table import wilson
from training.report.races import Contestant, race_all
from training.sim import Track
from training.store.opening import open_store

if TYPE_CHECKING:
    from training.agents.policy import Policy
    from training.config import Config
    from training.report.races import RaceResult
    from training.store.storage import Storage

MINUTES = float(os.environ.get("BENCH_MINUTES", "15"))
RACES, LAPS = 200, 2
START_GAP_M, MINIMUM_MPS = 2.0, 4.0
SELF_PLAY_CAP_MPS = float(os.environ.get("BENCH_CAP_MPS", "12"))
CLEAN_SHARE = 0.8


def trained(
    mode: str, store: Path, *overrides: str, minutes: float = MINUTES
) -> tuple[Storage, str, dict[str, Any]]:
    """Train two cars; return the store, the run and what it took."""
    config = settings(
        0,
        "training.training_type=sac_multiagent",
        "training.num_agents=2",
        f"multi_agent.mode={mode}",
        f"training.max_minutes={minutes}",
        "training.total_timesteps=100000000",
        "training.save_interval_s=60",
        f"env.race.grid_spacing_m={START_GAP_M}",
        *overrides,
    )
    busy_s = time.process_time()
    runner.train(config, store=str(store))
    storage = open_store(str(store))
    (run,) = runs_in(storage)
    took = {"mode": mode, "minutes": minutes, "processor s": round(time.process_time() - busy_s)}
    return storage, run, took


def alone(policy: Policy, config: Config, tracks: list[Track]) -> dict[str, tuple[int, float]]:
    """Return the completed of ten laps by track, and their mean speed in m/s."""
    drives = laps_of(policy, config, tracks, seed=77)
    told = {}
    for track in tracks:
        here = [d for d in drives if d.track == track.name]
        told[track.name] = (
            sum(d.completed for d in here),
            round(sum(d.mean_speed_mps for d in here) / len(here), 2),
        )
    return told


def raced(first: Contestant, second: Contestant, tracks: list[Track]) -> list[RaceResult]:
    """Race the two RACES times, spread evenly over the tracks."""
    shares = [len(part) for part in np.array_split(np.arange(RACES), len(tracks))]
    return [
        race
        for track, races in zip(tracks, shares, strict=True)
        for race in race_all([first, second], [(0, 1)] * races, track, laps=LAPS)
    ]


def is_clean(race: RaceResult) -> bool:
    """Tell whether a race was driven at a pace and nobody drove into the other."""
    way_m = LAPS * race.tape.track.length_m
    paced = any(e.finish_s is not None and way_m / e.finish_s >= MINIMUM_MPS for e in race.entries)
    return paced and not any(e.at_fault for e in race.entries)


def in_words(results: list[RaceResult]) -> dict[str, Any]:
    """Return what came of races: wins of the first with their 95 % interval, clean races, how cars ended."""
    entries = [entry for race in results for entry in race.entries]
    wins, clean = sum(race.entries[0].won for race in results), sum(is_clean(race) for race in results)
    lost = sum(race.entries[1].won for race in results)
    return {
        "races": len(results),
        "won": wins,
        "won interval": [round(bound, 3) for bound in wilson(wins, len(results))],
        "lost": lost,
        "clean": clean,
        "clean interval": [round(bound, 3) for bound in wilson(clean, len(results))],
        "cars": len(entries),
        "finished": sum(e.finished for e in entries),
        "at fault": sum(e.at_fault for e in entries),
        "hit": sum(e.hit for e in entries),
        "wall": sum(e.wall for e in entries),
        "overtakes": sum(e.overtakes for e in entries),
    }


@pytest.mark.bench
def test_two_agents_lap_alone_and_race_without_crashing_into_each_other(
    tmp_path: Path, record_bench: Any
) -> None:
    """Each completes 10 of 10 laps alone; at least 80 % of their races are clean."""
    storage, run, took = trained("independent", tmp_path)
    agents = [policy_of(storage, run, number) for number in range(2)]
    laps = [alone(agent.policy, agent.config, three_tracks()) for agent in agents]
    for agent, row in zip(agents, laps, strict=True):
        kept = {"agent": agent.agent, "kept step": agent.kept_step, "of steps": agent.step}
        record_bench("racing alone", {**took, **kept, **row})
    first, second = (Contestant(f"agent {one.agent}", one.config.env, one.policy) for one in agents)
    results = raced(first, second, unseen(1))
    record_bench("racing together", {**took, **in_words(results)})
    assert all(row["generated-1"][0] == STARTS for row in laps)
    assert sum(map(is_clean, results)) >= CLEAN_SHARE * RACES


@pytest.mark.bench
def test_self_play_beats_its_own_half_time(tmp_path: Path, record_bench: Any) -> None:
    """The policy kept in the end wins more than half of 200 races against the one kept at half-time."""
    cap = f"env.speed_cap_mps={SELF_PLAY_CAP_MPS}"
    storage, run, took = trained("shared", tmp_path, cap, minutes=MINUTES / 2)
    half = policy_of(storage, run)
    longer = [f"training.max_minutes={MINUTES}"]
    runner.train(half.config, store=str(tmp_path), resume=run, overrides=longer)
    final = policy_of(storage, run)
    took |= {"minutes": MINUTES, "half-time at step": half.step, "end at step": final.step}
    selves = {"final": final, "half-time": half}
    tracks = [Track.load("generated-1"), *unseen(len(UNSEEN))]
    laps = {name: alone(one.policy, final.config, tracks) for name, one in selves.items()}
    for name, row in laps.items():
        who = {"who": name, "kept step": selves[name].kept_step, "cap m/s": SELF_PLAY_CAP_MPS}
        record_bench("self-play alone", {**took, **who, **row})
    fair = [track for track in tracks if all(row[track.name][0] == STARTS for row in laps.values())]
    if not fair:
        pytest.fail("there is no track that both complete alone")
    first, second = (Contestant(name, final.config.env, one.policy) for name, one in selves.items())
    results = raced(first, second, fair)
    told = {"tracks": [track.name for track in fair]}
    record_bench("self-play", {**took, **told, **in_words(results)})
    assert all(row["generated-1"][0] == STARTS for row in laps.values())
    assert final.kept_step > half.step
    assert wilson(sum(race.entries[0].won for race in results), RACES)[0] > 0.5
