"""A machine after sysprep: nothing of the builder, and a first boot makes its own; run by verify.yml."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from testinfra.host import Host

CHECK = Path(__file__).parents[3] / "ansible/roles/sysprep/files/last-check.sh"
TRACES = {
    "/home/ubuntu/.ssh/authorized_keys": "ssh-ed25519 AAAA builder",
    "/etc/ssh/ssh_host_rsa_key": "a host key",
    "/home/ubuntu/.bash_history": "aws configure",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef",
    "/var/lib/cloud/instances/i-0/user-data.txt": "#!/bin/sh",
    "/var/log/journal/0123456789abcdef/system.journal": "what the builder did",
    "/opt/f1tenth/src/credentials": "AKIAABCDEFGHIJKLMNOP",  # pragma: allowlist secret
    "/tmp/left": "by the builder",
    "/var/tmp/left": "by the builder",
    "/var/tmp/left by a name with blanks": "by the builder",
    "/var/tmp/systemd-private-of-another-boot/tmp/left": "by a unit",
}
PRIVATE = "/var/tmp/systemd-private-*-{unit}.service-*"


@pytest.fixture(scope="module")
def check() -> str:
    """Return the container's name, with the last check copied in as Packer does."""
    run("podman", "exec", "f1tenth-sysprep", "sh", "-c", "rm -rf /tmp/* && mkdir -p /opt/f1tenth/src")
    run("podman", "cp", str(CHECK), "f1tenth-sysprep:/tmp/script_1.sh")
    return "f1tenth-sysprep"


def test_nothing_of_the_builder_is_left(host: Host, check: str) -> None:
    """The last check, which looks on its own and not where the role cleaned."""
    assert check
    assert "nothing of the builder is left" in host.check_output("sh /tmp/script_1.sh")


@pytest.mark.parametrize("trace", TRACES)
def test_the_last_check_names_a_trace(host: Host, check: str, trace: str) -> None:
    """Each trace alone fails the check, by name: otherwise the test above would prove nothing."""
    kept = host.file(trace).content_string if host.file(trace).exists else None
    host.check_output("mkdir -p %s && echo %s > %s", str(Path(trace).parent), TRACES[trace], trace)
    answer = host.run("sh /tmp/script_1.sh")
    host.check_output("rm -rf /var/lib/cloud/* /var/log/journal/* /var/tmp/systemd-private-of-another-boot")
    host.check_output("rm -f %s", trace)
    if kept is not None:
        host.check_output("printf %%s %s > %s", kept, trace)
    assert check
    assert answer.rc == 1
    told = trace.removesuffix("/instances/i-0/user-data.txt").removesuffix("/0123456789abcdef/system.journal")
    assert told in answer.stderr


def test_a_running_unit_with_a_private_tmp_is_no_trace(host: Host, check: str) -> None:
    """One that started before the cleaning has kept its directory, empty; one that starts after it has one anew."""
    before, after = PRIVATE.format(unit="private"), PRIVATE.format(unit="later")
    assert host.check_output(f"find {before}").splitlines()[1:] == [host.check_output(f"echo {before}/tmp")]
    host.check_output("systemd-run --quiet --unit=later --property=PrivateTmp=true sleep infinity")
    assert host.check_output(f"ls {after}") == "tmp"
    answer = host.run("sh /tmp/script_1.sh")
    host.check_output("systemctl stop later.service")
    assert check
    assert answer.rc == 0, answer.stderr


def test_the_logs_do_not_tell_of_the_bake(host: Host) -> None:
    """What the builder wrote to a log of its own is gone."""
    assert host.file("/var/log/builder.log").size == 0


def test_a_first_boot_gets_an_id_of_its_own(host: Host) -> None:
    """The empty machine-id is filled by systemd, and stays through the next boot."""
    run("podman", "restart", "--time", "0", "f1tenth-sysprep")
    first = host.check_output("cat /run/machine-id /etc/machine-id | sort -u | grep .")
    assert len(first.splitlines()) == 1


def run(*command: str) -> None:
    """Run a command of the host."""
    subprocess.run(command, check=True, capture_output=True)
