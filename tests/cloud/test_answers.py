"""Answers that moto does not give: quotas, prices, fleet history, faults; and what people are told of them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import ANY

from tests.cloud.golden import LAUNCH, SCOPE
from tests.support.scripted_cloud import NOW, Stage, living_fleet, stage
from training import layout
from training.cloud.aws import aws_errors, fallback_prices, iam_policies, inventory, launch_requests, prices
from training.cloud.aws.client import permission
from training.cloud.aws.prices import Pool, Price, Prices
from training.cloud.launch import basis, follow, provision
from training.cloud.watch import fleet_history
from training.errors import UsageError
from training.store.directory import DirectoryStorage
from training.store.documents import set_status

__all__ = ["stage"]  # a fixture

# --- a token that is spent ---


def test_a_name_used_before_gets_a_fleet_with_another_token(stage: Stage) -> None:
    ec2 = stage.script("ec2")
    request = launch_requests.fleet_request(SCOPE, LAUNCH, "lt-1", 1)
    other = {**request, "ClientToken": launch_requests.client_token(SCOPE, LAUNCH, f"{LAUNCH.valid_until}")}
    ec2.add_client_error("create_fleet", "IdempotentParameterMismatch", expected_params=request)
    ec2.add_response("describe_fleets", {"Fleets": []}, None)
    ec2.add_response("create_fleet", {"FleetId": "fleet-2"}, other)
    assert provision.create_fleet(stage.cloud, SCOPE, LAUNCH, "lt-1", 1) == "fleet-2"
    assert stage.watch.s >= provision.FLEET_SHOWS_S


def test_an_earlier_start_whose_fleet_shows_late_gets_no_second_one(stage: Stage) -> None:
    ec2 = stage.script("ec2")
    ec2.add_client_error("create_fleet", "IdempotentParameterMismatch")
    ec2.add_response("describe_fleets", {"Fleets": [living_fleet()]}, None)
    with pytest.raises(aws_errors.CloudError, match="has made fleet-1") as caught:
        provision.create_fleet(stage.cloud, SCOPE, LAUNCH, "lt-1", 1)
    assert "./launch.py stop lap-record --now" in caught.value.next_step


# --- prices ---
def offer(usd: str) -> str:
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": usd}}
    return json.dumps({"terms": {"OnDemand": {"x": {"priceDimensions": {"y": dimension}}}}})


def test_prices_are_live_and_on_demand_ones_are_kept_for_a_day(stage: Stage) -> None:
    ec2, pricing = stage.script("ec2"), stage.script("pricing")
    row = {
        "InstanceType": "g5.xlarge",
        "AvailabilityZone": "us-east-2a",
        "SpotPrice": "0.41",
        "Timestamp": NOW,
    }
    older = {**row, "SpotPrice": "0.99", "Timestamp": NOW - timedelta(hours=2)}
    for _ in range(2):
        ec2.add_response("describe_spot_price_history", {"SpotPriceHistory": [older, row]}, None)
    pricing.add_response(
        "get_products", {"PriceList": [offer("1.006")]}, {"ServiceCode": "AmazonEC2", "Filters": ANY}
    )
    first = prices.read_prices(stage.cloud, ["g5.xlarge"])
    second = prices.read_prices(stage.cloud, ["g5.xlarge"])
    assert first.spot[Pool("g5.xlarge", "us-east-2a")].usd_per_hour == 0.41
    assert (first.on_demand["g5.xlarge"].usd_per_hour, second.on_demand["g5.xlarge"].source) == (
        1.006,
        "Pricing API",
    )
    (compared,) = prices.compare(first)
    assert compared["saved"] == pytest.approx(1 - 0.41 / 1.006)


def test_a_price_that_nobody_gives_comes_from_the_table_and_says_so(stage: Stage) -> None:
    stage.script("ec2").add_response("describe_spot_price_history", {"SpotPriceHistory": []}, None)
    stage.script("pricing").add_client_error("get_products", "AccessDeniedException", http_status_code=400)
    found = prices.read_prices(stage.cloud, ["g6.xlarge"])
    assert found.on_demand["g6.xlarge"].usd_per_hour == fallback_prices.TABLE["g6.xlarge"].on_demand
    assert f"table of {fallback_prices.AS_OF}" in str(found.on_demand["g6.xlarge"])
    assert found.expected([Pool("g6.xlarge", "us-east-2a")], "spot") == found.on_demand["g6.xlarge"]


def test_a_type_without_any_price_is_refused_because_no_budget_could_be_kept(stage: Stage) -> None:
    stage.script("ec2").add_response("describe_spot_price_history", {"SpotPriceHistory": []}, None)
    stage.script("pricing").add_response("get_products", {"PriceList": []}, None)
    with pytest.raises(aws_errors.CloudError, match="no budget can be kept"):
        prices.read_prices(stage.cloud, ["p5.48xlarge"])


def test_the_cap_is_the_dearest_on_demand_price() -> None:
    known = Prices({}, {"a": Price(0.5, "x"), "b": Price(1.0, "x")})
    assert known.cap(["a", "b"]) == 1.0


@pytest.mark.parametrize(
    ("max_hours", "max_cost", "cap", "hours"),
    [(6, 5, 1.0, 5.0), (3, 5, 1.0, 3.0), (0.5, 0.6, 1.0, 0.5), (6, 1, 1.0, 1)],
)
def test_the_end_is_what_time_and_money_allow(max_hours, max_cost, cap, hours) -> None:
    allowed = basis.allowed_hours(max_hours, max_cost, cap)
    assert allowed == hours
    assert allowed * cap <= max_cost


def test_a_budget_below_an_hour_is_refused() -> None:
    with pytest.raises(UsageError, match="does not buy an hour"):
        basis.allowed_hours(6, 0.99, 1.0)


# --- waiting ---
def test_a_stalled_fleet_is_explained_in_aws_own_words_after_30_s(stage: Stage, tmp_path: Path) -> None:
    ec2 = stage.script("ec2")
    fleet = {
        "FleetId": "fleet-1", "FleetState": "active", "CreateTime": NOW,
        "Tags": SCOPE.run_tags("race", "kim", NOW),
    }  # fmt: skip
    words = {
        "EventSubType": "allLaunchSpecsTemporarilyBlacklisted",
        "EventDescription": "no Spot capacity in us-east-2a",
    }
    record = {"EventType": "service-error", "Timestamp": NOW, "EventInformation": words}
    store = DirectoryStorage(tmp_path)
    set_status(store, "race", "pending")

    def answer(times: int) -> None:
        for _ in range(times):
            ec2.add_response("describe_instances", {"Reservations": []}, None)
            ec2.add_response("describe_fleets", {"Fleets": [fleet]}, None)  # whether the fleet lives

    answer(7)
    ec2.add_response("describe_fleets", {"Fleets": [fleet]}, None)  # what its history says
    ec2.add_response(
        "describe_fleet_history", {"HistoryRecords": [record]}, {"FleetId": "fleet-1", "StartTime": NOW}
    )
    ec2.add_response("describe_instances", {"Reservations": []}, None)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "AWS says" in line:
            set_status(store, "race", "stopped")

    assert follow.follow(stage.cloud, SCOPE, store, "race", say) == "stopped"
    assert any("no Spot capacity in us-east-2a" in line and "keeps trying" in line for line in said), said
    assert stage.watch.s <= 40


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([], ""),
        ([("instance-change", "launched", 1)], ""),
        ([("fleet-change", "submitted", 1), ("fleet-change", "active", 2)], "active"),
        ([("service-error", "spotInstanceCountLimitExceeded", 1), ("fleet-change", "progress", 2)],
         "spotInstanceCountLimitExceeded"),
        ([("service-error", "iamFleetRoleInvalid", 2), ("service-error", "older", 1)], "iamFleetRoleInvalid"),
    ],
)  # fmt: skip
def test_an_error_of_the_fleet_counts_before_its_changes(
    stage: Stage, events: list[tuple[str, str, int]], says: str
) -> None:
    records = [
        {
            "EventType": kind,
            "Timestamp": NOW + timedelta(seconds=s),
            "EventInformation": {"EventSubType": sub},
        }
        for kind, sub, s in events
    ]
    stage.script("ec2").add_response("describe_fleet_history", {"HistoryRecords": records}, None)
    assert fleet_history.last_reason(stage.cloud, living_fleet()) == says


def test_a_throttled_call_is_repeated_and_the_wait_is_told(stage: Stage) -> None:
    sts = stage.script("sts")
    for _ in range(8):
        sts.add_client_error("get_caller_identity", "Throttling", "Rate exceeded", http_status_code=400)
    sts.add_response("get_caller_identity", {"Account": "1"}, {})
    assert stage.cloud.call("sts", "get_caller_identity")["Account"] == "1"
    assert ["Rate exceeded" in line for line in stage.said] == [True]


def test_after_a_minute_of_throttling_it_gives_up(stage: Stage) -> None:
    sts = stage.script("sts")
    for _ in range(11):
        sts.add_client_error("get_caller_identity", "Throttling", http_status_code=400)
    with pytest.raises(aws_errors.NoResponse):
        for _ in range(40):
            stage.cloud.call("sts", "get_caller_identity")
    assert 50 < stage.watch.s <= 60


# --- errors ---
@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("UnauthorizedOperation", 403, aws_errors.AccessDenied),
        ("AccessDenied", 403, aws_errors.AccessDenied),
        ("ExpiredToken", 400, aws_errors.NoCredentials),
        ("InvalidClientTokenId", 403, aws_errors.NoCredentials),
        ("RequestLimitExceeded", 503, aws_errors.NoResponse),
        ("InsufficientInstanceCapacity", 500, aws_errors.NoCapacity),
        ("VcpuLimitExceeded", 400, aws_errors.QuotaTooLow),
        ("LimitExceeded", 409, aws_errors.QuotaTooLow),
        ("EntityAlreadyExists", 409, aws_errors.AlreadyExists),
        ("InvalidLaunchTemplateName.NotFoundException", 400, aws_errors.ResourceNotFound),
        ("InternalError", 500, aws_errors.NoResponse),
        ("RequestTimeTooSkewed", 403, aws_errors.WrongClock),
        ("SomethingNew", 400, aws_errors.CloudError),
    ],
)
def test_an_answer_becomes_the_named_error(code: str, status: int, kind: type[aws_errors.CloudError]) -> None:
    reply: dict[str, Any] = {
        "Error": {"Code": code, "Message": "m"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    error = aws_errors.from_reply(reply, "ec2:CreateFleet")
    assert type(error) is kind
    assert code in error.message
    assert error.exit_code == 1


def test_a_bucket_of_another_account_is_the_users_word(stage: Stage) -> None:
    stage.script("s3").add_client_error("head_bucket", "403", "Forbidden", http_status_code=403)
    with pytest.raises(UsageError, match="another account"):
        inventory.bucket_exists(stage.cloud, SCOPE)


def test_every_call_of_the_launcher_is_in_a_persons_policy() -> None:
    """Which operation needs which permission is read from the source, so a new call cannot be forgotten."""
    import re

    from tests.cloud.fake_aws import ROOT

    sources = [path.read_text() for path in (ROOT / "training" / "cloud").rglob("*.py")]
    pattern = r'(?:call|pages|send|_unless_absent)\(\s*(?:cloud,\s*)?"([a-z0-9-]+)",\s*"([a-z_0-9]+)"'
    used = {permission(*found) for source in sources for found in re.findall(pattern, source)}
    used |= {permission("iam", name) for name in ("create_role", "create_instance_profile")}
    granted = {
        action
        for policy in (iam_policies.daily_policy(SCOPE), iam_policies.setup_policy(SCOPE))
        for statement in policy["Statement"]
        for action in statement["Action"]
    }
    assert len(used) > 40
    assert used - granted - {"sts:GetCallerIdentity"} == set()


def test_names_fit_what_iam_allows() -> None:
    longest = layout.run_role_name("a" * 20, "us-east-2", "b" * 48)
    assert len(longest) == 64
    assert longest != layout.run_role_name("a" * 20, "us-east-2", "b" * 47 + "c")
