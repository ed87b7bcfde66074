"""What the training may do inside its unit, on both systemds; run by verify.yml.

The GPU is played by character devices of its majors that no driver serves: opening one that control groups allow ends
in ENXIO, one that they deny in EPERM. In a container systemd denies nothing, because podman mounts the controller
read-only; with it writable again it does, which a control shows. (A cgroup namespace of its own is no way there: in
one, podman gives systemd the root of the host's hierarchy, where two of them get into each other's way.)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from machine import TRAINING, boot, start, systemd_version, wait_until

if TYPE_CHECKING:
    from testinfra.host import Host

MAY_OPEN = "ENXIO"
DENIED = "EPERM"
GPU = {"/dev/nvidia0": 195, "/dev/nvidia-uvm": 510}
CONTROLLER = "/sys/fs/cgroup/devices"  # of the first version of control groups; the second has none, but BPF
OPEN = "import errno, os\ntry: os.open('/dev/nvidia0', os.O_RDWR)\nexcept OSError as e: print(errno.errorcode[e.errno])"
EXPECTED = {
    "open the GPU": MAY_OPEN,
    "open the GPU's memory": MAY_OPEN,
    "start a thread": "ok",
    "pin itself to a core": "ok",
    "map compiled code": "ok",
    "share memory": "ok",
    "write its state": "ok",
    "write its cache": "ok",
    "write its outcome": "ok",
    "write to /tmp": "ok",
    "write its code": "EROFS",
    "look into /root": "EACCES",
    "write to /home": "EACCES",
    "set the clock": "EPERM",
    "set the name of the host": "EPERM",
    "make a user namespace": "EPERM",
    "make a raw packet socket": "EAFNOSUPPORT",
    "make a set-user-ID file": "EPERM",
    "run in real time": "EPERM",
    "read the kernel's log": "EPERM",
    "trace process 1": "EPERM",
    "mount": "EPERM",
    "capabilities": "0" * 32,
    "no new privileges": "1",
    "seccomp": "2",
    "processes of root": "0",
    # Blank where it could not be read from AWS, as here; the monitoring role's scenario has one.
    "key": "''",
}


@pytest.fixture(scope="module")
def _devices(host: Host) -> None:
    """A machine with device files of the GPU's majors, whose systemd may deny devices."""
    boot(host)
    host.check_output("rm -f /var/lib/f1tenth/allowed.json")
    for path, major in GPU.items():
        host.check_output(f"rm -f {path} && mknod -m 666 {path} c {major} 0")
    if host.file(CONTROLLER).is_directory:
        host.check_output(f"mount -o remount,bind,rw {CONTROLLER}")
        # Its own path below the mount, which systemd 252 does not make by itself: it begins with mkdir /sys.
        own = host.check_output("sed -n 's,.*name=systemd:\\(.*\\)/init.scope$,\\1,p' /proc/1/cgroup")
        host.check_output(f"mkdir -p {CONTROLLER}{own}")
    # As create.yml does, and a restart undoes: a unit's credentials are mounted through it.
    host.check_output("mount --make-rshared /")
    host.check_output("systemctl daemon-reexec")


@pytest.fixture(scope="module")
def allowed(host: Host, _devices: None) -> dict[str, str]:
    """What the real unit's process could do and could not."""
    start(host, "probe:/var/lib/f1tenth/allowed.json")
    answers = host.file("/var/lib/f1tenth/allowed.json")
    wait_until(lambda: answers.exists and answers.content_string.endswith("}"), "the probe")
    assert host.service(TRAINING).is_running
    return json.loads(answers.content_string)


@pytest.mark.usefixtures("_devices")
@pytest.mark.parametrize(
    ("option", "answer"),
    [("DeviceAllow=char-rtc r", DENIED), ("DevicePolicy=closed", DENIED), ("Nice=0", MAY_OPEN)],
)
def test_systemd_does_deny_devices_here(host: Host, option: str, answer: str) -> None:
    """The control: where it could not, the test below would prove nothing."""
    said = host.check_output(
        "systemd-run --quiet --wait --pipe --property=%s python3 -c %s", f"{option}", OPEN
    )
    assert said == answer, (
        f"{option}: systemd {'cannot' if answer == DENIED else 'does'} deny devices in this container"
    )


@pytest.mark.parametrize("what", EXPECTED)
def test_the_sandbox_allows_what_training_needs_and_no_more(
    host: Host, allowed: dict[str, str], what: str
) -> None:
    """Inside the real unit, under its real user and filters; the GPU's devices first."""
    if what == "key" and systemd_version(host) < 248:
        pytest.skip("verify.yml had to take the key")
    assert allowed[what] == EXPECTED[what]


def test_every_answer_is_looked_at(allowed: dict[str, str]) -> None:
    """A new attempt of the probe has its expectation."""
    assert allowed.keys() == EXPECTED.keys()
