"""A run as a user has it: started, interrupted, killed, gone on with, finished; by the command line, in processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.fake_imds import FakeImds
from training import layout, rng
from training.cloud.imds import ENDPOINT_VARIABLE, ON_INSTANCE
from training.errors import ConfigurationError
from training.interruption import CONTROL_POLL_S
from training.report.loading import policy_of, runs_in
from training.store import documents
from training.store.checkpoint import Contents, claim, load
from training.store.opening import open_store

pytestmark = pytest.mark.slow  # each test trains, in a process of its own

REBALANCE = "meta-data/events/recommendations/rebalance"
QUICK = (
    "env.tracks=[generated-1]",
    "env.num_envs=8",
    "env.max_episode_s=5.0",
    "sac.net_arch=[16, 16]",
    "sac.batch_size=16",
    "sac.buffer_size=2000",
    "sac.learning_starts=200",
    "sac.gradient_steps=1",
    "evaluation.frequency=0",
    "evaluation.starts=1",
    "evaluation.tracks=[]",
    "training.save_frequency=1000",
    "training.report=false",
)


def command(store: Path, *arguments: str, steps: int = 3000) -> list[str]:
    settings = [
        part for setting in (*QUICK, f"training.total_timesteps={steps}") for part in ("--set", setting)
    ]
    if "--resume" in arguments:  # a run brings its own settings
        settings = settings[-2:]
    return [sys.executable, "-m", "training", "train", "--store", str(store), *settings, *arguments]


def run(store: Path, *arguments: str, steps: int = 3000) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(store, *arguments, steps=steps), capture_output=True, text=True, timeout=240, check=False
    )


def begin_and_wait(store: Path, steps: int) -> subprocess.Popen[str]:
    """Start a run in a process and return once a checkpoint of learning is durable."""
    process = subprocess.Popen(
        command(store, steps=steps), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    storage = open_store(str(store))
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the run ended by itself:\n{process.communicate()[0]}")
        runs = runs_in(storage)
        if runs and any(
            e.key.endswith("manifest.json") and "/000000001" in e.key for e in storage.list("runs/")
        ):
            return process
        time.sleep(0.1)  # polling a process, bounded by the deadline above
    process.kill()
    raise AssertionError(f"no checkpoint in time:\n{process.communicate()[0]}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    store = tmp_path_factory.mktemp("finished")
    return store, run(store)


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


def test_after_a_finished_run_the_same_command_begins_another(finished):
    """Done is done: nothing is trained on by accident."""
    store, _ = finished
    assert run(store, steps=1000).returncode == 0
    assert len(runs_in(open_store(str(store)))) == 2


@pytest.mark.parametrize(("number", "cause"), [(signal.SIGINT, "terminated"), (signal.SIGTERM, "terminated")])
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, number, cause):
    """Exit 75 with a message that names the command; the next run starts at the very step."""
    process = begin_and_wait(tmp_path, steps=400_000)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert "--resume" in output
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    saved = load(storage, name, "sac").step
    (attempt,) = documents.read_attempts(storage, name)
    assert (attempt.cause, attempt.last_step) == (cause, saved)
    again = run(tmp_path, "--resume", name, steps=saved)
    assert f"goes on from step {saved:,}" in again.stdout
    assert again.returncode == 0


def test_ctrl_c_before_the_first_step_is_no_fault_and_the_same_command_goes_on(tmp_path):
    """With nothing compiled yet, as on a fresh machine: the compiler makes errors of its own out of a Ctrl-C."""
    process = subprocess.Popen(
        command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "numba")},
    )  # fmt: skip
    assert "begins" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 75, output
    assert "stopped by Ctrl-C before the first step; nothing is lost\nContinue with: " in output
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    (attempt,) = documents.read_attempts(storage, name)
    assert (attempt.cause, attempt.exit_code) == ("terminated", 75)
    assert run(tmp_path).returncode == 0
    assert runs_in(storage) == [name]


@pytest.mark.parametrize("where", ["env", "evaluation"])
def test_a_track_that_is_not_there_is_told_before_anything_is_made(tmp_path, where):
    refused = run(tmp_path, "--set", f"{where}.tracks=['Nowhere']")
    assert refused.returncode == 65
    assert "there is no track called 'Nowhere'; bundled: " in refused.stderr
    assert list(tmp_path.iterdir()) == []


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


def test_a_laptop_can_ask_for_a_stop(tmp_path):
    """control.json ends the run after a save; status.json says stopped."""
    process = begin_and_wait(tmp_path, steps=400_000)
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    documents.request(storage, name, "stop_now", by="test")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert documents.read_status(storage, name).state == "stopped"


def test_a_notice_that_comes_before_the_checkpoint_that_was_to_be_the_last_ends_the_run(tmp_path):
    """Asked to end at its next checkpoint, a run does so at the notice's: no other machine need be brought."""
    never = ("--set", "training.save_frequency=100000000")
    process = subprocess.Popen(
        command(tmp_path, *never, steps=10**9), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    storage = open_store(str(tmp_path))
    wait_for_checkpoints(storage, process, 1)  # that of the first step
    (name,) = runs_in(storage)
    documents.request(storage, name, "stop_after_checkpoint", by="test")
    time.sleep(CONTROL_POLL_S + 1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert documents.read_status(storage, name).state == "stopped"
    assert documents.read_attempts(storage, name)[-1].cause == "stopped"


def test_a_rebalance_saves_and_goes_on_until_a_laptop_asks_for_an_end_after_a_save(tmp_path, monkeypatch):
    """As on a machine: the recommendation brings a checkpoint out of turn, systemd hears of life, then it stops."""
    settings = ("--set", "training.save_frequency=100000000")
    storage = open_store(str(tmp_path / "store"))
    with FakeImds() as server, Systemd(tmp_path / "systemd") as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
        monkeypatch.setenv(ON_INSTANCE, "1")
        monkeypatch.setenv(ENDPOINT_VARIABLE, server.url)
        process = subprocess.Popen(
            command(tmp_path / "store", *settings, steps=10**9),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for_checkpoints(storage, process, 1)  # that of the first step
        server.paths[REBALANCE] = '{"noticeTime": "2026-11-26T11:00:00Z"}'
        wait_for_checkpoints(storage, process, 2)
        (name,) = runs_in(storage)
        documents.request(storage, name, "stop_after_checkpoint", by="test")
        time.sleep(CONTROL_POLL_S + 1)
        assert process.poll() is None, "it waits for a checkpoint that is due"
        server.paths[REBALANCE] = '{"noticeTime": "2026-11-26T12:00:00Z"}'
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert "rebalance notice at 11:00:00 UTC" in output
    assert documents.read_status(storage, name).state == "stopped"
    assert systemd.heard[0] == "READY=1"
    alive, status = systemd.heard[-1].split("\n")
    assert alive == "WATCHDOG=1"
    assert re.fullmatch(r"STATUS=step [\d,]+, \d+ steps/s, kept none yet", status)


class Systemd:
    """What a service manager hears at NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.address, self.heard = str(path), []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self):
        self._listener.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self.address)
        self._listener.join()
        self._socket.close()

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            self.heard.append(message.decode())


def wait_for_checkpoints(storage, process: subprocess.Popen[str], number: int) -> None:
    """Wait until so many checkpoints are durable."""
    deadline = time.monotonic() + 120
    while sum(e.key.endswith("manifest.json") for e in storage.list("runs/")) < number:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"not {number} checkpoints in time"
        time.sleep(0.2)  # polling a process, bounded by the deadline above


def test_an_earlier_step_can_be_resumed(finished):
    """--resume RUN --at STEP goes on from that checkpoint; a step that is not there is named with those that are."""
    store, _ = finished
    name = runs_in(open_store(str(store)))[0]
    missing = run(store, "--resume", name, "--at", "77")
    assert missing.returncode == 65
    assert "1000" in missing.stderr
    resumed = run(store, "--resume", name, "--at", "1000")
    assert "goes on from step 1,000" in resumed.stdout
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
    lineage.commit_partial(whole.step, Contents(members, (), whole.meta))
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
        "aws.aws_region=us-east-1",
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
    assert "goes on from step" in again.stdout
    assert documents.read_status(storage, "in-s3").state == "done"
    keys = [entry.key for entry in storage.list("runs/in-s3/")]
    assert sum("/metrics/events.out.tfevents" in key for key in keys) >= 1
    assert any("/models/sac/" in key for key in keys)
