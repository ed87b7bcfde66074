#!/usr/bin/env python3
"""The running machines of the project, as an inventory of Ansible: each run is a group, run_NAME.

    ansible-inventory --graph
    ansible-playbook site.yml --limit run_NAME --tags trainer --check --diff

Region and project are read from the settings, as launch.py does: config.yaml here or next to launch.py, or the file
that F1TENTH_CONFIG names. F1TENTH_CONNECTION=ssm goes through Session Manager (no open port; needs the
session-manager-plugin); ssh needs `aws.open_ports_to: my-ip` and the instance's key.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
_PYTHON = PROJECT / ".venv" / "bin" / "python"
if __name__ == "__main__" and _PYTHON.exists() and "F1TENTH_INVENTORY" not in os.environ:
    # Ansible accepts any Python; the imports of this script are in the project's own environment.
    os.execve(_PYTHON, [str(_PYTHON), *sys.argv], {**os.environ, "F1TENTH_INVENTORY": "1"})  # noqa: S606 - ourselves
sys.path.insert(0, str(PROJECT))

from training import layout
from training.cloud.aws import inventory as aws_inventory
from training.cloud.aws.project import Project, tag
from training.cloud.console.output import say
from training.cloud.context import open_context
from training.errors import TrainingError


def inventory(
    project: Project, machines: list[aws_inventory.Found], *, through_session_manager: bool
) -> dict[str, object]:
    """Return the groups of some running machines and the variables of each, as a script must print them."""
    groups: dict[str, list[str]] = {}
    for machine in machines:
        group = re.sub(r"\W", "_", f"run_{tag(machine, layout.TAG_RUN)}")
        groups.setdefault(group, []).append(machine["InstanceId"])
    reach = _through_session_manager if through_session_manager else _over_ssh
    variables = {
        machine["InstanceId"]: {**_facts(machine), **reach(project, machine)} for machine in machines
    }
    return {
        **{group: {"hosts": sorted(hosts)} for group, hosts in sorted(groups.items())},
        "_meta": {"hostvars": variables},
    }


def _facts(machine: aws_inventory.Found) -> dict[str, str]:
    return {
        "ansible_user": "ubuntu",
        "ec2_instance_id": machine["InstanceId"],
        "ec2_instance_type": machine["InstanceType"],
        "ec2_availability_zone": machine["Placement"]["AvailabilityZone"],
        "ec2_public_ip_address": machine.get("PublicIpAddress", ""),
        "f1tenth_run": tag(machine, layout.TAG_RUN),
    }


def _over_ssh(_: Project, machine: aws_inventory.Found) -> dict[str, str]:
    return {
        "ansible_connection": "ansible.builtin.ssh",
        "ansible_host": str(machine.get("PublicIpAddress", machine["InstanceId"])),
    }


def _through_session_manager(project: Project, machine: aws_inventory.Found) -> dict[str, str]:
    return {
        "ansible_connection": "amazon.aws.aws_ssm",
        "ansible_host": machine["InstanceId"],
        "ansible_aws_ssm_bucket_name": project.bucket,  # files reach the machine through it
        "ansible_aws_ssm_region": project.region,
    }


def main() -> int:
    """Print the inventory: all of it, whatever Ansible asks for, because it then asks nothing more."""
    named = os.environ.get("F1TENTH_CONFIG")
    try:
        context = open_context(Path(named) if named else None, (), say)
        machines = [
            one
            for one in aws_inventory.machines(context.cloud, context.project)
            if one["State"]["Name"] == "running"
        ]
    except TrainingError as error:
        say(f"{error}")
        return 1
    ssm = os.environ.get("F1TENTH_CONNECTION") == "ssm"
    print(json.dumps(inventory(context.project, machines, through_session_manager=ssm), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
