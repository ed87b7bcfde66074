"""The driver's services seen from outside, with stand-in packages; run by verify.yml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

DEVICES, DAEMON = "f1tenth-nvidia-devices.service", "nvidia-persistenced.service"


@pytest.fixture
def _gpu(host: Host) -> Iterator[None]:
    """A machine whose kernel has the driver: here the condition that asks for it is lifted."""
    for unit in (DEVICES, DAEMON):
        drop_in = f"/run/systemd/system/{unit}.d"
        host.check_output(f"mkdir -p {drop_in}")
        host.check_output(f"printf '[Unit]\nConditionPathExists=\n' >{drop_in}/99-test.conf")
    host.check_output("systemctl daemon-reload")
    yield
    host.check_output(f"systemctl stop {DEVICES} {DAEMON}; rm -r /run/systemd/system/*nvidia*.d")
    host.check_output("systemctl daemon-reload")


@pytest.mark.usefixtures("_gpu")
def test_a_boot_makes_the_device_files_and_keeps_the_driver_awake(host: Host) -> None:
    """Both come with the target of a boot; the daemon stays although nobody asks for it."""
    host.check_output("systemctl start multi-user.target")
    host.check_output(f"systemctl start {DEVICES}")
    assert host.file("/run/nvidia-modprobe.called").content_string == "-c 0 -u\n"
    assert host.service(DAEMON).is_running
    host.check_output("systemctl daemon-reload")
    assert host.service(DAEMON).is_running


def test_without_a_gpu_neither_runs_nor_fails(host: Host) -> None:
    """The same image on a machine without one: skipped, and the boot is not degraded by it."""
    host.check_output(f"systemctl start {DEVICES}")
    assert not host.service(DEVICES).is_running
    assert not host.service(DAEMON).is_running
    assert host.check_output("systemctl list-units --failed --plain --no-legend '*nvidia*'") == ""
