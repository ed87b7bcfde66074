"""A map of one's own trains in the cloud: checked here, uploaded with the run, read on the machine, brought home."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cloud.fake_aws import ROOT, Account
from training import layout
from training.sim import Track
from training.sim.track import names
from training.store import documents
from training.stored_runs import carried_maps

pytestmark = pytest.mark.slow  # the maps are checked in a process of its own
SHORT = {
    "training": {"preset": "local", "total_timesteps": 600, "report": False, "max_minutes": None},
    "sac": {"net_arch": [16, 16], "learning_starts": 200},
    "env": {"num_envs": 4, "tracks": ["hall.yaml"]},
    "evaluation": {"frequency": 300, "starts": 1, "laps": 1, "tracks": ["kart"]},
    "wandb": {"mode": "disabled"},
}


@pytest.fixture
def hall(account: Account) -> Account:
    """Give an account that is set up and has an image, with a map and settings that name it in the user's folder."""
    track = Track.generate(3, 60.0, name="hall")
    track.save(account.folder).rename(account.folder / "hall.yaml")
    path = account.folder / "config.yaml"
    settings = yaml.safe_load(path.read_text("utf-8"))
    path.write_text(yaml.safe_dump({**settings, **SHORT}), "utf-8")
    assert account.launch_here("up", "--yes").returncode == 0
    account.bake()
    return account


def stored(account: Account, run: str = "race") -> dict[str, Any]:
    data: dict[str, Any] = json.loads(account.storage.get(layout.config_key(run), max_bytes=1 << 20).data)
    return data


def trainer(account: Account, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the trainer's program as another computer does, which has the store and none of the user's files."""
    folder.mkdir(exist_ok=True)
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"aws": account.settings["aws"]}), "utf-8")
    environment = {**account.environment, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    where = ["--config", str(settings), "--store", account.scope.store]
    done = subprocess.run(
        [sys.executable, "-m", "training", words[0], *where, *words[1:]],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_map_of_ones_own_goes_to_the_machine_and_comes_home(hall: Account, tmp_path: Path) -> None:
    launched = hall.launch_here("train", "--name", "race", "--yes", "--detach")
    assert launched.returncode == 0, launched.stderr
    (name,) = stored(hall)["env"]["tracks"]
    assert names.packed_parts(name) is not None
    assert f"hall.yaml: uploaded as {name}, lap " in launched.stderr
    assert carried_maps.missing(hall.storage, "race", [name]) == []

    trained = trainer(hall, tmp_path / "machine", "train", "--resume", "race")
    status = documents.read_status(hall.storage, "race")
    assert status is not None
    assert (status.state, status.step) == ("done", 600), trained.stdout
    assert "hall" in trained.stdout

    evaluated = trainer(hall, tmp_path / "desk", "evaluate", "race", "--laps", "1", "--json")
    tracks = json.loads(evaluated.stdout.splitlines()[-1])["tracks"]
    assert [(row["track"], row["seen_in_training"]) for row in tracks] == [("hall", True), ("kart", False)]

    files = hall.launch_here("fetch", "race").stdout.split()
    (home,) = [hall.folder / file for file in files if file.endswith("hall.yaml")]
    assert Track.load(home).digest == Track.load(hall.folder / "hall.yaml").digest

    forked = trainer(
        hall, tmp_path / "third", "train", "--fork", "race", "--name", "faster", "--set", "sac.learning_rate=0.0001",
        "--set", "training.total_timesteps=700",
    )  # fmt: skip
    assert "run faster continues from step 600" in forked.stdout
    assert carried_maps.missing(hall.storage, "faster", [name]) == []


def test_a_map_that_cannot_be_trained_on_is_refused_before_anything_is_made(hall: Account) -> None:
    (hall.folder / "hall_centerline.csv").unlink()
    refused = hall.launch_here("train", "--name", "race", "--yes", "--detach")
    assert refused.returncode == 2
    assert "hall.yaml has no centreline. Make one: python -m training tracks centreline" in refused.stderr
    assert "docs/your_own_map.md" in refused.stderr
    assert documents.read_status(hall.storage, "race") is None
    assert not list(hall.storage.list("runs/"))


def test_a_grid_that_does_not_fit_its_length_is_refused(hall: Account) -> None:
    words = ["--set", "training.training_type=sac_multiagent", "--set", "training.num_agents=60"]
    refused = hall.launch_here("train", "--name", "race", "--yes", "--detach", *words)
    assert refused.returncode == 2
    assert "the starting grid of track hall@" in refused.stderr


def test_the_plan_names_the_map_and_a_dry_run_uploads_nothing(hall: Account) -> None:
    planned = hall.launch_here("train", "--name", "race", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert any(
        line.startswith("map        hall.yaml: uploaded as hall@")
        for line in json.loads(planned.stdout)["plan"]
    )
    assert not list(hall.storage.list("runs/"))


def test_a_run_that_goes_on_keeps_its_maps_whatever_lies_here(hall: Account) -> None:
    assert hall.launch_here("train", "--name", "race", "--yes", "--detach").returncode == 0
    before = stored(hall)["env"]["tracks"]
    assert hall.launch_here("stop", "race", "--now").returncode == 0
    (hall.folder / "hall.yaml").unlink()  # of another computer, say
    Track.generate(5, 60.0, name="yard").save(hall.folder).rename(hall.folder / "yard.yaml")
    words = ["--set", "evaluation.tracks=[yard.yaml, kart]"]
    went_on = hall.launch_here("train", "--resume", "race", "--yes", "--detach", *words)
    assert went_on.returncode == 2, "a map that the command line names must be there, the settings' own not"
    (hall.folder / "config.yaml").write_text(yaml.safe_dump(hall.settings), "utf-8")
    went_on = hall.launch_here("train", "--resume", "race", "--yes", "--detach", *words)
    assert went_on.returncode == 0, went_on.stderr
    assert stored(hall)["env"]["tracks"] == before
    yard, kart = stored(hall)["evaluation"]["tracks"]
    assert (names.packed_parts(yard) or ("",))[0] == "yard"
    assert kart == "kart"
    assert carried_maps.missing(hall.storage, "race", [yard, *before]) == []


def test_a_name_of_a_map_that_the_run_does_not_carry_is_refused(hall: Account) -> None:
    words = ["--set", "env.tracks=[hall@0123456789abcdef]"]
    refused = hall.launch_here("train", "--name", "race", "--yes", "--detach", *words)
    assert refused.returncode == 2
    assert "run race does not carry the map hall@0123456789abcdef" in refused.stderr
