"""Our stand-ins say only what AWS says: an answer with an invented word, member or error code fails the test."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest

from tests.cloud import aws_words, proxy
from tests.cloud.fake_aws import ROOT, Account
from tests.cloud.proxy import Front
from tests.cloud.service_model import (
    TruthfulStubber,
    problems_of_answer,
    problems_of_request,
    problems_of_wire,
)

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=timezone.utc)


def history(kind: str) -> dict[str, object]:
    return {
        "HistoryRecords": [
            {"EventType": kind, "Timestamp": NOW, "EventInformation": {"EventSubType": "active"}}
        ]
    }


def test_an_invented_event_type_is_no_answer_of_aws() -> None:
    assert problems_of_answer("ec2", "describe_fleet_history", history("service-error")) == []
    (problem,) = problems_of_answer("ec2", "describe_fleet_history", history("error"))
    assert "'error' is none of instance-change, fleet-change, service-error" in problem


def test_a_stubber_refuses_words_that_aws_does_not_have(credentials: None) -> None:
    stubber = TruthfulStubber(boto3.client("ec2", region_name="us-east-1"))
    with pytest.raises(AssertionError, match="is none of"):
        stubber.add_response("describe_fleet_history", history("information"))
    with pytest.raises(AssertionError, match="NoSuchWord"):
        stubber.add_client_error("create_fleet", "NoSuchWord")


def test_an_answer_on_the_wire_with_something_that_botocore_drops_is_found() -> None:
    body = proxy.fleet_history("service-error", "active", "x", at="2026-12-01T12:00:00Z").body
    assert problems_of_wire("ec2", "describe_fleet_history", body) == []
    more = body.replace("<eventType>", "<eventKind>spot</eventKind><eventType>")
    (problem,) = problems_of_wire("ec2", "describe_fleet_history", more)
    assert "5 values are said, botocore finds 4" in problem


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (proxy.fleet_history("error", "x", "x", at="2026-12-01T12:00:00Z"), "'error' is none of"),
        (proxy.refusal("NoSuchWord", "x"), "NoSuchWord is no error code of ec2"),
    ],
)
def test_the_proxy_fails_the_test_in_which_it_says_what_aws_never_would(
    account: Account, answer: proxy.Answer, says: str
) -> None:
    behind = Front(account.endpoint)
    behind.__enter__()
    behind.answers["DescribeFleetHistory"] = answer
    client = boto3.client("ec2", endpoint_url=behind.url, region_name="us-east-1")
    with contextlib.suppress(client.exceptions.ClientError):
        client.describe_fleet_history(FleetId="fleet-1", StartTime=NOW)
    with pytest.raises(AssertionError, match=says):
        behind.__exit__(None)


def test_a_request_outside_of_the_model_is_found() -> None:
    request = {"ImageIds": ["ami-1"], "Owner": "self"}
    (problem,) = problems_of_request("ec2", "describe_images", request)
    assert "Owner: no such member" in problem


# --- no stand-in without this ---
def test_no_test_has_a_stand_in_whose_answers_are_not_checked() -> None:
    """botocore's own stubber checks types alone; a class that answers for our Cloud must ask the model itself."""
    plain = re.compile(r"from botocore[.]stub import .*Stubber|botocore[.]stub[.]Stubber")
    own = re.compile(r"class \w+\(Cloud\)")
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    assert [path.name for path, text in sources.items() if plain.search(text)] == ["service_model.py"]
    answering = [path.name for path, text in sources.items() if own.search(text)]
    unchecked = [
        path.name for path, text in sources.items() if own.search(text) and "problems_of_answer" not in text
    ]
    assert answering, "there are some"
    assert unchecked == []


def test_what_moto_was_given_answers_as_the_model_says(account: Account) -> None:
    """tests/support/emulator.py: the default network, an image, the key of disks, a fleet's history."""
    image = account.bake()
    ec2 = account.cloud.client("ec2")
    template = ec2.create_launch_template(
        LaunchTemplateName=f"{account.project}.x",
        LaunchTemplateData={"ImageId": image, "InstanceType": "g5.xlarge"},
    )["LaunchTemplate"]["LaunchTemplateId"]
    fleet = ec2.create_fleet(
        LaunchTemplateConfigs=[
            {"LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "1"}}
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "spot"},
    )["FleetId"]
    asked: dict[str, dict[str, Any]] = {
        "describe_images": {"ImageIds": [image]},
        "describe_route_tables": {},
        "get_ebs_default_kms_key_id": {},
        "describe_fleet_history": {"FleetId": fleet, "StartTime": NOW - timedelta(days=400)},
    }
    wrong = {
        operation: problems_of_answer("ec2", operation, getattr(ec2, operation)(**request))
        for operation, request in asked.items()
    }
    assert [problem for found in wrong.values() for problem in found] == []
    (described,) = ec2.describe_images(ImageIds=[image])["Images"]
    assert (described["Architecture"], described["BootMode"]) == ("x86_64", "uefi-preferred")


def test_the_codes_of_a_bucket_without_settings_are_those_of_s3() -> None:
    from tests.rehearsal.gateway import CONFIGURATION

    assert {code for code in CONFIGURATION.values() if code} <= set(aws_words.ERROR_CODES)
