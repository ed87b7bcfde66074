"""One place says region and project: what the launcher does where a region, an account or a policy is another one."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import boto3
import pytest

from tests.cloud.amazon import ROOT, Account
from training import layout
from training.cloud import doctor, look, setup
from training.cloud.api import Cloud
from training.cloud.intent import Intent, check_place, read_intent
from training.errors import UsageError
from training.store.manifest import encode
from training.store.opening import open_store


# --- IAM is global: the document counts, not that there is one ---
def replace_policy(account: Account) -> None:
    """Make the machines' policy what an earlier version of the code sent."""
    older = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::another-bucket/*"}
        ],
    }
    arn, iam = account.scope.policy_arn, account.cloud.client("iam")
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(older), SetAsDefault=True)


def test_a_policy_of_another_version_is_reported_and_mended_by_up(account: Account) -> None:
    cloud, scope = account.cloud, account.scope
    setup.apply(setup.plan(cloud, scope), lambda _: None)
    account.bake()
    assert setup.is_up(cloud, scope) == []
    replace_policy(account)
    said = f"not as this code needs it: policy {scope.project}.us-east-1.instance"
    (found,) = [one for one in doctor.examine(cloud, ROOT) if one.what == "set-up"]
    assert (found.detail, found.next_step) == (said, "./launch.py up")
    refused = account.launch_here("train", "--name", "race", "--yes", "--detach")
    assert refused.returncode == 1
    assert said in refused.stderr
    assert "./launch.py up" in refused.stderr
    assert look.fleets(cloud, scope) == []
    started = account.launch_here("train", "--up", "--name", "race", "--yes", "--detach")
    assert started.returncode == 0, started.stderr
    assert f"update  policy {scope.project}.us-east-1.instance" in started.stderr
    assert setup.is_up(cloud, scope) == []


# --- the record of a launch says where ---
OTHER = "us-west-2"
ELSEWHERE = ("--set", f"aws.region={OTHER}", "--set", "aws.availability_zones=[]")


def launched(account: Account) -> str:
    """Launch a run named race, in a bucket whose name does not hold the region, and return its fleet's id."""
    account.write_config(s3_bucket_name=f"{account.project}-data")
    assert account.launch_here("up", "--yes").returncode == 0
    account.bake()
    started = account.launch_here("train", "--name", "race", "--yes", "--detach")
    assert started.returncode == 0, started.stderr
    (fleet,) = look.fleets(account.cloud, account.scope)
    return str(fleet["FleetId"])


@pytest.mark.slow
def test_every_command_on_a_run_elsewhere_names_the_region_and_touches_nothing(account: Account) -> None:
    """The object store of the tests has no region, so the record alone says where the run is."""
    fleet = launched(account)
    commands: list[tuple[str, ...]] = [
        ("status", "race"),
        ("stop", "race", "--now"),
        ("stop", "race"),
        ("logs", "race"),
        ("ssh", "race", "--print"),
        ("tensorboard", "race", "--print"),
        ("fetch", "race"),
        ("prune", "race"),
        ("cost", "race"),
        ("train", "--up", "--resume", "race", "--yes"),
        ("train", "--up", "--name", "race", "--yes"),
        ("down", "--data", "--yes"),
    ]
    account.bake(cloud=elsewhere(account))
    for words in commands:
        done = account.launch_here(*words, *ELSEWHERE)
        told = f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == 2, told
        assert f"run race was launched in us-east-1, aws.region = {OTHER}" in done.stderr, told
        assert "--set aws.region=us-east-1" in done.stderr, told
    assert account.launch_here("gc", *ELSEWHERE).stdout == "0 found\n"
    (row,) = account.launch_json("list", *ELSEWHERE)
    assert (row["region"], row["account"], row["state"]) == ("us-east-1", account.scope.account, "pending")
    assert "pending in us-east-1" in account.launch_here("list", *ELSEWHERE).stdout
    (still,) = look.fleets(account.cloud, account.scope)
    assert still["FleetId"] == fleet
    name = layout.run_role_name(account.project, "us-east-1", "race")
    assert account.cloud.call("iam", "get_role", RoleName=name)["Role"]["Path"].endswith("/us-east-1/")


def elsewhere(account: Account) -> Cloud:
    return Cloud(account.aws.model_copy(update={"region": OTHER}), lambda _: None)


def test_a_run_of_another_account_names_the_account(account: Account) -> None:
    intent = an_intent(region="us-east-1", account="999999999999")
    with pytest.raises(UsageError, match=r"launched in account 999999999999") as caught:
        check_place(intent, account.scope)
    assert "AWS_PROFILE" in caught.value.next_step


def test_a_record_of_before_that_says_no_place_is_read_and_believed(account: Account, tmp_path: Path) -> None:
    storage = open_store(str(tmp_path / "store"))
    written = json.loads(encode(an_intent()))
    del written["region"], written["account"]
    storage.put(layout.fleet_key("race"), json.dumps(written).encode())
    intent = read_intent(storage, "race")
    assert intent is not None
    assert (intent.region, intent.account) == ("", "")
    check_place(intent, account.scope)


def an_intent(**fields: object) -> Intent:
    now = datetime(2026, 12, 1, 12, 0, tzinfo=timezone.utc)
    given = {
        "run": "race", "launch": 1, "by": "kim@laptop", "created_at": now, "market": "spot", "cap_usd": 4.0,
        "valid_until": now, "price_cap_usd_per_hour": 1.0, "bundle_sha256": "ab" * 32, "image_id": "ami-1",
    }  # fmt: skip
    return Intent.model_validate({**given, **fields})


# --- a bucket in another region ---
@pytest.mark.slow
def test_a_bucket_in_another_region_is_refused_with_its_own(account: Account) -> None:
    """botocore follows S3's redirect, so only the reply says it. Without a setting of ours the endpoint is S3's own."""
    bucket = f"{account.project}-data"
    s3 = boto3.client("s3", endpoint_url=account.endpoint, region_name="us-east-1")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    endpoints = {**account.settings["aws"]["endpoints"], "s3": None}
    account.write_config(s3_bucket_name=bucket, endpoints=endpoints)
    env = {"AWS_ENDPOINT_URL_S3": account.endpoint}
    commands = ["up --yes", "train --up --yes", "status", "status race", "stop race", "gc", "down --yes"]
    for words in commands:
        done = account.launch_here(*words.split(), env=env)
        told = f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == 2, told
        assert f"bucket {bucket} is in eu-west-1, aws.region = us-east-1" in done.stderr, told
        assert "--set aws.region=eu-west-1" in done.stderr, told
    assert s3.get_bucket_versioning(Bucket=bucket).get("Status") is None, "nothing of it was changed"
