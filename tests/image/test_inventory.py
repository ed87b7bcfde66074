"""The inventory of running machines, run as Ansible runs it: as a program, by any Python."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.fake_aws import ROOT, Account
from training.cloud.aws import inventory
from training.cloud.launch import setup

PROGRAM = ROOT / "ansible" / "inventory" / "machines.py"


pytestmark = pytest.mark.usefixtures("credentials")


@pytest.fixture
def account(moto_server: str, tmp_path: Path) -> Account:
    """A project with one running machine of a run."""
    account = Account(moto_server, f"p{secrets.token_hex(4)}", tmp_path)
    account.write_config()
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    tags = account.scope.run_tags("lap-record", "kim", account.cloud.clock.now())
    account.cloud.call(
        "ec2", "run_instances", ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )  # fmt: skip
    return account


def run(account: Account, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**account.environment, "PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(
        [str(PROGRAM), "--list"], cwd=account.folder, env=env, capture_output=True, text=True, check=False
    )


def listed(account: Account, **environment: str) -> Any:
    done = run(account, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_settings_say_which_machines_there_are(account: Account) -> None:
    (machine,) = inventory.machines(account.cloud, account.scope)
    found = listed(account, AWS_REGION="eu-central-1")
    assert found["run_lap_record"] == {"hosts": [machine["InstanceId"]]}
    host = found["_meta"]["hostvars"][machine["InstanceId"]]
    assert host["ansible_host"] == machine["PublicIpAddress"]
    elsewhere = account.write_config(region="us-west-2").rename(account.folder / "other.yaml")
    assert listed(account, F1TENTH_CONFIG=str(elsewhere)) == {"_meta": {"hostvars": {}}}


def test_session_manager_needs_no_bucket_named_by_hand(account: Account) -> None:
    found = listed(account, F1TENTH_CONNECTION="ssm")
    (host,) = found["_meta"]["hostvars"].values()
    assert host["ansible_aws_ssm_bucket_name"] == account.scope.bucket


def test_a_settings_file_that_cannot_be_read_is_named(account: Account) -> None:
    done = run(account, F1TENTH_CONFIG="none.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "none.yaml cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
