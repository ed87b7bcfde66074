"""What the trainer's tests do with a machine: boot it, start a run as user data would, ask, wait for its end."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

TRAINING = "f1tenth-training.service"
FINISH = "f1tenth-finish.service"
PATIENCE_S = 180


def boot(host: Host) -> None:
    """Restart the machine's container and forget what earlier runs on it left."""
    podman("restart", "--time", "0", container(host))
    wait_until(
        lambda: host.run("systemctl is-system-running").stdout.strip() in ("running", "degraded"), "boot"
    )
    host.check_output("rm -f /var/lib/f1tenth/starts /var/lib/f1tenth/console")


def container(host: Host) -> str:
    """Return the name of the container."""
    return host.backend.name


def systemd_version(host: Host) -> int:
    """Return the version of its systemd."""
    return int(host.check_output("systemctl --version").split()[1])


def start(host: Host, behaviour: str, *lines: str) -> None:
    """Write run.env as user data would and start the training unit."""
    env = [
        "F1TENTH_CONFIG=/opt/f1tenth/app/config.yaml",
        "F1TENTH_STORE=s3://b",
        f"STANDIN={behaviour}",
        *(f'{name}="{value}"' for name, value in (line.split("=", 1) for line in lines)),
    ]
    host.check_output("printf '%%s\n' %s > /run/f1tenth/run.env", "\n".join(env))
    host.run(f"systemctl start {TRAINING}")


def shorten_dead_man(host: Host) -> None:
    """Let the timer elapse now, by the drop-in that the fetch script writes."""
    directory = "/run/systemd/system/f1tenth-deadman.timer.d"
    host.check_output(f"mkdir -p {directory}")
    host.check_output(f"printf '[Timer]\nOnBootSec=\nOnBootSec=1\n' > {directory}/50-run.conf")
    host.run("systemctl daemon-reload && systemctl restart --no-block f1tenth-deadman.timer")


def replace_command(host: Host, unit: str, command: str) -> None:
    """Override what a unit runs."""
    directory = f"/etc/systemd/system/{unit}.d"
    host.check_output(f"printf '[Service]\nExecStart=\nExecStart={command}\n' > {directory}/99-test.conf")
    host.check_output("systemctl daemon-reload")


def starts(host: Host) -> list[str]:
    """Return the arguments of every start of the trainer, oldest first."""
    return host.run("cat /var/lib/f1tenth/starts").stdout.splitlines()


def show(host: Host, unit: str, name: str) -> str:
    """Return one property of a unit."""
    return host.check_output(f"systemctl show --value --property={name} {unit}").strip()


def last_words(host: Host) -> str:
    """Return what the finish program said since the case began, over a power-off."""
    start_container(host)
    return host.run("cat /var/lib/f1tenth/console").stdout


def start_container(host: Host) -> None:
    """Start the container if it is off and wait for its journal."""
    podman("start", container(host))
    wait_until(lambda: host.run("systemctl is-active systemd-journald").rc == 0, "the journal")


def wait_for_power_off(host: Host) -> None:
    """Wait until the container's init has ended."""
    state = "{{.State.Status}}"
    wait_until(lambda: podman("inspect", "--format", state, container(host)) == "exited", "the power-off")


def wait_until(reached: Callable[[], bool], what: str) -> None:
    """Poll twice a second; fail with what was waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what}"
        time.sleep(0.5)


def podman(*arguments: str) -> str:
    """Run podman and return what it printed."""
    return subprocess.run(["podman", *arguments], check=True, text=True, capture_output=True).stdout.strip()
