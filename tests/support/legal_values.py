"""Settings at the ends of what is legal, and a run that is short enough to try all of them.

The ends are read from the settings themselves, so that a new setting is tried without being named here.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from training.agents.multi_agent import MultiAgentSAC
from training.config import Config, load_config
from training.config.checks import check_backend
from training.config.memory import check_memory
from training.config.randomisation import SIMPLE_RANGES, RandomisationSettings
from training.config.resume import check_league
from training.config.text import walk
from training.config.vehicle import CarSettings
from training.envs.batch import RaceBatch
from training.envs.grid import check_grid
from training.evaluation import promotion
from training.sim import Track

# What acts on driving and learning; the other groups are about where and how often things are shown and kept.
GROUPS = ("env.", "sac.", "imitation.", "multi_agent.", "training.")
# Small, so that an end of one setting is what is tried. Later ones win: a case comes after these.
BASE = {
    "env.tracks": "[generated-1]",
    "env.num_envs": 4,
    "env.max_episode_s": 2.0,
    "sac.net_arch": "[16, 16]",
    "sac.batch_size": 16,
    "sac.buffer_size": 1000,
    "sac.learning_starts": 40,
    "sac.gradient_steps": 1,
    "imitation.timesteps": 60,
    "training.total_timesteps": 120,
}
# Of other tests, or of no computer: these settings are not tried, each for its reason.
LEFT_OUT = {
    "env.tracks": "names and files: tests/tracks",
    "env.vehicle": "names and files: tests/test_vehicle_settings.py",
    "env.backend": "the package is not installed everywhere: tests/parity",
    "training.run_name": "a name",
    "training.init_from": "a name: tests/test_policy_sources.py",
    "multi_agent.league.checkpoints": "names: tests/test_policy_sources.py",
    "training.device": "what a computer has",
    "training.preset": "the settings that others begin with",
    "training.resume_unfinished": "which run continues: tests/test_claimed_run.py",
    "training.report": "what is shown: tests/report",
    "training.max_minutes": "time: tests/test_limits.py",
    "training.save_frequency": "saving: tests/test_checkpointing.py",
    "training.save_interval_s": "saving: tests/test_checkpointing.py",
    "training.keep_checkpoints": "saving: tests/store/test_prune.py",
    "training.milestone_frequency": "saving: tests/test_checkpointing.py",
    "sac.torch_threads": "what a computer has",
}
# Several cars: their settings act on nothing else.
SEVERAL = {"training.training_type": "sac_multiagent", "training.num_agents": 2}
OF_SEVERAL = ("env.race.", "multi_agent.", "training.num_agents")
LEAGUE = {"multi_agent.mode": "league"}
# Together with an end that is large: what keeps it from taking minutes, which is not what is tried.
SMALLER: dict[str, dict[str, Any]] = {
    "env.num_envs": {"env.action_repeat": 1},
    "sac.batch_size": {"sac.buffer_size": 100_000},
    "sac.train_freq": {"env.num_envs": 1, "env.action_repeat": 1},
    "training.num_agents": {"env.race.grid_spacing_m": 1.0, "env.tracks": "[generated-1-l300]"},
    "env.speed_cap_mps": {"env.min_speed_mps": -5},
    "sac.gradient_steps": {"training.total_timesteps": 44},  # one round
}
# Together with all other settings the highest of these would take minutes or much memory; alone they are tried.
TOGETHER: dict[str, tuple[Any, ...]] = {
    "env.num_envs": (1, 256),
    "env.scans_stacked": (1, 3),
    "env.max_episode_s": (1, 60),
    "sac.batch_size": (1, 500),
    "sac.buffer_size": (1000, 1_000_000),
    "sac.gradient_steps": (1, 20),
    "sac.train_freq": (1, 3),
    "sac.net_arch": ("[1]", "[1, 1, 1, 1, 1, 1, 1, 1]", "[64]"),
    "training.num_agents": (1, 3),
    # Most pairs of a car's ends contradict each other; each is tried alone.
    **{f"env.car.{name}": ("null",) for name in CarSettings.model_fields},
}
LEAST_BEAMS = 20  # of follow-the-gap
SIZES = ("[1]", "[1, 1, 1, 1, 1, 1, 1, 1]", "[1024]")


class Case(NamedTuple):
    """Settings that are tried together."""

    values: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.values)

    def settings(self) -> list[str]:
        """Return the overrides of a short run with these values."""
        keys = [key for key, _ in self.values]
        found = dict(BASE)
        if any(key.startswith(OF_SEVERAL) for key in keys):
            found |= SEVERAL
        if any(key.startswith("multi_agent.league.") for key in keys):
            found |= LEAGUE
        for key in keys:
            found |= SMALLER.get(key, {})
        found |= dict(self.values)
        return [f"{key}={value}" for key, value in found.items()]


def ends() -> dict[str, tuple[Any, ...]]:
    """Return the ends of each setting that is tried: lowest and highest number, every word, both truth values."""
    found = {}
    for key, field in walk(Config):
        if not key.startswith(GROUPS) or key in LEFT_OUT:
            continue
        found[key] = SIZES if key == "sac.net_arch" else _ends_of(field.annotation, field.metadata)
    found["training.total_timesteps"] = (1, 500)  # the highest is a life's work
    return found


def _ends_of(kind: Any, metadata: Sequence[Any]) -> tuple[Any, ...]:
    if kind is bool:
        return ("true", "false")
    low = next((one.ge for one in metadata if isinstance(one, Ge)), None)
    above = next((one.gt for one in metadata if isinstance(one, Gt)), None)
    high = next((one.le for one in metadata if isinstance(one, Le)), None)
    assert not any(isinstance(one, Lt) for one in metadata)
    if high is not None:
        lowest = low if above is None else math.nextafter(above, math.inf)
        return (lowest, high)
    parts = get_args(kind)
    if getattr(kind, "__origin__", None) is tuple:  # a span
        (lowest, highest) = _ends_of(None, parts[0].__metadata__[0].metadata)
        return (f"[{lowest}, {lowest}]", f"[{lowest}, {highest}]", f"[{highest}, {highest}]")
    if parts and all(isinstance(part, str) for part in parts):
        return tuple(parts)
    found: list[Any] = []
    for part in parts:  # one of several: null, words, numbers
        if part is type(None):
            found.append("null")
        elif part is bool:
            found += ["true", "false"]
        elif hasattr(part, "__metadata__"):
            found += _ends_of(None, part.__metadata__[0].metadata)
        elif get_args(part):
            found += get_args(part)
    assert found, f"no ends are known of {kind}"
    return tuple(found)


def single_cases() -> Iterator[Case]:
    """Yield each end of each setting by itself."""
    for key, values in ends().items():
        for value in values:
            yield Case(((key, value),))


def pairwise_cases(seed: int) -> Iterator[Case]:
    """Yield cases in which every two ends of two settings meet at least once; each case gives all settings a value."""
    known = {key: TOGETHER.get(key, values) for key, values in ends().items()}
    keys = sorted(known)
    choices = {key: [(key, value) for value in values] for key, values in known.items()}
    left = {
        pair
        for first, second in itertools.combinations(keys, 2)
        for pair in itertools.product(choices[first], choices[second])
    }
    generator = random.Random(seed)
    while left:
        chosen = dict(generator.choice(sorted(left, key=str)))
        for key in generator.sample(keys, len(keys)):
            if key not in chosen:
                chosen[key] = max(known[key], key=lambda value, key=key: _new_pairs(left, chosen, key, value))
        case = tuple((key, chosen[key]) for key in keys)
        left.difference_update(itertools.combinations(case, 2))
        yield Case(tuple(_made_to_fit(chosen).items()))


def _new_pairs(left: set[Any], chosen: dict[str, Any], key: str, value: Any) -> int:
    mine = (key, value)
    return sum(((one, mine) if one[0] < key else (mine, one)) in left for one in chosen.items())


def _made_to_fit(chosen: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with the few changed that would refuse the others at once, so that those are tried."""
    fitted = {**chosen, "training.total_timesteps": 4 * chosen["env.num_envs"]}
    if fitted["env.min_speed_mps"] >= fitted["env.speed_cap_mps"]:
        fitted["env.min_speed_mps"] = -5
    fitted["sac.buffer_size"] = max(fitted["sac.buffer_size"], 10_000)
    fitted["sac.learning_starts"] = min(fitted["sac.learning_starts"], 2 * chosen["env.num_envs"])
    shares = [
        f"multi_agent.league.{who}"
        for who in ("self_fraction", "snapshot_fraction", "pure_pursuit", "follow_the_gap")
    ]
    if not any(fitted[share] for share in shares):
        fitted[shares[0]] = 1
    if fitted["env.beams"] < LEAST_BEAMS:
        fitted["multi_agent.league.follow_the_gap"] = 0
        fitted["multi_agent.league.self_fraction"] = 1
    if fitted["training.training_type"] == "sac":
        fitted["multi_agent.mode"] = "independent"
    if fitted["multi_agent.mode"] != "league":
        fitted |= {"multi_agent.league.champions": "false", "multi_agent.league.shared_policy": "false"}
    if fitted["env.race.terminate_at_fault_contact"] == "false":
        fitted["env.race.hit_cars_continue"] = "true"
    _fit_physics(fitted)
    backend, is_mixed = fitted["sac.update_backend"], fitted["training.mixed_precision"] == "true"
    if backend == "cuda_graph" or (backend == "compiled" and is_mixed):  # these run on a processor
        fitted["sac.update_backend"] = "auto"
    return fitted


