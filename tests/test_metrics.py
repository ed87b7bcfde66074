"""Figures of a run: written as TensorBoard reads them, over kills, resumes and full disks."""

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pynvml
import pytest
import torch
from stable_baselines3 import SAC
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from training.config import Config, load_config
from training.metrics import Metrics
from training.metrics.system import Gpus


def read(directory: Path) -> EventAccumulator:
    """Read a directory of event files as TensorBoard does, every point of it."""
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    return events


def curve(directory: Path, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in read(directory).Scalars(name)]


def never(text: str) -> None:
    pytest.fail(f"nothing was to be said, but: {text}")


# --- curves ---
def test_every_point_can_be_read_at_once_without_flush_or_close(tmp_path: Path) -> None:
    metrics = Metrics(Config(), "a", tmp_path, say=never)
    for step in range(0, 1600, 16):
        metrics.record(step, {"rollout/reward": step / 2})
    assert curve(tmp_path, "rollout/reward") == [(step, step / 2) for step in range(0, 1600, 16)]


def test_values_that_are_not_finite_are_left_out_and_the_others_stay(tmp_path: Path) -> None:
    metrics = Metrics(Config(), "a", tmp_path, say=never)
    metrics.record(1, {"good": 1.0, "bad": float("nan"), "worse": float("inf")})
    metrics.record(2, {"bad": float("nan")})
    assert read(tmp_path).Tags()["scalars"] == ["good"]


def test_curves_go_on_after_a_resume_and_points_of_the_lost_attempt_vanish(tmp_path: Path) -> None:
    first = Metrics(Config(), "a", tmp_path, say=never)
    for step in (10, 20, 30, 40):
        first.record(step, {"reward": 1.0})
    second = Metrics(Config(), "a", tmp_path, resumed_step=20, say=never)
    for step in (35, 50):
        second.record(step, {"reward": 2.0})
    third = Metrics(Config(), "a", tmp_path, resumed_step=35, say=never)
    third.record(45, {"reward": 3.0})
    assert curve(tmp_path, "reward") == [(10, 1.0), (20, 1.0), (35, 2.0), (45, 3.0)]


def test_a_clock_set_back_between_two_attempts_hides_no_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    for attempt, hours_back in enumerate((0, 2, 5)):
        then = now - hours_back * 3600 * 10**9
        monkeypatch.setattr("training.metrics.event_file.time.time_ns", lambda then=then: then)
        metrics = Metrics(Config(), "a", tmp_path, resumed_step=attempt * 20, say=never)
        for step in range(attempt * 20 + 10, attempt * 20 + 40, 10):
            metrics.record(step, {"reward": float(attempt)})
        metrics.close()
    seen = [(10, 0.0), (20, 0.0), (30, 1.0), (40, 1.0), (50, 2.0), (60, 2.0), (70, 2.0)]
    assert curve(tmp_path, "reward") == seen


def test_a_record_torn_by_a_kill_hides_nothing_of_the_next_attempt(tmp_path: Path) -> None:
    first = Metrics(Config(), "a", tmp_path, say=never)
    for step in (10, 20):
        first.record(step, {"reward": 1.0})
    os.truncate(first.event_file, first.event_file.stat().st_size - 7)
    second = Metrics(Config(), "a", tmp_path, resumed_step=10, say=never)
    second.record(30, {"reward": 2.0})
    assert curve(tmp_path, "reward") == [(10, 1.0), (30, 2.0)]


def test_recording_works_after_close_since_the_end_of_a_run_has_figures_too(tmp_path: Path) -> None:
    metrics = Metrics(Config(), "a", tmp_path, say=never)
    metrics.record(1, {"reward": 1.0})
    metrics.flush()
    metrics.close()
    metrics.record(2, {"reward": 2.0})
    assert curve(tmp_path, "reward") == [(1, 1.0), (2, 2.0)]


# --- hyper-parameters and graph ---
def hyperparameters(directory: Path) -> dict[str, object]:
    content = read(directory).SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    info = metadata.parse_session_start_info_plugin_data(content)
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in info.hparams.items()}


