"""The inventory of running instances, as Ansible reads it, against emulated EC2; run by `make ami-rehearsal`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import image_builder
import pytest
import rootfs
import yaml

from training.cloud.aws.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = "20261123-104259-a1b2c3"
GROUP = "run_20261123_104259_a1b2c3"


class World(NamedTuple):
    """An emulated EC2, and a folder for settings files."""

    address: str
    folder: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """EC2 with two running machines of the project, one that is stopped, one of another project, one elsewhere."""
    folder = tmp_path_factory.mktemp("inventory")
    with image_builder.emulator(folder) as served:
        for project, run in (
            ("f1tenth", RUN),
            ("f1tenth", "another"),
            ("f1tenth", "stopped"),
            ("other", RUN),
        ):
            launch(served, project, run)
        launch(served, "f1tenth", "far-away", region="us-west-2")
        yield World(served, folder)


def launch(address: str, project: str, run: str, region: str = image_builder.REGION) -> None:
    """Start a machine with the tags that a launch gives it."""
    ends = datetime(2026, 11, 24, tzinfo=timezone.utc)
    tags = Project(project, "123456789012", region, "a-bucket").run_tags(run, "someone", ends)
    ec2 = image_builder.client(address, region)
    started = ec2.run_instances(
        ImageId="ami-0123456789abcdef0",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    if run == "stopped":
        ec2.stop_instances(InstanceIds=[started["Instances"][0]["InstanceId"]])


def inventory(world: World, aws: dict[str, str] | None = None, **environment: str) -> dict[str, Any]:
    """Return what `ansible-inventory --list` says with the project's own configuration and these settings."""
    config = world.folder / "settings.yaml"
    config.write_text(
        yaml.safe_dump({"aws": {"region": image_builder.REGION, **(aws or {})}}), encoding="utf-8"
    )
    surroundings = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **image_builder.CREDENTIALS,
        "AWS_ENDPOINT_URL": world.address,
        "AWS_REGION": "eu-central-1",  # the settings say where, not the surroundings
        "F1TENTH_CONFIG": str(config),
        **environment,
    }
    tool = Path(sys.executable).with_name("ansible-inventory")
    ended = subprocess.run(
        [tool, "--list"],
        cwd=rootfs.REPOSITORY / "ansible",
        env=surroundings,
        text=True,
        capture_output=True,
        check=True,
    )
    # Newer Ansibles mark what comes from outside: {"__ansible_unsafe": value}.
    return json.loads(ended.stdout, object_hook=lambda seen: seen.get("__ansible_unsafe", seen))  # type: ignore[no-any-return]


def test_the_running_machines_of_the_project_are_found_by_their_run(world: World) -> None:
    found = inventory(world)
    assert len(found[GROUP]["hosts"]) == 1
    assert len(found["_meta"]["hostvars"]) == 2


def test_region_and_project_are_those_of_the_settings(world: World) -> None:
    assert len(inventory(world, {"project_name": "other"})["_meta"]["hostvars"]) == 1
    assert list(inventory(world, {"region": "us-west-2"})["run_far_away"]["hosts"])
    assert "_meta" in inventory(world, {"project_name": "nobody"})


def test_a_machine_is_reached_over_ssh_at_its_public_address(world: World) -> None:
    found = inventory(world)
    (name,) = found[GROUP]["hosts"]
    host = found["_meta"]["hostvars"][name]
    assert host["ansible_connection"] == "ansible.builtin.ssh"
    assert host["ansible_host"] == host["ec2_public_ip_address"]
    assert host["ansible_user"] == "ubuntu"


def test_or_through_session_manager_by_its_id(world: World) -> None:
    found = inventory(world, F1TENTH_CONNECTION="ssm")
    (name,) = found[GROUP]["hosts"]
    host = found["_meta"]["hostvars"][name]
    assert host["ansible_connection"] == "amazon.aws.aws_ssm"
    assert host["ansible_host"] == name == host["ec2_instance_id"]
    assert host["ansible_aws_ssm_bucket_name"] == f"f1tenth-123456789012-{image_builder.REGION}"
    assert host["ansible_aws_ssm_region"] == image_builder.REGION