def _fit_physics(fitted: dict[str, Any]) -> None:
    if fitted["env.profile"] == "f1tenth_gym":
        usual = RandomisationSettings()
        for name in RandomisationSettings.model_fields:
            if name not in {"preset", *SIMPLE_RANGES}:
                fitted[f"env.randomisation.{name}"] = str(list(getattr(usual, name)))
        fitted["env.randomisation.preset"] = "none"
    if fitted["env.tyres"] != "linear":
        for factor in ("env.randomisation.friction_factor", "env.randomisation.mass_factor"):
            fitted[factor] = fitted[factor].replace("[0,", "[0.05,").replace(" 0]", " 0.05]")


def try_out(case: Case) -> str:
    """Make and step a run; return how it ended: refused, or learnt. AssertionError where it holds what is no number.

    Any other error than one that is explained to the user is let through.
    """
    from training.errors import TrainingError
    from training.sim import TrackError

    try:
        config = load_config(None, case.settings())
        check_league(config)
        check_backend(config.env)
        tracks = [Track.load(name) for name in config.env.tracks]
        check_grid(config.env, tracks, config.num_cars)
        check_memory(config)
        batch = RaceBatch(config.env, tracks, config.num_cars, config.training.seed)
        contest = promotion.PromotionRaces(config.env, tracks)
        learner = MultiAgentSAC(batch, config, device="cpu", contest=contest)
        learner.learn(config.training.total_timesteps)
    except (TrainingError, TrackError) as error:
        return f"refused: {error}"
    check_finite(batch, learner)
    return "learnt"


def check_finite(batch: RaceBatch, learner: MultiAgentSAC) -> None:
    """Raise AssertionError where the cars or the observations hold what is no number."""
    for name, array in batch.state_dict()["world"].items():
        if np.issubdtype(array.dtype, np.floating):
            assert np.isfinite(array).all(), f"world.{name}"
    if learner.observations is not None:
        assert np.isfinite(learner.observations).all(), "observations"


if __name__ == "__main__":
    for one in single_cases():
        try:
            told = try_out(one)
        except BaseException as error:  # noqa: BLE001 - a list of all
            told = f"FAULT {error!r}"
        sys.stdout.write(f"{one}: {told[:150]}\n")
        sys.stdout.flush()
