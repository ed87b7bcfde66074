"""Agents that learnt together, in figures: laps alone, races without a crash at fault, self-play against its own past.

    make bench ARGS="-k bench_racing"      one training of 15 minutes (BENCH_MINUTES=), two of 3, five by steps

Settings of `make train TYPE=sac_multiagent` (preset local), 2 cars. Alone: ten standing starts a track, one lap, on
the training track generated-1 and two unseen ones. Races: two cars, LAPS laps from standing on an unseen track, RACES
in single file, START_GAP_M from one to the other, each car in front in half of them, and as many side by side, each on
either side in half. `training.sim.contact_fault` judges fault (docs/racing.md). A race is clean if no
car ended it by a contact at its own fault, and the winner's mean pace, standing start included, is at least
MINIMUM_MPS: cars that crawl past each other prove nothing.

Self-play: one agent in both cars of a league, against its own champions, as docs/self_play.yaml says: by steps, not by
the clock, so that a slower machine trains as much. What is kept at the end meets what was kept at half-time, RACES
times. Parts of the recipe were chosen on seeds 0 and 1, and a shorter one failed on three of SEEDS. It is decided side
by side, as RoboRacer's head-to-head rounds start: in single file whoever starts in front stays there, for a car that is
some percent faster follows (those races are recorded too). Races are spread over the tracks, of the training track and
five unseen ones, that both complete ten of ten alone: who falls off a track by himself has not been beaten. The
training track must be one of them.

Passing: a league at the preset's cap whose opponents ask for 0.6 to 1.0 of their speed, where a contact ends the
episode and where it only costs. The policy of the end starts behind a copy of itself that asks for SLOWER of its speed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from tests.bench.bench_learning import STARTS, UNSEEN, laps_of, settings, three_tracks, unseen
from training.config import load_config
from training.evaluation.entrants import Named, policy_at
from training.evaluation.load_run import policy_of, runs_in
from training.evaluation.races import Entrant, race_all
from training.evaluation.ratings import wilson
from training.run import runner
from training.sim import Track
from training.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from training.agents.policy import Policy
    from training.config import Config, EnvSettings
    from training.config.fields import Grid
    from training.evaluation.load_run import LoadedRun
    from training.evaluation.races import RaceResult
    from training.store.storage import Storage

MINUTES = float(os.environ.get("BENCH_MINUTES", "15"))
RACES, LAPS = 200, 2
START_GAP_M, MINIMUM_MPS = 2.0, 4.0
SELF_PLAY = Path("docs/self_play.yaml")
PASSING_MINUTES = 3.0
PASSING = (
    "env.reward.collision=-2",
    "multi_agent.league.self_fraction=0.2",
    "multi_agent.league.snapshot_fraction=0.8",
    "multi_agent.league.pure_pursuit=0",
    "multi_agent.league.follow_the_gap=0",
    "multi_agent.league.speed_factor=[0.6, 1.0]",
)
SEEDS = range(5)
SLOWER = 0.7
CLEAN_SHARE = 0.8
GRIDS: tuple[Grid, ...] = ("single_file", "side_by_side")  # self-play is decided by the last

duels: dict[int, int] = {}  # of each seed: races won


def two_cars(mode: str, *overrides: str, minutes: float = MINUTES) -> Config:
    """Return settings to train two cars so long."""
    return settings(
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


def trained(config: Config, store: Path) -> tuple[Storage, str, dict[str, Any]]:
    """Train to the end of the settings; return the store, the run and what it took."""
    began_s, busy_s = time.monotonic(), time.process_time()
    runner.train(config, store=str(store))
    storage = open_store(str(store))
    (run,) = runs_in(storage)
    minutes = round((time.monotonic() - began_s) / 60, 1)
    took = {
        "mode": config.multi_agent.mode,
        "minutes": minutes,
        "processor s": round(time.process_time() - busy_s),
    }
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


def raced(first: Entrant, second: Entrant, tracks: list[Track], grid: Grid) -> list[RaceResult]:
    """Race the two RACES times from such a grid, spread evenly over the tracks."""
    spread = [tracks[i] for i in np.sort(np.arange(RACES) % len(tracks))]
    return race_all([first, second], [(0, 1)] * RACES, spread, laps=LAPS, grid=grid)


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
    storage, run, took = trained(two_cars("independent"), tmp_path)
    agents = [policy_of(storage, run, number) for number in range(2)]
    laps = [alone(agent.policy, agent.config, three_tracks()) for agent in agents]
    for agent, row in zip(agents, laps, strict=True):
        kept = {"agent": agent.agent, "kept step": agent.kept_step, "of steps": agent.step}
        record_bench("racing alone", {**took, **kept, **row})
    first, second = (Entrant(f"agent {one.agent}", one.config.env, one.policy) for one in agents)
    dirty = []
    for grid in GRIDS:
        results = raced(first, second, unseen(1), grid)
        record_bench("racing together", {**took, "grid": grid, **in_words(results)})
        if sum(map(is_clean, results)) < CLEAN_SHARE * RACES:
            dirty.append(grid)
    assert all(row["generated-1"][0] == STARTS for row in laps)
    assert dirty == []


@pytest.mark.bench
@pytest.mark.parametrize("seed", SEEDS)
def test_self_play_beats_its_own_half_time(seed: int, tmp_path: Path, record_bench: Any) -> None:
    """What is kept at the end surely wins more than half of the races against what was kept at half-time."""
    config = load_config(SELF_PLAY, [f"training.seed={seed}", "training.report=false"])
    steps = config.training.total_timesteps
    half_time = config.training.model_copy(update={"total_timesteps": steps // 2})
    storage, run, took = trained(config.model_copy(update={"training": half_time}), tmp_path)
    half = policy_of(storage, run)
    began_s = time.monotonic()
    runner.train(
        half.config, store=str(tmp_path), resume=run, overrides=[f"training.total_timesteps={steps}"]
    )
    end = policy_of(storage, run)
    assert (half.step, end.step) == (steps // 2, steps), "neither may be cut short"
    took["minutes"] = round(took["minutes"] + (time.monotonic() - began_s) / 60, 1)
    won = against_half_time(end, half, record_bench, {**took, "seed": seed})
    duels[seed] = won
    assert wilson(won, RACES)[0] > 0.5


@pytest.mark.bench
def test_self_play_beats_its_own_half_time_over_all_seeds(record_bench: Any) -> None:
    """Less than the goal, which is each training's.

    Races of one training are alike in more than luck, so this interval is narrower than five trainings can tell.
    """
    if not duels:
        pytest.fail("no seed was trained to the end")
    won, races = sum(duels.values()), RACES * len(duels)
    interval = wilson(won, races)
    told = {"seeds": len(duels), "races": races, "won": won}
    record_bench("self-play, all seeds", {**told, "won interval": [round(b, 3) for b in interval]})
    assert set(duels) == set(SEEDS)
    assert interval[0] > 0.5


def against_half_time(
    end: LoadedRun, half: LoadedRun, record_bench: Callable[[str, dict[str, Any]], None], took: dict[str, Any]
) -> int:
    """Race what is kept at the end against what was kept at half-time; return the races won side by side.

    None are where they do not both complete ten of ten of the training track alone.
    """
    config = end.config
    selves = {"end": end, "half-time": half}
    tracks = [Track.load("generated-1"), *unseen(len(UNSEEN))]
    laps = {name: alone(one.policy, config, tracks) for name, one in selves.items()}
    for name, one in selves.items():
        who = {
            "who": name,
            "kept step": one.kept_step,
            "of steps": one.step,
            "cap m/s": config.env.speed_cap_mps,
        }
        record_bench("self-play alone", {**took, **who, **laps[name]})
    fair = [track for track in tracks if all(row[track.name][0] == STARTS for row in laps.values())]
    if tracks[0] not in fair:
        return 0
    first, second = (Entrant(name, config.env, one.policy) for name, one in selves.items())
    results: list[RaceResult] = []
    for grid in GRIDS:
        results = raced(first, second, fair, grid)
        told = {"grid": grid, "tracks": [track.name for track in fair]}
        record_bench("self-play", {**took, **told, **in_words(results)})
    return sum(race.entries[0].won for race in results)


class Slowed(NamedTuple):
    """A policy that asks for a share of the speed that it would."""

    policy: Policy
    settings: EnvSettings
    share: float

    def encode(self) -> bytes:  # what tells a policy from a driver that knows the world
        return self.policy.encode()

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        actions = np.clip(self.policy.act(observations), -1.0, 1.0)
        low, high = self.settings.min_speed_mps, self.settings.speed_cap_mps
        speed_mps = self.share * (low + 0.5 * (actions[:, 1] + 1.0) * (high - low))
        actions[:, 1] = (speed_mps - low) / (0.5 * (high - low)) - 1.0
        return actions


@pytest.mark.bench
@pytest.mark.parametrize("terminate_at_fault_contact", ["true", "false"])
def test_a_league_learns_to_pass_slower_cars(
    terminate_at_fault_contact: str, tmp_path: Path, record_bench: Any
) -> None:
    """Where a contact only costs, more than half of the races behind a slower car are won."""
    rule = f"env.race.terminate_at_fault_contact={terminate_at_fault_contact}"
    storage, run, took = trained(two_cars("league", *PASSING, rule, minutes=PASSING_MINUTES), tmp_path)
    end = policy_of(storage, run)
    policy = policy_at(storage, Named(run, end.step, end.agent), end.config.actor_sizes)
    slowed: Any = Slowed(policy, end.config.env, SLOWER)
    pair = [Entrant("policy", end.config.env, policy), Entrant("slower", end.config.env, slowed)]
    races = race_all(pair, [(0, 1)] * RACES, unseen(1)[0], laps=LAPS, grid="single_file")
    behind = [race for race in races if race.entries[0].start == 2]
    told = {
        "contact ends": terminate_at_fault_contact == "true",
        "agent": end.agent,
        "step": end.step,
        "share": SLOWER,
    }
    row = {**told, **alone(policy, end.config, three_tracks()), **in_words(behind)}
    record_bench("passing", {**took, **row, "at fault": sum(race.entries[0].at_fault for race in behind)})
    assert terminate_at_fault_contact == "true" or wilson(row["won"], len(behind))[0] > 0.5
