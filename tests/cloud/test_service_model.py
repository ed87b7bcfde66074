"""Our stand-ins say only what AWS says: an answer with an invented word, member or error code fails the test."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone

import boto3
import pytest

from tests.cloud import front
from tests.cloud.amazon import Account
from tests.cloud.front import Front
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
    body = front.fleet_history("service-error", "active", "x", at="2026-12-01T12:00:00Z").body
    assert problems_of_wire("ec2", "describe_fleet_history", body) == []
    more = body.replace("<eventType>", "<eventKind>spot</eventKind><eventType>")
    (problem,) = problems_of_wire("ec2", "describe_fleet_history", more)
    assert "5 values are said, botocore finds 4" in problem


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (front.fleet_history("error", "x", "x", at="2026-12-01T12:00:00Z"), "'error' is none of"),
        (front.refusal("NoSuchWord", "x"), "NoSuchWord is no error code of ec2"),
    ],
)
def test_the_proxy_fails_the_test_in_which_it_says_what_aws_never_would(
    account: Account, answer: front.Answer, says: str
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
