"""`ssh` and `tensorboard`: reach a run's machine, through Session Manager unless a port is open to us."""

from __future__ import annotations

import json
import shutil
from typing import Any

from ..aws import inventory
from ..aws.aws_errors import CloudError
from ..aws.client import Cloud
from ..aws.project import Project
from ..aws.project_resources import TENSORBOARD_PORT

PLUGIN_PAGE = "https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html"


def machine_of(cloud: Cloud, project: Project, run: str) -> dict[str, Any]:
    """Return the run's running machine. CloudError if it has none at the moment."""
    for one in inventory.machines(cloud, project, run):
        if one["State"]["Name"] == "running":
            return one
    raise CloudError(
        f"run {run} has no running machine at the moment", next_step=f"Why: ./launch.py status {run}"
    )


def shell_command(cloud: Cloud, machine: dict[str, Any]) -> list[str]:
    """Return the command that opens a shell on a machine."""
    if _takes_ssh(cloud, machine):
        return ["ssh", f"ubuntu@{machine['PublicIpAddress']}"]
    return _session(cloud, machine)


def tensorboard_command(cloud: Cloud, machine: dict[str, Any], local_port: int) -> list[str]:
    """Return the command that forwards TensorBoard's port of a machine to this computer."""
    if _takes_ssh(cloud, machine):
        forward = f"{local_port}:127.0.0.1:{TENSORBOARD_PORT}"
        return ["ssh", "-N", "-L", forward, f"ubuntu@{machine['PublicIpAddress']}"]
    ports = json.dumps({"portNumber": [str(TENSORBOARD_PORT)], "localPortNumber": [str(local_port)]})
    return [
        *_session(cloud, machine),
        "--document-name",
        "AWS-StartPortForwardingSession",
        "--parameters",
        ports,
    ]


def _takes_ssh(cloud: Cloud, machine: dict[str, Any]) -> bool:
    """Tell whether SSH gets in: its port is open, and a key was put on the machine."""
    aws = cloud.aws
    return (
        aws.open_ports_to != "none" and aws.key_pair_name is not None and bool(machine.get("PublicIpAddress"))
    )


def check_tools(command: list[str]) -> None:
    """Raise CloudError where the programs that the command needs are not installed."""
    needed = {"aws": "https://aws.amazon.com/cli/", "session-manager-plugin": PLUGIN_PAGE}
    if command[0] == "ssh":
        needed = {"ssh": "https://www.openssh.com"}
    for program, page in needed.items():
        if shutil.which(program) is None:
            raise CloudError(
                f"{program} is not installed here",
                next_step=f"Install it: {page}. Or set aws.key_pair_name and aws.open_ports_to=my-ip, then: "
                "./launch.py up",
            )


def _session(cloud: Cloud, machine: dict[str, Any]) -> list[str]:
    return [
        "aws",
        "ssm",
        "start-session",
        "--region",
        cloud.aws.region,
        "--target",
        machine["InstanceId"],
    ]
