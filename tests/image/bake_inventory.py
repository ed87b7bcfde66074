"""The inventory of running instances, by Ansible's own plugin against emulated EC2; run by `make ami-rehearsal`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bakery
import pytest
import rootfs

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = "20261123-104259-a1b2c3"
GROUP = "run_20261123_104259_a1b2c3"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """EC2 with two running machines of the project, one that is stopped, one of another project."""
    with bakery.emulator(tmp_path_factory.mktemp("inventory")) as served:
        for project, run in (
            ("f1tenth", RUN),
            ("f1tenth", "another"),
            ("f1tenth", "stopped"),
            ("other", RUN),
        ):
            launch(served, project, run)
        yield served


def launch(address: str, project: str, run: str) -> None:
    """Start a machine with the tags that a launch gives it."""
    tags = [{"Key": "Project", "Value": project}, {"Key": "Run", "Value": run}]
    ec2 = bakery.client(address)
    started = ec2.run_instances(
        ImageId="ami-0123456789abcdef0",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    if run == "stopped":
        ec2.stop_instances(InstanceIds=[started["Instances"][0]["InstanceId"]])


def inventory(address: str, **settings: str) -> dict[str, Any]:
    """Return what `ansible-inventory --list` says with the project's own configuration."""
    environment = {
        **os.environ,
        **bakery.CREDENTIALS,
        "AWS_ENDPOINT_URL": address,
        "AWS_REGION": bakery.REGION,
        **settings,
    }
    tool = Path(sys.executable).with_name("ansible-inventory")
    ended = subprocess.run(
        [tool, "--list"],
        cwd=rootfs.REPOSITORY / "ansible",
        env=environment,
        text=True,
        capture_output=True,
        check=True,
    )
    # Newer Ansibles mark what comes from outside: {"__ansible_unsafe": value}.
    return json.loads(ended.stdout, object_hook=lambda seen: seen.get("__ansible_unsafe", seen))  # type: ignore[no-any-return]


def test_the_running_machines_of_the_project_are_found_by_their_run(address: str) -> None:
    found = inventory(address)
    assert len(found[GROUP]["hosts"]) == 1
    assert len(found["_meta"]["hostvars"]) == 2


def test_another_project_is_named_by_the_environment(address: str) -> None:
    found = inventory(address, F1TENTH_PROJECT="other")
    assert len(found["_meta"]["hostvars"]) == 1


def test_a_machine_is_reached_over_ssh_at_its_public_address(address: str) -> None:
    found = inventory(address)
    (name,) = found[GROUP]["hosts"]
    host = found["_meta"]["hostvars"][name]
    assert host["ansible_connection"] == "ansible.builtin.ssh"
    assert host["ansible_host"] == host["ec2_public_ip_address"]
    assert host["ansible_user"] == "ubuntu"


def test_or_through_session_manager_by_its_id(address: str) -> None:
    found = inventory(address, F1TENTH_CONNECTION="ssm", F1TENTH_BUCKET="bucket")
    (name,) = found[GROUP]["hosts"]
    host = found["_meta"]["hostvars"][name]
    assert host["ansible_connection"] == "amazon.aws.aws_ssm"
    assert host["ansible_host"] == name == host["ec2_instance_id"]
    assert host["ansible_aws_ssm_bucket_name"] == "bucket"
    assert host["ansible_aws_ssm_region"] == bakery.REGION
