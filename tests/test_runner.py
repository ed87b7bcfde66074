"""A run as a user has it: started, killed, gone on with, finished; by the command line, in processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.sim.cluttered import pinched
from tests.support.trainer_process import QUICK, begin_and_wait, run
from training import layout, rng
from training.errors import ConfigurationError
from training.evaluation.load_run import policy_of, runs_in
from training.sim import Track
from training.store import documents
from training.store.checkpoint import CheckpointData, claim, load
from training.store.open import open_store

pytestmark = pytest.mark.slow  # each test trains, in a process of its own


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    store = tmp_path_factory.mktemp("finished")
    return store, run(store)


@pytest.fixture
def finished(trained, tmp_path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A finished run in a store of the test's own, which it may change."""
    store, ended = trained
    shutil.copytree(store, tmp_path / "finished")
    return tmp_path / "finished", ended


def test_a_run_ends_with_laps_a_model_and_everything_in_its_folder(finished):
    """Exit 0; the table of laps is printed; status, attempts, checkpoints, curves and a model lie in runs/<run>."""
    store, ended = finished
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Laps from standing starts" in ended.stdout
    storage = open_store(str(store))
    (name,) = runs_in(storage)
    assert documents.read_status(storage, name).state == "done"
    (attempt,) = documents.read_attempts(storage, name)
    assert (attempt.cause, attempt.exit_code, attempt.last_step) == ("done", 0, 3000)
    keys = [entry.key for entry in storage.list(f"runs/{name}/")]
    for part in (
        "models/sac/",
        "metrics/events.out.tfevents",
        "checkpoints/sac_latest_checkpoint.json",
        "config.json",
    ):
        assert any(part in key for key in keys), part
    assert load(storage, name, "sac").step == 3000
    assert policy_of(storage, name).kept_step == 3000
    curves = EventAccumulator(str(store / layout.metrics_prefix(name)))
    curves.Reload()
    assert curves.Tags()["graph"], "the networks are drawn, last of all"


def test_the_model_for_people_loads_in_stable_baselines3(finished):
    """The zip is a plain SAC whose predict drives as our kept policy does."""
    from stable_baselines3 import SAC

    store, _ = finished
    storage = open_store(str(store))
    (name,) = runs_in(storage)
    (zip_file,) = (store / "runs" / name / "models" / "sac").glob("*.zip")
    model = SAC.load(zip_file, device="cpu")
    ours = policy_of(storage, name).policy
    observations = torch.rand((50, model.observation_space.shape[0])).numpy()
    theirs, _ = model.predict(observations, deterministic=True)
    torch.testing.assert_close(
        torch.from_numpy(theirs), torch.from_numpy(ours.act(observations)), atol=1e-5, rtol=1e-5
    )


def test_the_model_for_people_learns_on_with_the_sizes_of_the_run(finished):
    """A replay buffer of one transition would make nothing of the policy; the zip says what it was written with."""
    import zipfile

    import gymnasium
    from stable_baselines3 import SAC

    store, _ = finished
    (name,) = runs_in(open_store(str(store)))
    (zip_file,) = (store / "runs" / name / "models" / "sac").glob("*.zip")
    with zipfile.ZipFile(zip_file) as contents:
        told = contents.read("system_info.txt").decode()
    assert "Numpy: 2" in told
    assert "Stable-Baselines3: 2" in told
    model = SAC.load(zip_file, device="cpu")
    assert (model.buffer_size, model.batch_size, model.learning_starts, model.gradient_steps) == (
        2000,
        16,
        200,
        1,
    )

    class Still(gymnasium.Env):
        observation_space, action_space = model.observation_space, model.action_space

        def reset(self, *, seed=None, **_):
            super().reset(seed=seed)
            return self.observation_space.low, {}

        def step(self, _action):
            return self.observation_space.low, 0.0, False, False, {}

    again = SAC.load(zip_file, env=Still(), device="cpu")
    again.learn(250, reset_num_timesteps=False)
    assert again.replay_buffer.size() == 250


def test_after_a_finished_run_the_same_command_begins_another(finished):
    """Done is done: nothing is trained on by accident."""
    store, _ = finished
    assert run(store, steps=1000).returncode == 0
    assert len(runs_in(open_store(str(store)))) == 2


