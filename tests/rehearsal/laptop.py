"""What a user's computer does beside ./launch.py: look into the store, tunnel to TensorBoard, drive laps."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.cloud.fake_aws import ROOT, Account
from tests.rehearsal.machine import Machine
from tests.support.servers import free_port
from training import layout
from training.store import documents
from training.store.checkpoint import Checkpoint
from training.store.fencing import read_pointer
from training.store.manifest import CheckpointRef
from training.store.storage import NotFound, Storage

EVALUATE_S = 900.0  # a computer that has not driven yet compiles the simulator first
TENSORBOARD = "f1tenth-tensorboard.service"
SSH_OPTIONS = (
    "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
    "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", "-o", "ExitOnForwardFailure=yes",
)  # fmt: skip


def has_config(storage: Storage, run: str) -> bool:
    """Tell whether a launch has written the run's settings."""
    try:
        storage.get(layout.config_key(run), max_bytes=1 << 20)
    except NotFound:
        return False
    return True


def state(storage: Storage, run: str) -> str:
    """Return what has become of a run, empty before it was launched."""
    status = documents.read_status(storage, run)
    return "" if status is None else status.state


def pointer(storage: Storage, run: str, kind: str) -> CheckpointRef | None:
    """Return the newest committed checkpoint."""
    seen = read_pointer(storage, run, kind)
    return None if seen is None else seen.pointer.checkpoint


def digests(checkpoint: Checkpoint) -> dict[str, str]:
    """Return part → sha256 of a checkpoint: its members and its replay segments, whoever wrote them."""
    members = {name: ref.sha256 for name, ref in checkpoint.manifest.members.items()}
    rows = {f"{ref.agent} {ref.first}-{ref.last}": ref.sha256 for ref in checkpoint.manifest.segments}
    return {"step": str(checkpoint.step), **members, **rows}


@contextlib.contextmanager
def tunnel(key: Path, address: str, port: int) -> Iterator[str]:
    """Forward a port of a machine to this computer by SSH for a `with` block; yield its address here."""
    here = free_port()
    command = ["ssh", "-N", "-L", f"127.0.0.1:{here}:127.0.0.1:{port}", "-i", str(key), *SSH_OPTIONS]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command, f"ubuntu@{address}"], stderr=subprocess.PIPE, text=True
    )
    try:
        yield f"http://127.0.0.1:{here}"
        if process.poll() is not None and process.stderr is not None:
            raise AssertionError(f"ssh ended: {process.stderr.read()}")
    finally:
        process.kill()
        process.wait()


def tensorboard_runs(url: str) -> list[str]:
    """Return the runs that a TensorBoard shows, none while it does not answer."""
    try:
        with urllib.request.urlopen(f"{url}/data/runs", timeout=5) as reply:  # noqa: S310 - our own tunnel
            return list(json.loads(reply.read()))
    except (OSError, ValueError):
        return []


class Visit(threading.Thread):
    """Look into whatever machine is up, again and again, until it was seen there: TensorBoard's runs, W&B's files.

    Beside the story, because on a quick computer the training is over before TensorBoard has been imported.
    """

    def __init__(self, key: Path, machines: Callable[[], list[Machine]]) -> None:
        super().__init__(name="visit", daemon=True)
        self.runs: list[str] = []
        self.files: list[str] = []
        self._key, self._machines = key, machines
        self._stopping = threading.Event()

    @property
    def seen(self) -> bool:
        """Tell whether both were seen."""
        return bool(self.runs and self.files)

    def run(self) -> None:
        """Go on until both are seen, or stop() is called."""
        while not self.seen and not self._stopping.wait(2.0):
            for machine in self._machines():
                self.files = (
                    self.files or machine.run("find", "/var/lib/f1tenth", "-name", "run-*.wandb").split()
                )
                if self.runs or machine.show(TENSORBOARD, "ActiveState").get("ActiveState") != "active":
                    continue
                with contextlib.suppress(AssertionError), tunnel(self._key, machine.address, 6006) as url:
                    for _ in range(10):
                        self.runs = tensorboard_runs(url)
                        if self.runs or not machine.is_on or self._stopping.wait(1.0):
                            break

    def stop(self) -> None:
        """End it."""
        self._stopping.set()


def evaluate(account: Account, run: str, *, tracks: Sequence[str], laps: int) -> list[dict[str, Any]]:
    """Drive laps with a run's policy, by the user's command; return a row for each track."""
    command = [
        sys.executable, "-m", "training", "evaluate", run, "--store", account.scope.store, "--config",
        str(account.folder / "config.yaml"), "--laps", str(laps), "--json",
        *(word for track in tracks for word in ("--track", track)),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=account.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=EVALUATE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])["tracks"]
    return rows


def wait_for_exit(process: subprocess.Popen[Any], within_s: float) -> int | None:
    """Return a process's exit code, None if it still runs."""
    deadline = time.monotonic() + within_s
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    return process.poll()
