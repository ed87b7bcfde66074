"""A machine: a namespace with its own metadata service, and a container that boots the baked root by systemd."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from tests.rehearsal import metadata, network
from tests.rehearsal.metadata import Instance

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
# systemd's own signal for "power off", sent as an instance's power button is pressed.
POWER_BUTTON = signal.SIGRTMIN + 4
TRAINING = "f1tenth-training.service"
REBOOT_S = 300.0  # the trainer has 110 s to stop
PODMAN_S = 600.0  # the longest that any call of it may take on a busy computer


class Moments(NamedTuple):
    """When what happened, on the monotonic clock, s; 0 for not yet."""

    begun: float
    boot: float  # systemd's first moment
    cloud_init_done: float
    unit_active: float


class Machine:
    """One booted instance. Everything it says is kept in `folder`: journal, metadata requests."""

    def __init__(
        self, net: network.Network, number: int, folder: Path, instance: Instance, image: str
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.begun = time.monotonic()
        self.begun_at = datetime.now(timezone.utc)
        self.off_at: float | None = None
        self.namespace, self.address = network.add_namespace(net, number)
        self.name = self.namespace
        self.instance = instance._replace(address=self.address)
        self._told: dict[str, str] = {}
        self._state = folder / "metadata.json"
        self._write_metadata()
        self._imds = self._start_imds()
        self._pidfd = -1
        self._is_rebooting = False
        try:
            self._pid = self._start_container(image)
            self._pidfd = os.pidfd_open(self._pid)
        except BaseException:
            self.remove()
            raise
        self._last = Moments(self.begun, 0.0, 0.0, 0.0)

    # --- the world acts on it ---
    def notice(self, in_s: float) -> datetime:
        """Announce that it is taken away so many seconds from now; return that time."""
        at = datetime.now(timezone.utc) + timedelta(seconds=in_s)
        self.tell(metadata.NOTICE, metadata.notice(at))
        return at

    def tell(self, path: str, text: str) -> None:
        """Let the metadata service say something more from now on."""
        self._told[path] = text
        self._write_metadata()

    def silence_metadata(self) -> None:
        """End the metadata service."""
        self._imds.kill()
        self._imds.wait()

    def restore_metadata(self) -> None:
        """Start the metadata service again."""
        self._imds = self._start_imds()

    def press_power(self) -> None:
        """Ask systemd to power off, as AWS does when an instance is terminated."""
        self._signal(POWER_BUTTON)

    def reboot(self) -> None:
        """Let systemd stop everything and boot again: the disk stays, /run and every process do not."""
        self._is_rebooting = True
        try:
            self.run("systemctl", "reboot")
            ended, _, _ = select.select([self._pidfd], [], [], REBOOT_S)
            assert ended, f"{self.name} did not go down within {REBOOT_S:.0f} s"
            os.close(self._pidfd)
            podman("start", self.name)
            self._pid = self._started()
            self._pidfd = os.pidfd_open(self._pid)
        finally:
            self._is_rebooting = False

    def kill(self) -> None:
        """Take it away at once."""
        self._signal(signal.SIGKILL)

    def freeze(self, *, thaw: bool = False) -> None:
        """Stop every process of it, or let them go on: a zombie that wakes later."""
        podman("unpause" if thaw else "pause", self.name)

    # --- looking ---
    @property
    def is_on(self) -> bool:
        """Tell whether its first process lives."""
        if self._is_rebooting:
            return True
        if self.off_at is None and select.select([self._pidfd], [], [], 0)[0]:
            self.off_at = time.monotonic()
        return self.off_at is None

    def run(self, *command: str, timeout_s: float = 30.0) -> str:
        """Run a command in it and return what it prints; empty where it cannot run (any more)."""
        enter = ["nsenter", "--target", str(self._pid), "--mount", "--uts", "--ipc", "--net", "--pid"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [*enter, *command], check=False, capture_output=True, text=True, timeout=timeout_s
            )
            return done.stdout if done.returncode == 0 else ""
        return ""

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit; empty while systemd does not answer."""
        text = self.run("systemctl", "show", unit, f"--property={','.join(properties)}")
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    @property
    def step(self) -> int:
        """Return the step that the trainer told systemd last, -1 before that."""
        text = self.show(TRAINING, "StatusText").get("StatusText", "")
        words = text.removeprefix("step ").split(",")[:4]
        digits = "".join(words).split(" ")[0] if text.startswith("step ") else ""
        return int(digits) if digits.isdigit() else -1

    def moments(self) -> Moments:
        """Return what has happened so far; what cannot be read any more is as it was last read."""
        unit = self.show(TRAINING, "ActiveEnterTimestampMonotonic")
        final = self.show("cloud-final.service", "ActiveEnterTimestampMonotonic")
        booted = self.run("systemctl", "show", "--value", "--property=UserspaceTimestampMonotonic").strip()
        seen = Moments(
            self.begun,
            _seconds(booted),
            _seconds(final.get("ActiveEnterTimestampMonotonic")),
            _seconds(unit.get("ActiveEnterTimestampMonotonic")),
        )
        self._last = Moments(*(new or old for new, old in zip(seen, self._last, strict=True)))
        return self._last

    def journal(self, *options: str) -> str:
        """Return its journal, also after its end."""
        command = [
            "journalctl",
            f"--directory={self.folder / 'journal'}",
            "--no-pager",
            "-o",
            "short-precise",
        ]
        return subprocess.run(
            [*command, *options], check=False, capture_output=True, text=True, timeout=PODMAN_S
        ).stdout

    def metadata_requests(self) -> list[str]:
        """Return what was asked of the metadata service."""
        path = self.folder / "metadata.log"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    # --- its end ---
    def remove(self) -> None:
        """Remove container, metadata service and namespace; the folder stays, with the journal as text."""
        podman("rm", "--force", "--time", "0", self.name, check=False)
        self._imds.kill()
        self._imds.wait()
        network.delete_namespace(self.namespace)
        if self._pidfd >= 0 and self.is_on:
            self.off_at = time.monotonic()
        with contextlib.suppress(OSError):
            os.close(self._pidfd)
        if (self.folder / "journal").exists():
            (self.folder / "journal.txt").write_text(self.journal(), encoding="utf-8")

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def _write_metadata(self) -> None:
        partial = self._state.with_suffix(".partial")
        partial.write_text(json.dumps(metadata.tree(self.instance, self._told)), encoding="utf-8")
        partial.replace(self._state)

    def _start_imds(self) -> subprocess.Popen[bytes]:
        script = [
            sys.executable,
            str(TESTS / "support" / "fake_imds.py"),
            f"{network.IMDS_ADDRESS}:80",
            str(self._state),
        ]
        return subprocess.Popen(
            # A rehearsal that is killed takes it along.
            ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.namespace, *script,
             str(self.folder / "metadata.log")],
        )  # fmt: skip

    def _start_container(self, image: str) -> int:
        journal = self.folder / "journal"
        journal.mkdir()
        settings = HERE / "machine"
        mounts = (
            f"{settings / '99-ec2.cfg'}:/etc/cloud/cloud.cfg.d/99-ec2.cfg:ro",
            f"{settings / 'sitecustomize.py'}:/etc/python3.11/sitecustomize.py:ro",
            # Kept on this computer, so that it can be read after the machine is gone.
            f"{journal}:/var/log/journal",
        )
        podman(
            "run", "--detach", "--name", self.name, "--systemd=always", "--cap-add=SYS_ADMIN",
            "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined",
            f"--network=ns:/run/netns/{self.namespace}", f"--hostname={metadata.hostname(self.address).split('.')[0]}",
            *(f"--volume={mount}" for mount in mounts), image, "/sbin/init",
        )  # fmt: skip
        return self._started()

    def _started(self) -> int:
        """Return the first process's number on this computer."""
        # As systemd makes it outside of containers: a unit's credentials are mounted through it.
        podman("exec", self.name, "mount", "--make-rshared", "/")
        return int(podman("inspect", "--format", "{{.State.Pid}}", self.name).strip())


def podman(*arguments: str, check: bool = True) -> str:
    """Run podman under the tests' configuration and return what it prints."""
    environment = {**os.environ, "CONTAINERS_CONF": str(TESTS / "image" / "containers.conf")}
    done = subprocess.run(
        ["podman", *arguments], check=False, env=environment, text=True, capture_output=True, timeout=PODMAN_S
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"podman {' '.join(arguments[:3])} …: {done.stderr.strip()[-2000:]}")
    return done.stdout


def containers() -> list[str]:
    """Return the containers of all rehearsals."""
    names = podman("ps", "--all", "--format", "{{.Names}}").split()
    return [name for name in names if name.startswith(network.PREFIX)]


def _seconds(microseconds: str | None) -> float:
    return int(microseconds) / 1e6 if microseconds and microseconds.isdigit() else 0.0