@pytest.mark.parametrize("where", ["env", "evaluation"])
def test_a_track_that_is_not_there_is_told_before_anything_is_made(tmp_path, where):
    refused = run(tmp_path, "--set", f"{where}.tracks=['Nowhere']")
    assert refused.returncode == 65
    assert "there is no track called 'Nowhere'; bundled: " in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_track_whose_line_touches_a_wall_is_told_before_anything_is_made(tmp_path):
    """It raised ValueError at the first start that met the place, and again at every resume."""
    path = pinched().save(tmp_path / "map")
    refused = run(tmp_path / "store", "--set", f"env.tracks=['{path}']")
    assert refused.returncode == 65
    assert (
        "track pinched: a car's body (0.58 m x 0.31 m) touches a wall on the centreline at ("
        in refused.stderr
    )
    assert not (tmp_path / "store").exists()


def test_more_agents_than_the_grid_holds_are_told_before_anything_is_made(tmp_path):
    several = (
        "training.training_type=sac_multiagent",
        "training.num_agents=40",
        "env.tracks=[generated-1-l60]",
    )
    refused = run(tmp_path, *(part for setting in several for part in ("--set", setting)))
    assert refused.returncode == 78
    assert (
        "training.num_agents = 40: the starting grid of track generated-1-l60 holds at most 29"
        in refused.stderr
    )
    assert list(tmp_path.iterdir()) == []


def test_a_map_that_has_changed_is_told_at_a_resume_and_the_run_goes_on_where_it_is_put_back(tmp_path):
    """A wall drawn between two attempts made another task of the run without a word."""
    track = Track.generate(2, 40.0, name="hall")
    path = track.save(tmp_path / "map")
    where = ("--set", f"env.tracks=['{path}']")
    assert run(tmp_path, *where, steps=1000).returncode == 0
    (name,) = runs_in(open_store(str(tmp_path)))
    assert load(open_store(str(tmp_path)), name, "sac").meta["maps"] == {str(path): track.digest}
    whole = path.with_suffix(".png").read_bytes()
    cells = track.free.copy()
    cells[:3] = cells[:, :3] = True
    replace(track, free=cells).save(tmp_path / "map")
    refused = run(tmp_path, "--resume", name, steps=2000)
    assert refused.returncode == 65
    assert (
        f"run {name} has learnt on maps that have changed since its checkpoint: {path} (digest"
        in refused.stderr
    )
    assert f"--init-from {name}" in refused.stderr
    path.with_suffix(".png").write_bytes(whole)
    assert run(tmp_path, "--resume", name, steps=2000).returncode == 0


