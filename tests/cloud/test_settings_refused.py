"""What the trainer refuses at its start the launcher refuses before anything costs money, in the same words.

Every place of `training` that raises an error for people is in one of the tables below: with settings that meet it, which
both refuse, or with the reason why no setting of a launch can meet it there.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cloud.fake_aws import ROOT
from training.cloud.launch.settings_checks import check_new, check_sources, circuit_of
from training.config import Config, load_config
from training.config.fields import MOST_STEERING_DELAY
from training.envs.grid import check_grid
from training.envs.race import Race
from training.errors import ConfigurationError, DataError, TrainingError, UsageError
from training.layout import config_key
from training.run.claimed_run import LATEST, open_run
from training.sim import Track, TrackError
from training.sim.params import MAX_STEERING_DELAY
from training.sim.track import catalog, names, spec
from training.store.checkpoint import CheckpointData, claim
from training.store.directory import DirectoryStorage
from training.store.manifest import Owner

SEVERAL = "training.training_type=sac_multiagent"
LEAGUE = (SEVERAL, "multi_agent.mode=league")
ERRORS = {"UsageError", "DataError", "ConfigurationError", "TrackError", "ValueError"}


class Refused(NamedTuple):
    """Settings that a place of the source refuses, and a part of its words."""

    where: str  # file: function
    settings: tuple[str, ...]
    says: str


# --- what settings alone can meet ---
CASES = [
    Refused("config/settings.py: validated", ("sac.gamma=2",), "sac.gamma = 2"),
    Refused(
        "config/settings.py: _parts_fit",
        ("sac.batch_size=2000", "sac.buffer_size=1000"),
        "exceeds buffer_size",
    ),
    Refused("config/settings.py: _parts_fit", (*LEAGUE, "env.beams=10"), "needs env.beams of 20 or more"),
    Refused(
        "config/env.py: _slipping_cars_have_grip_and_mass",
        ("env.tyres=saturating", "env.randomisation.mass_factor=[0, 1]"),
        "with tyres = saturating at least 0.05",
    ),
    Refused(
        "config/env.py: _tyres_fit_the_profile",
        ("env.profile=f1tenth_gym", "env.tyres=saturating"),
        "tyres = saturating: only with profile = training",
    ),
    Refused("config/env.py: _car_is_whole", ("env.vehicle=batmobile",), "is not known: choose f1tenth_gym"),
    Refused(
        "config/env.py: _faults_need_the_training_profile",
        ("env.profile=f1tenth_gym", "env.randomisation.beam_dropout=[0, 0.1]"),
        "beam_dropout = [0.0, 0.1]: only with profile = training",
    ),
    Refused("config/env.py: _speeds_are_ordered", ("env.min_speed_mps=9",), "must be below speed_cap_mps"),
    Refused("config/aws.py: _legal_tags", ("aws.tags={Project: lab}",), "aws.tags = {'Project': 'lab'}"),
    Refused("config/fields.py: low_to_high", ("env.randomisation.mass_factor=[2, 1]",), "is not legal"),
    Refused(
        "config/learning.py: _somebody_drives",
        tuple(
            f"multi_agent.league.{who}=0"
            for who in ("self_fraction", "snapshot_fraction", "pure_pursuit", "follow_the_gap")
        ),
        "are all 0",
    ),
    Refused("config/text.py: parse_yaml", ("sac.gamma=[",), "is not valid YAML"),
    Refused("config/text.py: parse_override", ("sac.gamma",), "has no form key=value"),
    Refused("config/text.py: flatten", ("sac.gama=1",), "is not a setting"),
    Refused("config/resume.py: check_league", (*LEAGUE, "training.num_agents=1"), "of 2 or more, not 1"),
    Refused(
        "config/resume.py: check_league", (SEVERAL, "multi_agent.league.champions=true"), "has no effect with"
    ),
    Refused(
        "config/resume.py: check_league",
        (SEVERAL, "env.race.terminate_at_fault_contact=false", "env.race.hit_cars_continue=false"),
        "would end the episode of the car that is hit",
    ),
    Refused(
        "config/checks.py: check_backend",
        ("env.backend=f1tenth_gym", "env.tyres=saturating"),
        "f1tenth_gym's tyres are linear",
    ),
    Refused(
        "config/checks.py: check_backend",
        ("env.backend=f1tenth_gym", "env.randomisation.steering_delay_steps=[0, 3]"),
        "f1tenth_gym's cars take 1 to 15",
    ),
    Refused(
        "config/checks.py: check_grid_length",
        (SEVERAL, "training.num_agents=40", "env.tracks=[kart]"),
        "training.num_agents = 40: the starting grid of track kart holds at most",
    ),
    Refused(
        "sim/draws.py: check_randomisation",
        ("env.randomisation.steering_delay_steps=[16, 16]",),
        "steering_delay_steps = [16, 16]",
    ),
    Refused("sim/track/catalog.py: fetched", ("env.tracks=[Garage]",), "no track"),
    Refused("sim/track/spec.py: checked_spec", ("env.tracks=[generated-1-w0]",), "half_width_m is 0"),
    Refused("sim/track/spec.py: checked_spec", ("env.tracks=[generated-1-v0.6]",), "width_variation is 0.6"),
    Refused("sim/track/spec.py: checked_spec", ("env.tracks=[generated-1-w0.25]",), "half_width_m is 0.25"),
    Refused("sim/track/spec.py: checked_spec", ("env.tracks=[generated-1-r0.1]",), "min_radius_m is 0.1"),
    Refused("sim/track/spec.py: checked_spec", ("env.tracks=[generated-1-l10]",), "length_m is 10"),
    Refused(
        "sim/track/spec.py: checked_spec", ("evaluation.tracks=[generated-1-c0.4]",), "resolution_m is 0.4"
    ),
    Refused(
        "sim/track/spec.py: _circuit_spec", ("env.tracks=[circuit-1-l50]",), "length_m is 50: a circuit has"
    ),
    Refused(
        "sim/track/spec.py: _hall_spec", ("env.tracks=[hall-1-x5-y4]",), "the hall of 5 x 4 m is too small"
    ),
    Refused("sim/track/spec.py: _hall_spec", ("env.tracks=[hall-1-l90]",), "length_m is 90: a lap in a hall"),
    Refused(
        "sim/track/spec.py: _hall_spec", ("env.tracks=[hall-1-b0.5]",), "boxes is 0.5: it is a whole number"
    ),
    Refused("sim/track/spec.py: _hall_spec", ("env.tracks=[hall-1-d0.1-c0.1]",), "duct_m is 0.1: it must be"),
    Refused("sim/track/spec.py: _check_boxes", ("env.tracks=[hall-1-s1.2]",), "box_m is 1.2: between ducts"),
    Refused("sim/track/spec.py: _check_boxes", ("env.tracks=[hall-1-b20]",), "boxes is 20: a lap of"),
    Refused("sim/track/spec.py: _check_range", ("env.tracks=[hall-1-g1]",), "gap_m is 1: it is 0 to 0.25"),
]

# --- what other runs can meet ---
SOURCES = [
    Refused("config/checks.py: check_shape", ("training.init_from=old", "sac.net_arch=[8]"), "its policies have layers"),
    Refused("config/checks.py: check_compatible", (*LEAGUE, "multi_agent.league.checkpoints=[raced]", "env.speed_cap_mps=7"), "it learnt with"),
    Refused("stored_runs/read.py: _unknown", ("training.init_from=older",), "there is no run called 'older'"),
    Refused("stored_runs/read.py: config_of", ("training.init_from=broken",), "is not JSON"),
    Refused("stored_runs/read.py: config_of", ("training.init_from=listed",), "holds a list, not settings"),
    Refused("stored_runs/read.py: newest_networks", ("training.init_from=begun",), "has no committed sac checkpoint"),
    Refused("stored_runs/read.py: parse", (*LEAGUE, "multi_agent.league.checkpoints=[a@b]"), "names no policy of a run"),
    Refused("stored_runs/read.py: policy_at", (*LEAGUE, "multi_agent.league.checkpoints=[old@7]"), "no policy of agent 0 at step 7"),
    Refused("stored_runs/read.py: kept_policy", (*LEAGUE, "multi_agent.league.checkpoints=['old:3']"), "run old has no agent 3"),
    Refused("stored_runs/read.py: kept_policy", (*LEAGUE, "multi_agent.league.checkpoints=[old]"), "has kept no policy yet"),
    Refused("stored_runs/read.py: kept_policy", (*LEAGUE, "multi_agent.league.checkpoints=[begun]"), "no committed sac checkpoint"),
]  # fmt: skip

# --- what no setting of a launch meets ---
READING = (
    "reads what was saved: a broken checkpoint, which the launcher cannot know of; an older one is taken"
)
LATER = "not at the start: of commands after training"
IMPOSSIBLE = "a fault of the program, not a setting"
MAPS = "of map files: those of the image are pinned, others are checked before a launch: test_own_maps.py"
ELSEWHERE = {
    "config/checks.py: check_packages": "of a wheel, which no machine runs: tests/test_wheel.py",
    "envs/options.py: ": "an argument of Python's, not a setting: tests/envs/test_gymnasium.py",
    "envs/rendering/view.py: ": "an argument of Python's, not a setting: tests/envs/test_gymnasium.py",
    "agents/update.py: __init__": "of sac.update_backend on a device that the launcher does not know: tests/agents/test_compiled_update.py",
    "agents/codec.py: decode": READING,
    "agents/codec.py: copy_into": READING,
    "agents/snapshot.py: ": READING,
    "agents/replay_segments.py: ": READING,
    "agents/league.py: ": READING,
    "run/replay_upload.py: ": READING,
    "run/checkpointing.py: ": READING,
    "evaluation/": LATER,
    "report/": LATER,
    "track_commands/": LATER,
    "store/": "of a store that does not answer, is damaged or is named wrongly; the launcher names it itself",
    "layout.py: ": "of keys and run names, which the launcher makes by the same functions",
    "__main__.py: ": "options of the command line, which the launcher writes itself",
    "config/text.py: read_settings_file": "the launcher reads the settings file by the same function",
    "config/expand.py: vehicle_file": "the launcher reads a vehicle's file by the same function: tests/test_vehicle_settings.py",
    "config/resume.py: changed": "the launcher changes settings of a run by the same function",
    "stored_runs/fork.py: ": "of `train --fork`, which the launcher does not have: tests/test_fork.py",
    "config/resume.py: forked": "of `train --fork`, which the launcher does not have: tests/test_fork.py",
    "config/memory.py: check_fits": "the launcher asks it for the smallest of the types: test_launch_checks.py",
    "run/claimed_run.py: ": "the machine's run, its guard and its lock: tests/cloud/test_relaunch.py, test_finish.py",
    "aws_access/": "of credentials and addresses: the machine's role has its own; the launcher refuses the rest at once",
    "process/user_account.py: ": "of a computer without a home directory, not of settings",
    "rng.py: choose_device": "the driver of the machine: the image is tested for it, types without a GPU are refused",
    "stored_runs/policy_sources.py: _explained": "wraps what stored_runs raises",
    "run/warm_start.py: _decoded": "wraps what a broken policy raises",
    "envs/f1tenth_gym/package.py: load_package": "the image has the package, by default and tested in its bake",
    "envs/f1tenth_gym/gym_world.py: ": IMPOSSIBLE,
    "envs/drivers/follow_the_gap.py: ": "config/settings.py: _parts_fit refuses too few beams first",
    "envs/drivers/registry.py: make_driver": IMPOSSIBLE,
    "evaluation/tum_racelines.py: ": "of a fetched racing line; a report does without a broken one",
    "sim/world.py: ": IMPOSSIBLE,
    "sim/track/hall.py: ": "of a hall full of turns and boxes, known once it is built: tests/sim/test_hall_tracks.py",
    "sim/track/generate.py: ": "a negative seed has no name; a track that fits is always found",
    "sim/track/track.py: ": MAPS,
    "sim/track/track_checks.py: ": MAPS,
    "sim/track/map_files.py: ": MAPS,
    "sim/track/map_text.py: ": MAPS,
    "sim/track/centerline_files.py: ": MAPS,
    "sim/clearance.py: ": MAPS,
    "envs/starts.py: ": MAPS,
    "envs/grid.py: check_obstacles": "of a track's width, which the launcher does not measure: tests/test_vehicle_settings.py",
    "run/run_maps.py: check_unchanged": MAPS,
    "stored_runs/carried_maps.py: ": "of maps that a run carries; the launcher has put them there: tests/test_stored_maps.py",
    "sim/track/catalog.py: packed": "of maps that a run carries: cloud/launch/own_maps.py asks the bucket for them",
}


# --- the table is complete ---
def raised() -> Iterator[str]:
    """Yield where `training` raises, or makes, an error for people: file and function."""
    for path in sorted((ROOT / "training").rglob("*.py")):
        name = path.relative_to(ROOT / "training").as_posix()
        if name.startswith(("cloud/", "instance/")) or name == "errors.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for node in ast.walk(function):
                    made = node if isinstance(node, ast.Call) else None
                    if made is not None and isinstance(made.func, ast.Name) and made.func.id in ERRORS:
                        yield f"{name}: {function.name}"


def test_every_place_that_refuses_is_met_or_has_a_reason() -> None:
    places = set(raised())
    met = {case.where for case in [*CASES, *SOURCES]}
    assert met <= places, "the tables name places that are there"
    assert {place for place in places - met if not place.startswith(tuple(ELSEWHERE))} == set()
    assert [prefix for prefix in ELSEWHERE if not any(place.startswith(prefix) for place in places)] == []
    assert len(places) > 60


# --- both refuse, in the same words ---
def told(refuse: Callable[[], object]) -> str:
    try:
        refuse()
    except (ConfigurationError, UsageError, DataError, TrackError, ValueError) as error:
        return error.message if isinstance(error, TrainingError) else str(error)
    raise AssertionError("it was not refused")


def launcher(settings: tuple[str, ...]) -> Config:
    config = load_config(None, settings, "cloud")
    check_new(config)
    return config


def trainer(settings: tuple[str, ...], store: Path) -> None:
    """Do what the trainer does until its first step, as far as it may refuse settings."""
    config = load_config(None, settings, "cloud")
    tracks = [Track.load(name) for name in (*config.env.tracks, *config.evaluation.tracks)]
    check_grid(config.env, tracks[: len(config.env.tracks)], config.num_cars)
    run = open_run(config, str(store), resume=None, origin=LATEST)
    if run.lock is not None:
        run.lock.close()
    Race(config.env, tracks[: len(config.env.tracks)], 1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.where} {case.says}"[-60:])
def test_settings_that_the_trainer_refuses_are_refused_by_the_launcher_in_its_words(
    case: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(catalog.DIRECTORY_VARIABLE, str(tmp_path / "tracks"))
    few = ("env.tracks=[kart]", "evaluation.tracks=[]", "env.num_envs=1")
    settings = (*few, *case.settings)
    here, there = told(lambda: launcher(settings)), told(lambda: trainer(settings, tmp_path))
    assert case.says in here
    assert case.says in there


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DirectoryStorage:
    """Give a store with runs to begin with: one that has networks, one that has none, broken ones."""
    store = DirectoryStorage(tmp_path_factory.mktemp("store"))
    for run in ("old", "begun", "raced"):
        store.put(config_key(run), json.dumps(Config().to_json_dict()).encode())
    store.put(config_key("broken"), b"{")
    store.put(config_key("listed"), b"[]")
    claim(store, "old", "sac", 1, owner=Owner()).commit(10, CheckpointData({"agent0.learner": b"x"}, (), {}))
    claim(store, "raced", "sac", 1, owner=Owner()).commit(10, CheckpointData({"agent0.kept": b"x"}, (), {}))
    return store


@pytest.mark.parametrize("case", SOURCES, ids=lambda case: f"{case.where} {case.says}"[-60:])
def test_other_runs_that_the_trainer_refuses_are_refused_by_the_launcher_in_its_words(
    case: Refused, store: DirectoryStorage
) -> None:
    from training.run import warm_start

    config = launcher(case.settings)
    here = told(lambda: check_sources(store, config.policy_sources, "new"))
    there = told(lambda: warm_start.check(config.policy_sources, store))
    assert case.says in here
    assert here == there


# --- what the launcher may know without the simulator is what the simulator knows ---
def test_the_longest_steering_delay_is_the_simulators() -> None:
    assert MOST_STEERING_DELAY == MAX_STEERING_DELAY - 1
    settings = (f"env.randomisation.steering_delay_steps=[0, {MOST_STEERING_DELAY}]",)
    Race(launcher(settings).env, [Track.load("kart")], 1)


@pytest.mark.parametrize(
    "name", ["kart", "generated-3-l90-w0.9", "generated-11-r0.7", "circuit-3", "hall-3-b5"]
)
def test_a_generated_track_is_no_shorter_than_the_launcher_believes(name: str) -> None:
    recipe = names.recipe(name)
    assert recipe is not None
    least = spec.spec_of(recipe).length_m * (1 - spec.LENGTH_TOLERANCE)
    assert Track.load(name).length_m >= least - 1e-3


def test_the_lengths_of_circuits_are_those_of_the_maps() -> None:
    there = [name for name in catalog.fetched_names() if name in names.CIRCUITS]
    if not there:
        pytest.skip("no circuit is fetched on this computer")
    for name in there:
        assert Track.load(name).length_m == pytest.approx(names.CIRCUIT_LENGTHS_M[name], rel=0.004)


@pytest.mark.parametrize(
    ("name", "circuit"),
    [
        ("Monza", "Monza"),
        ("/opt/f1tenth/maps/Monza/Monza_map.yaml", "Monza"),
        ("/opt/f1tenth/maps/Mexico City/MexicoCity_map.yaml", "MexicoCity"),
        ("/opt/f1tenth/maps/Monza", "Monza"),
        ("/opt/f1tenth/maps/Garage/Garage_map.yaml", None),
        ("/opt/f1tenth/maps/Monza/other.yaml", None),
        ("/opt/f1tenth/maps/../Monza", None),
        ("Garage", None),
    ],
)
def test_a_path_of_the_image_is_a_circuit_of_the_image(name: str, circuit: str | None) -> None:
    assert circuit_of(name) == circuit


def test_a_name_with_a_number_that_is_none_is_no_track() -> None:
    assert names.recipe("generated-1-l1.2.3") is None
    assert names.recipe("generated-" + "9" * 5000) is None


def test_runs_to_begin_with_need_a_bucket() -> None:
    config = launcher(("training.init_from=old",))
    with pytest.raises(ConfigurationError, match="which is not there yet"):
        check_sources(None, config.policy_sources, "new")
    assert check_sources(None, launcher(()).policy_sources, "new") == ""
    assert config.policy_sources.any