def test_hyperparameters_are_there_from_the_first_moment(tmp_path: Path) -> None:
    Metrics(load_config(None, ["sac.tau=0.02", "sac.net_arch=[64, 32]"]), "a", tmp_path, say=never)
    found = hyperparameters(tmp_path)
    assert found["sac.tau"] == 0.02
    assert found["sac.net_arch"] == "[64, 32]"
    assert found["env.random_starts"] is True


def test_what_is_no_hyperparameter_stays_out_of_them(tmp_path: Path) -> None:
    Metrics(Config(), "a", tmp_path, say=never)
    assert {name.split(".")[0] for name in hyperparameters(tmp_path)} == {
        "training",
        "env",
        "sac",
        "imitation",
        "multi_agent",
        "evaluation",
    }


def test_final_figures_join_their_curves_at_the_last_step(tmp_path: Path) -> None:
    metrics = Metrics(Config(), "a", tmp_path, say=never)
    metrics.record(100, {"evaluation/completed": 0.5})
    metrics.record_hyperparameters(
        Config().to_json_dict(), {"evaluation/completed": 1.0, "none": float("nan")}
    )
    assert curve(tmp_path, "evaluation/completed") == [(100, 0.5), (100, 1.0)]


@pytest.fixture(scope="module")
def learner() -> SAC:
    return SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8, 8]}, seed=1)


def test_the_graph_shows_every_layer_of_actor_and_critics(tmp_path: Path, learner: SAC) -> None:
    metrics = Metrics(Config(), "a", tmp_path, say=never)
    metrics.record_graph(learner.actor, learner.critic, 3)
    names = [node.name for node in read(tmp_path).Graph().node if node.op == "aten::linear"]
    for part in ("latent_pi", "mu", "log_std", "qf0", "qf1"):
        assert any(f"[{part}]" in name for name in names), part
    assert len(names) == 4 + 3 + 3


def test_no_graph_is_written_where_the_settings_say_no(tmp_path: Path, learner: SAC) -> None:
    metrics = Metrics(load_config(None, ["tensorboard.graph=false"]), "a", tmp_path, say=never)
    metrics.record_graph(learner.actor, learner.critic, 3)
    assert read(tmp_path).Tags()["graph"] is False


def test_recording_draws_none_of_the_random_numbers_of_the_run(tmp_path: Path, learner: SAC) -> None:
    def state() -> tuple[object, ...]:
        return (
            random.getstate(),
            np.random.get_state()[1].tobytes(),  # noqa: NPY002 - the global one is what a run saves
            torch.get_rng_state().numpy().tobytes(),
        )

    before = state()
    metrics = Metrics(Config(), "a", tmp_path, say=never)
    metrics.record_graph(learner.actor, learner.critic, 3)
    metrics.record(1, metrics.sample_system())
    metrics.close()
    assert state() == before


# --- the machine ---
def test_the_machine_is_sampled_in_plausible_figures(tmp_path: Path) -> None:
    metrics = Metrics(Config(), "a", tmp_path / "not" / "yet", say=never)
    sample = metrics.sample_system()
    assert 0 <= sample["system/cpu_percent"] <= 100
    assert 0 < sample["system/memory_percent"] <= 100
    assert sample["system/process_memory_gb"] == pytest.approx(
        psutil.Process().memory_info().rss / 1e9, rel=0.5
    )
    assert sample["system/disk_free_gb"] == pytest.approx(shutil.disk_usage(tmp_path).free / 1e9, rel=0.5)


def test_a_computer_without_an_nvidia_driver_has_no_gpu_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert Gpus().sample() == {}


