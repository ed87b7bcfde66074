"""The key of Weights & Biases, from an SSM parameter to the trainer; run by verify.yml."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import boto3
import pytest
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

NAME, KEY = "/f1tenth/wandb-api-key", "not-a-real-key"
TRAINING = "f1tenth-training.service"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Serve an SSM parameter to the container, on the address of its bridge."""
    server = ThreadedMotoServer(ip_address="0.0.0.0", port=0, verbose=False)  # noqa: S104
    server.start()
    _, port = server.get_host_and_port()
    credentials = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    ssm = boto3.client("ssm", endpoint_url=f"http://127.0.0.1:{port}", **credentials)
    ssm.put_parameter(Name=NAME, Value=KEY, Type="SecureString")
    yield f"http://{bridge_address()}:{port}"
    server.stop()


def bridge_address() -> str:
    """Return the host's address as the container sees it."""
    command = ["podman", "inspect", "--format", "{{.NetworkSettings.Gateway}}", "f1tenth-monitoring"]
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout.strip()


def test_the_key_reaches_the_trainer(host: Host, endpoint: str) -> None:
    """The parameter that run.env names is decrypted and becomes the trainer's credential."""
    train(host, endpoint, NAME)
    assert host.file("/run/shown/key").content_string == KEY


def test_the_key_is_kept_in_memory_for_root_alone(host: Host, endpoint: str) -> None:
    """Neither on the disk nor in the journal, and unreadable to the trainer's account itself."""
    train(host, endpoint, NAME)
    secret = host.file("/run/f1tenth-secrets/wandb_api_key")
    assert (secret.user, secret.mode) == ("root", 0o600)
    assert host.file("/run/f1tenth-secrets").mode == 0o700
    assert host.check_output("stat --file-system --format=%T /run/f1tenth-secrets") == "tmpfs"
    assert KEY not in host.check_output("journalctl --no-pager")


@pytest.mark.parametrize("name", ["", "/f1tenth/no-such-parameter"])
def test_training_goes_on_without_a_key(host: Host, endpoint: str, name: str) -> None:
    """A run that names no parameter, or one that is not there, trains with an empty credential."""
    train(host, endpoint, name)
    assert host.file("/run/shown/key").content_string.strip() == ""


def train(host: Host, endpoint: str, name: str) -> None:
    """Write run.env as user data would and run the training unit."""
    env = {
        "F1TENTH_WANDB_PARAMETER": name,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    lines = "\n".join(f"{key}={value}" for key, value in env.items())
    host.check_output(
        "rm -rf /run/shown/key /run/f1tenth-secrets/*; printf '%%s\n' %s > /run/f1tenth/run.env", lines
    )
    host.check_output(f"systemctl start {TRAINING}")
