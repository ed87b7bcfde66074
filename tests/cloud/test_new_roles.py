"""A new role or instance profile: AWS may not know it for two minutes. We ask again, for a bounded time, and say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ReadTimeoutError,
)

from tests.cloud.fake_aws import ROOT, Account
from tests.cloud.golden import LAUNCH, SCOPE
from tests.support.image_programs import program
from tests.support.launches import train, up
from tests.support.scripted_cloud import NOW, Stage, living_fleet, stage
from training.cloud.aws import aws_errors
from training.cloud.launch import profile_wait, provision
from training.cloud.launch.settings_checks import check_namespace
from training.cloud.watch import run_status
from training.config import Config, load_config
from training.errors import UsageError

__all__ = ["stage"]
UNKNOWN = (
    "InvalidParameterValue",
    "Value (f1tenth.race) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
)
YES = ("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")


def test_a_fleet_waits_until_ec2_knows_the_profile(stage: Stage) -> None:
    ec2 = stage.script("ec2")
    for _ in range(40):
        ec2.add_client_error("create_fleet", *UNKNOWN, http_status_code=400)
    ec2.add_response("create_fleet", {"FleetId": "fleet-1"}, None)
    assert provision.create_fleet(stage.cloud, SCOPE, LAUNCH, "lt-1", 1) == "fleet-1"
    assert 100 < stage.watch.s < profile_wait.KNOWN_WITHIN_S
    assert [line for line in stage.said if "waiting for EC2 to know the run's new instance profile" in line]
    assert len(stage.said) <= 5, "every half minute"


def test_a_profile_that_stays_unknown_ends_the_launch_after_three_minutes(stage: Stage) -> None:
    ec2 = stage.script("ec2")
    for _ in range(61):
        ec2.add_client_error("create_fleet", *UNKNOWN, http_status_code=400)
    with pytest.raises(aws_errors.CloudError, match="Invalid IAM Instance Profile name") as caught:
        provision.create_fleet(stage.cloud, SCOPE, LAUNCH, "lt-1", 1)
    assert "try again" in caught.value.next_step
    assert stage.watch.s >= profile_wait.KNOWN_WITHIN_S


def test_another_wrong_value_is_refused_at_once(stage: Stage) -> None:
    ec2 = stage.script("ec2")
    ec2.add_client_error("create_fleet", "InvalidParameterValue", "Invalid value for ValidUntil")
    with pytest.raises(aws_errors.CloudError, match="ValidUntil"):
        provision.create_fleet(stage.cloud, SCOPE, LAUNCH, "lt-1", 1)
    assert stage.watch.s == 0


@pytest.mark.parametrize(
    "last", [YES, ("UnauthorizedOperation", "no"), ("InsufficientInstanceCapacity", "none")]
)
def test_a_launch_asks_for_a_machine_without_getting_one_until_the_profile_is_known(
    stage: Stage, last: tuple[str, str]
) -> None:
    """Only the profile is waited for. Any other answer leaves the refusal to CreateFleet."""
    ec2 = stage.script("ec2")
    wanted = {
        "DryRun": True,
        "MinCount": 1,
        "MaxCount": 1,
        "LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": "1"},
        "InstanceType": LAUNCH.pools[0][0],
        "SubnetId": LAUNCH.pools[0][1],
    }
    for code, message in (UNKNOWN, UNKNOWN, last):
        ec2.add_client_error("run_instances", code, message, http_status_code=400, expected_params=wanted)
    profile_wait.wait_for_profile(stage.cloud, LAUNCH, "lt-1", 1)
    assert stage.watch.s == 2 * profile_wait.POLL_S


def test_every_launch_asks_before_its_fleet_and_gets_no_machine_by_it(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(account)
    account.bake()
    asked: list[tuple[str, Any]] = []
    send = type(account.cloud).send

    def noted(cloud: Any, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        asked.append((operation, request.get("DryRun")))
        return send(cloud, service, operation, request)

    monkeypatch.setattr("training.cloud.aws.client.Cloud.send", noted)
    train(account)
    assert asked.index(("run_instances", True)) < asked.index(("create_fleet", None))


def test_the_history_of_a_fleet_that_does_not_know_it_is_explained(stage: Stage) -> None:
    ec2 = stage.script("ec2")
    event = {"EventSubType": "launchSpecUnusable", "EventDescription": UNKNOWN[1]}
    record = {"EventType": "service-error", "Timestamp": NOW, "EventInformation": event}
    ec2.add_response("describe_fleets", {"Fleets": [living_fleet()]}, None)
    ec2.add_response("describe_fleet_history", {"HistoryRecords": [record]}, None)
    reason = run_status.why_waiting(stage.cloud, SCOPE, LAUNCH.run)
    assert "does not know the run's new instance profile yet" in reason
    assert "the fleet asks again by itself" in reason


# --- on the machine ---
class Ssm:
    """A client that refuses a number of times."""

    def __init__(self, refusals: int, answer: str | BotoCoreError = "AccessDeniedException") -> None:
        self.left, self.answer = refusals, answer

    def get_parameter(self, **_: Any) -> dict[str, Any]:
        if self.left:
            self.left -= 1
            if isinstance(self.answer, BotoCoreError):
                raise self.answer
            raise ClientError({"Error": {"Code": self.answer, "Message": "no"}}, "GetParameter")
        return {"Parameter": {"Value": "not-a-real-key"}}


@pytest.mark.parametrize(
    ("ssm", "value"),
    [
        (Ssm(0), "not-a-real-key"),
        (Ssm(5), "not-a-real-key"),
        (Ssm(50), None),
        (Ssm(1, "ParameterNotFound"), None),
        (
            Ssm(5, EndpointConnectionError(endpoint_url="https://ssm.us-east-1.amazonaws.com")),
            "not-a-real-key",
        ),
        (Ssm(3, ReadTimeoutError(endpoint_url="https://ssm.us-east-1.amazonaws.com")), "not-a-real-key"),
        (Ssm(50, NoCredentialsError()), None),
        (Ssm(1, NoRegionError()), None),
    ],
    ids=[
        "at once",
        "after some seconds",
        "never",
        "no such parameter",
        "no network yet",
        "a busy network",
        "never credentials",
        "no region",
    ],
)
def test_a_parameter_is_asked_for_again_while_the_role_is_new(
    monkeypatch: pytest.MonkeyPatch, ssm: Ssm, value: str | None
) -> None:
    path: Path = ROOT / "ansible/roles/monitoring/files/usr/local/bin/f1tenth-parameter"
    module = program(path)
    clock = [0.0]
    monkeypatch.setattr(module.boto3, "client", lambda *_, **__: ssm)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module.time, "sleep", lambda s: clock.__setitem__(0, clock[0] + s))
    if value is None:
        with pytest.raises((ClientError, BotoCoreError)):
            module.value_of("/f1tenth/wandb-api-key")
        assert clock[0] <= module.PATIENCE_S + module.RETRY_DELAY_S
    else:
        assert module.value_of("/f1tenth/wandb-api-key") == value


# --- metrics ---
def test_a_namespace_in_which_no_machine_may_write_is_refused_before_the_launch() -> None:
    def check(config: Config) -> None:
        check_namespace(config.cloudwatch, config.aws)

    for fits in ("null", "f1tenth"):
        check(load_config(None, ["cloudwatch.enabled=true", f"cloudwatch.namespace={fits}"]))
    check(load_config(None, ["cloudwatch.namespace=racing"]))
    with pytest.raises(UsageError, match=r"cloudwatch.namespace = 'racing'"):
        check(load_config(None, ["cloudwatch.enabled=true", "cloudwatch.namespace=racing"]))