def test_a_figure_that_one_gpu_does_not_know_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA's library is stood in for by the functions we call; a MIG slice has no utilisation."""

    class Utilisation:
        gpu = 87

    class Memory:
        used = 2_500_000_000

    def utilisation(handle: int) -> Utilisation:
        if handle == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return Utilisation()

    for name, function in {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUtilizationRates": utilisation,
        "nvmlDeviceGetMemoryInfo": lambda _: Memory(),
        "nvmlDeviceGetTemperature": lambda *_: 61,
        "nvmlDeviceGetPowerUsage": lambda _: 70_000,
    }.items():
        monkeypatch.setattr(pynvml, name, function)
    gpus = Gpus()
    sample = gpus.sample()
    gpus.close()
    assert sample["system/gpu_percent"] == 87
    assert sample["system/gpu_memory_gb"] == 2.5
    assert sample["system/gpu_power_w"] == 70
    assert "system/gpu1_percent" not in sample
    assert sample["system/gpu1_temperature_c"] == 61


@pytest.mark.gpu
@pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="this computer has no NVIDIA GPU")
def test_a_gpu_is_sampled() -> None:
    gpus = Gpus()
    sample = gpus.sample()
    gpus.close()
    assert 0 <= sample["system/gpu_percent"] <= 100
    assert sample["system/gpu_memory_gb"] > 0


# --- disks ---
@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of 64 KiB."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_loses_points_but_stops_nothing_and_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    with small_disk(tmp_path / "disk") as disk:
        metrics = Metrics(Config(), "a", disk / "metrics", say=said.append)
        for step in range(4000):
            metrics.record(step, {"reward": 1.0, "length": 2.0})
        assert len(said) == 1
        assert "No space left on device" in said[0]
        written = curve(disk / "metrics", "reward")
        metrics.flush()
        metrics.close()
    assert 0 < len(written) < 4000
    assert written == [(step, 1.0) for step in range(len(written))]


def test_writing_goes_on_when_the_disk_has_room_again(tmp_path: Path) -> None:
    said: list[str] = []
    with small_disk(tmp_path / "disk") as disk:
        metrics = Metrics(Config(), "a", disk / "metrics", say=said.append)
        metrics.record(1, {"reward": 1.0})
        filler = fill(disk)
        for step in range(2, 200):
            metrics.record(step, {"reward": 1.0})
        filler.unlink()
        metrics.record(200, {"reward": 1.0})
        steps = [step for step, _ in curve(disk / "metrics", "reward")]
        metrics.close()
    assert steps[0] == 1
    assert steps[-1] == 200
    missing = 200 - len(steps)
    assert missing > 0
    assert said[1:] == [f"Curves are written again; {missing} points are missing."]


def test_a_disk_that_is_full_from_the_start_stops_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    with small_disk(tmp_path / "disk") as disk:
        filler = fill(disk)
        metrics = Metrics(Config(), "a", disk / "metrics", say=said.append)
        metrics.record(1, {"reward": 1.0})
        filler.unlink()
        metrics.record(2, {"reward": 1.0})
        assert curve(disk / "metrics", "reward") == [(2, 1.0)]
        metrics.close()
    assert len(said) == 2


def test_a_failing_disk_tears_no_record_in_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a record is written, then the disk fails: a reader must not stop there for good."""
    metrics = Metrics(Config(), "a", tmp_path, say=lambda _: None)
    metrics.record(1, {"reward": 1.0})
    write, calls = os.pwrite, []

    def half_then_fail(file: int, data: bytes, offset: int) -> int:
        calls.append(offset)
        if len(calls) > 1:
            raise OSError(5, "Input/output error")
        return write(file, data[: len(data) // 2], offset)

    monkeypatch.setattr(os, "pwrite", half_then_fail)
    metrics.record(2, {"reward": 1.0})
    monkeypatch.setattr(os, "pwrite", write)
    metrics.record(3, {"reward": 1.0})
    assert curve(tmp_path, "reward") == [(1, 1.0), (3, 1.0)]


# --- Weights & Biases switched off ---
def test_the_id_of_the_service_is_kept_while_it_is_switched_off(tmp_path: Path) -> None:
    assert Metrics(Config(), "a", tmp_path, say=never).wandb_id is None
    assert Metrics(Config(), "a", tmp_path, wandb_id="abcd1234", say=never).wandb_id == "abcd1234"