def test_what_makes_a_run_cannot_change_while_it_goes_on(finished):
    """--resume with another learning rate is refused by name; a longer run is not."""
    store, _ = finished
    name = runs_in(open_store(str(store)))[0]
    plain = [sys.executable, "-m", "training", "train", "--store", str(store), "--resume", name, "--set"]
    refused = subprocess.run(
        [*plain, "sac.gamma=0.5"], capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode == 78
    assert "sac.gamma" in refused.stderr


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path):
    """kill -9 tears nothing: the run is continued from what was durable and finishes."""
    process = begin_and_wait(tmp_path, steps=3000)
    process.kill()
    process.communicate()
    ended = run(tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    assert [a.number for a in documents.read_attempts(storage, name)] == [1, 2]
    assert load(storage, name, "sac").step == 3000


def test_a_run_that_is_being_trained_is_not_taken_over(tmp_path):
    """A second process is told so and changes nothing; without --resume it would begin a run of its own."""
    process = begin_and_wait(tmp_path, steps=400_000)
    try:
        (name,) = runs_in(open_store(str(tmp_path)))
        second = run(tmp_path, "--resume", name)
        assert second.returncode == 64
        assert "being trained by another process" in second.stderr
    finally:
        process.terminate()
        process.communicate(timeout=120)
    assert process.returncode == 75


def test_an_earlier_step_can_be_resumed(finished):
    """--resume RUN --at STEP goes on from that checkpoint; a step that is not there is named with those that are."""
    store, _ = finished
    name = runs_in(open_store(str(store)))[0]
    missing = run(store, "--resume", name, "--at", "77")
    assert missing.returncode == 65
    # A busy computer saves later than it was to.
    kept = [int(step) for step in re.findall(r"\d+", re.findall(r"kept are: ([\d, ]+)", missing.stderr)[0])]
    assert len(kept) >= 2
    resumed = run(store, "--resume", name, "--at", str(kept[0]))
    assert f"continues from step {kept[0]:,}" in resumed.stdout
    assert resumed.returncode == 0


def test_a_partial_save_is_gone_on_with_by_its_option(tmp_path):
    """--from-partial says what is lost, goes on from the partial save's step, and commits a whole checkpoint."""
    process = begin_and_wait(tmp_path, steps=400_000)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    whole = load(storage, name, "sac")
    none_yet = run(tmp_path, "--resume", name, "--from-partial")
    assert none_yet.returncode == 64
    assert "Leave --from-partial out" in none_yet.stderr
    # What a notice leaves behind when the store is too slow for the whole.
    lineage = claim(storage, name, "sac", attempt=2)
    lineage.load()
    members = {name: whole.read(name) for name in (layout.WORLD_MEMBER, layout.learner_member(0))}
    lineage.commit_partial(whole.step, CheckpointData(members, (), whole.meta))
    again = run(tmp_path, "--resume", name, "--from-partial", steps=whole.step + 400)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"partial save at step {whole.step:,}" in again.stdout
    assert "Lost: what the replay buffer took in" in again.stdout
    assert load(storage, name, "sac").step == whole.step + 400
    alone = subprocess.run(
        [sys.executable, "-m", "training", "train", "--from-partial"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert alone.returncode == 64
    assert "--resume RUN --from-partial" in alone.stderr


def test_cuda_without_cuda_is_refused_before_the_first_step(tmp_path):
    """device: cuda on a machine without it: exit 78, nothing written."""
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    refused = run(tmp_path, "--set", "training.device=cuda")
    assert refused.returncode == 78
    assert "training.device" in refused.stderr
    assert not (tmp_path / "runs").exists()


def test_an_nvidia_device_without_cuda_is_refused_by_auto(tmp_path):
    """No CPU training at a GPU's price: auto refuses where a device is there and CUDA does not work."""
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    device = tmp_path / "nvidia0"
    device.touch()
    with pytest.raises(ConfigurationError, match="CUDA does not work"):
        rng.choose_device("auto", nvidia_device=str(device))
    assert rng.choose_device("auto", nvidia_device=str(tmp_path / "none")).type == "cpu"
    assert rng.choose_device("cpu", nvidia_device=str(device)).type == "cpu"


def test_the_settings_are_kept_with_the_run(finished):
    """config.json holds every setting as resolved."""
    store, _ = finished
    name = runs_in(open_store(str(store)))[0]
    saved = json.loads((store / "runs" / name / "config.json").read_text())
    assert saved["sac"]["net_arch"] == [16, 16]
    assert (store / "runs" / name / "attempts.json").exists()


def test_a_run_in_s3_survives_a_kill(weed_url, tmp_path):
    """--store s3://… to a real S3 server: killed, resumed by name from a clean machine, finished; curves are there."""
    place = [
        "--store",
        weed_url.url,
        "--set",
        f"aws.endpoints.s3={weed_url.endpoint}",
        "--set",
        "aws.region=us-east-1",
    ]
    settings = [part for setting in QUICK for part in ("--set", setting)]
    plain = [sys.executable, "-m", "training", "train", *place]
    name = ["--set", "training.run_name=in-s3"]
    environment = {**os.environ, "STATE_DIRECTORY": str(tmp_path / "first")}
    first = subprocess.Popen(
        [*plain, *settings, *name, "--set", "training.total_timesteps=400000"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    storage = open_store(weed_url.url, weed_url.aws)
    deadline = time.monotonic() + 200
    while not any("/000000002" in entry.key for entry in storage.list("runs/in-s3/checkpoints/")):
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)  # polling a process, bounded by the deadline above
    first.kill()
    first.communicate()
    again = subprocess.run(
        [*plain, "--resume", "in-s3", "--set", "training.total_timesteps=8000"],
        env={**environment, "STATE_DIRECTORY": str(tmp_path / "second")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "continues from step" in again.stdout
    assert documents.read_status(storage, "in-s3").state == "done"
    keys = [entry.key for entry in storage.list("runs/in-s3/")]
    assert sum("/metrics/events.out.tfevents" in key for key in keys) >= 1
    assert any("/models/sac/" in key for key in keys)
