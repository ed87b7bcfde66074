"""Weights & Biases by the real package: offline, without a key, and against a server that answers as its own."""

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import wandb

from tests.support.fake_wandb import FakeWandb, serving
from training.config import Config, load_config
from training.metrics import Metrics, weights_and_biases

KEY = "a" * 40
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the user's own key and files out of it, and each test out of the next."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))
    wandb.teardown()
    yield
    wandb.teardown()
    with warnings.catch_warnings():
        # wandb leaves its service's Popen to the garbage collector, which would come, and warn, in any other test.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWandb]:
    with serving() as fake:
        monkeypatch.setenv("WANDB_BASE_URL", fake.url)
        yield fake


def config(mode: str) -> Config:
    return load_config(None, [f"wandb.mode={mode}"])


def attempt(
    mode: str, directory: Path, steps: range, say: Callable[[str], None], wandb_id: str | None = None
) -> str:
    """Record a point at each step and return the id of the run."""
    begin = 0 if wandb_id is None else steps.start
    metrics = Metrics(config(mode), "a", directory, resumed_step=begin, wandb_id=wandb_id, say=say)
    for step in steps:
        metrics.record(step, {"reward": step / 2, "agent0/reward": step / 4, "bad": float("nan")})
    metrics.close()
    assert metrics.wandb_id is not None
    return metrics.wandb_id


def never(text: str) -> None:
    pytest.fail(f"nothing was to be said, but: {text}")


def logs(directory: Path, run: str) -> list[Path]:
    return sorted(directory.glob(f"wandb/offline-run-*-{run}/run-{run}.wandb"))


def sync(directories: list[Path]) -> None:
    """Send what lies on disk, as a user would."""
    folders = [
        str(log.parent) for directory in directories for log in sorted(directory.glob("wandb/*/*.wandb"))
    ]
    command = [sys.executable, "-m", "wandb", "sync", *[f for f in folders if "latest-run" not in f]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_offline_points_are_kept_on_disk_under_one_id_over_a_resume(tmp_path: Path) -> None:
    run = attempt("offline", tmp_path, range(10, 40, 10), never)
    time.sleep(1.0)  # wandb names the folder by the second; no trainer starts twice within one
    assert attempt("offline", tmp_path, range(20, 60, 10), never, wandb_id=run) == run
    assert len(logs(tmp_path, run)) == 2
    assert all(log.stat().st_size > 0 for log in logs(tmp_path, run))


def test_what_was_kept_offline_can_be_sent_later_and_no_point_is_dropped(
    tmp_path: Path, server: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = attempt("offline", tmp_path / "first", range(10, 40, 10), never)
    attempt("offline", tmp_path / "second", range(20, 60, 10), never, wandb_id=run)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    sync([tmp_path / "first", tmp_path / "second"])
    assert server.points(run, "reward") == [(s, s / 2) for s in (10, 20, 30, 20, 30, 40, 50)]
    own_steps = [row["_step"] for _, row in sorted(server.history[run].items())]
    assert own_steps == sorted(set(own_steps))


def test_online_a_resumed_run_is_the_same_run_and_goes_on_where_it_was(
    tmp_path: Path, server: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    run = attempt("online", tmp_path, range(10, 40, 10), never)
    wandb.teardown()
    attempt("online", tmp_path, range(20, 60, 10), never, wandb_id=run)
    assert list(server.history) == [run]
    assert server.points(run, "reward") == [(s, s / 2) for s in (10, 20, 30, 20, 30, 40, 50)]
    assert server.points(run, "agent0/reward") == [(s, s / 4) for s in (10, 20, 30, 20, 30, 40, 50)]


def test_the_settings_of_the_run_are_sent_but_not_where_it_happens(
    tmp_path: Path, server: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    run = attempt("online", tmp_path, range(10, 20, 10), never)
    assert server.settings[run]["sac.tau"] == {"value": Config().sac.tau}
    assert [name for name in server.settings[run] if name.startswith("aws")] == []


def test_without_a_key_it_is_said_once_and_points_are_kept_on_disk(tmp_path: Path, server: FakeWandb) -> None:
    said: list[str] = []
    run = attempt("online", tmp_path, range(10, 40, 10), said.append)
    assert len(said) == 1
    assert "no API key" in said[0]
    assert str(tmp_path / "wandb") in said[0]
    assert len(logs(tmp_path, run)) == 1
    assert not server.history


def test_a_service_that_does_not_answer_is_said_once_and_holds_up_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_and_biases, "INIT_TIMEOUT_S", 3.0)
    monkeypatch.setattr(weights_and_biases, "FINISH_TIMEOUT_S", 3.0)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens on the discard port
    said: list[str] = []
    metrics = Metrics(config("online"), "a", tmp_path, say=said.append)
    for step in range(10, 40, 10):
        metrics.record(step, {"reward": 1.0})
    assert said == []  # all steps are made before the service has been given up
    monkeypatch.setattr(weights_and_biases, "CLOSE_TIMEOUT_S", 300.0)  # a slow machine is no fault
    metrics.close()
    assert len(said) == 1
    assert "does not answer" in said[0]
    assert len(logs(tmp_path, metrics.wandb_id or "")) == 1


def test_the_death_of_its_process_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    metrics = Metrics(config("offline"), "a", tmp_path, say=said.append)
    metrics.record(10, {"reward": 1.0})
    connected = threading.Event()
    assert metrics._wandb is not None
    metrics._wandb._hand_over(lambda _: connected.set())
    assert connected.wait(300)
    for child in psutil.Process().children():
        if child.name().startswith("wandb"):
            child.kill()
            child.wait()
    for step in range(20, 40, 10):
        metrics.record(step, {"reward": 1.0})
    metrics.close()
    assert len(said) == 1
    assert "Training continues without it" in said[0]
