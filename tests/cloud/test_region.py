"""One place says region and project: what the launcher does where a region, an account or a policy is another one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.cloud.fake_aws import ROOT, Account, boot
from tests.cloud.proxy import Answer, Front
from training import layout
from training.cloud import context, doctor
from training.cloud.aws import inventory
from training.cloud.aws.aws_errors import AccessDenied
from training.cloud.aws.client import Cloud
from training.cloud.launch import setup
from training.cloud.launch_record import LaunchRecord, check_place, read_launch_record
from training.errors import UsageError
from training.store.manifest import encode
from training.store.open import open_store

pytestmark = pytest.mark.slow  # each test is a command of the launcher


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


@pytest.mark.slow
def test_a_policy_of_another_version_is_reported_and_mended_by_up(account: Account) -> None:
    cloud, scope = account.cloud, account.scope
    setup.apply(setup.plan(cloud, scope), lambda _: None)
    account.bake()
    assert setup.is_up(cloud, scope) == []
    replace_policy(account)
    said = f"not as this code needs it: policy {scope.name}.us-east-1.instance"
    (found,) = [one for one in doctor.examine(cloud, ROOT) if one.what == "set-up"]
    assert (found.detail, found.next_step) == (said, "./launch.py up")
    refused = account.launch_here("train", "--name", "race", "--yes", "--detach")
    assert refused.returncode == 1
    assert said in refused.stderr
    assert "./launch.py up" in refused.stderr
    assert inventory.fleets(cloud, scope) == []
    started = account.launch_here("train", "--up", "--name", "race", "--yes", "--detach")
    assert started.returncode == 0, started.stderr
    assert f"update  policy {scope.name}.us-east-1.instance" in started.stderr
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
    (fleet,) = inventory.fleets(account.cloud, account.scope)
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
    assert account.launch_here("gc", *ELSEWHERE).stdout.startswith("0 found\n")
    (row,) = account.launch_json("list", *ELSEWHERE)
    assert (row["region"], row["account"], row["state"]) == ("us-east-1", account.scope.account, "pending")
    assert "pending in us-east-1" in account.launch_here("list", *ELSEWHERE).stdout
    (still,) = inventory.fleets(account.cloud, account.scope)
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
    intent = read_launch_record(storage, "race")
    assert intent is not None
    assert (intent.region, intent.account) == ("", "")
    check_place(intent, account.scope)


def an_intent(**fields: object) -> LaunchRecord:
    now = datetime(2026, 12, 1, 12, 0, tzinfo=timezone.utc)
    given = {
        "run": "race", "launch": 1, "by": "kim@laptop", "created_at": now, "market": "spot", "cap_usd": 4.0,
        "valid_until": now, "price_cap_usd_per_hour": 1.0, "bundle_sha256": "ab" * 32, "image_id": "ami-1",
    }  # fmt: skip
    return LaunchRecord.model_validate({**given, **fields})


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


# --- where one looked ---
@pytest.mark.slow
def test_what_looks_for_something_says_where(account: Account) -> None:
    """Nothing found there may be somewhere else."""
    place = f"project {account.project} in account {account.scope.account}, us-east-1 (settings: config.yaml)"
    for words, code in (("gc", 0), ("status", 1), ("list", 1), ("down", 0)):
        done = account.launch_here(words)
        assert (done.returncode, done.stderr.splitlines()[0]) == (code, place), done.stderr
    assert account.launch_here("gc").stdout.startswith("0 found\n")
    assert json.loads(account.launch_here("gc", "--json").stdout) == []
    doctor_says = account.launch_here("doctor").stderr
    assert f"project {account.project} in us-east-1 (settings: config.yaml)" in doctor_says
    told = json.loads(account.launch_here("doctor", "--json").stdout)
    assert (told["project"], told["region"]) == (account.project, "us-east-1")


@pytest.mark.parametrize(("variable", "said"), [("us-east-1", False), ("eu-west-1", True)])
def test_doctor_says_that_the_region_of_aws_configure_does_not_count(
    account: Account, variable: str, said: bool
) -> None:
    told = account.launch_here("doctor", env={"AWS_DEFAULT_REGION": variable}).stdout
    (line,) = [line for line in told.splitlines() if line.startswith("ok  region ")]
    assert (f"that of your AWS configuration, {variable}, does not count here" in line) == said


def test_in_a_folder_without_settings_the_projects_own_are_taken_and_named(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The user types the launcher's path in another folder, where a run of the configured region must be seen."""
    project = account.folder
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    boot(account, "race", steps=10)
    monkeypatch.setattr(context, "PROJECT", project)
    elsewhere = account._replace(folder=tmp_path_factory.mktemp("elsewhere"))
    done = elsewhere.launch_here("status")
    assert done.returncode == 0, done.stderr
    assert f"us-east-1 (settings: {project}/config.yaml)" in done.stderr
    assert "race" in done.stdout
    (elsewhere.folder / "config.yaml").write_text("aws: {region: us-west-2}", encoding="utf-8")
    assert context.read_settings(None, ()).aws.region == "us-east-1", "this test's own folder has none"
    monkeypatch.chdir(elsewhere.folder)
    assert context.read_settings(None, ()).aws.region == "us-west-2", "the folder's own comes first"


def test_the_projects_folder_is_the_one_with_the_launcher() -> None:
    assert context.PROJECT == ROOT
    assert (context.PROJECT / "launch.py").exists()


def test_without_any_settings_file_the_defaults_are_named_as_such(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "PROJECT", account.folder)
    (account.folder / "config.yaml").unlink()
    done = account.launch_here("gc", env={"AWS_ENDPOINT_URL": account.endpoint})
    assert "project f1tenth in account 123456789012, us-east-2 (settings: no config.yaml" in done.stderr


# --- every region ---
REGIONS = ("eu-west-1", "us-east-1", "us-west-2")


@pytest.fixture
def three_regions(account: Account) -> Iterator[Account]:
    """An account that has enabled three regions, whatever moto thinks."""
    items = "".join(
        f"<item><regionName>{name}</regionName><regionEndpoint>ec2.{name}.amazonaws.com</regionEndpoint>"
        "<optInStatus>opt-in-not-required</optInStatus></item>"
        for name in reversed(REGIONS)
    )
    body = f"<DescribeRegionsResponse><regionInfo>{items}</regionInfo></DescribeRegionsResponse>"
    with Front(account.endpoint) as behind:
        behind.answers["DescribeRegions"] = Answer(body, kind="text/xml")
        through = account._replace(endpoint=behind.url)
        through.write_config()
        yield through


def leave_machine(account: Account, region: str, run: str) -> str:
    """Leave a machine of a run without a fleet in a region, and return its id."""
    tags = account.scope.run_tags(run, "kim", account.cloud.clock.now())
    ec2 = boto3.client("ec2", endpoint_url=account.endpoint, region_name=region)
    specification = [{"ResourceType": "instance", "Tags": tags}]
    # A network of its own: a test before this one may have removed the region's default one.
    vpc = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.99.0.0/24")["Subnet"]["SubnetId"]
    reply = ec2.run_instances(
        ImageId="ami-0123456789abcdef0",
        MinCount=1,
        MaxCount=1,
        SubnetId=subnet,
        TagSpecifications=specification,
    )
    return str(reply["Instances"][0]["InstanceId"])


@pytest.mark.slow
def test_gc_looks_in_every_enabled_region_and_names_the_command_for_each(three_regions: Account) -> None:
    account = three_regions
    far, near = leave_machine(account, "us-west-2", "lost"), leave_machine(account, "us-east-1", "near")
    leave_machine(account, "ca-central-1", "not-enabled")
    done = account.launch_here("gc", "--all-regions")
    assert done.returncode == 0, done.stderr
    assert f"us-west-2: machine {far} of run lost: running, its run has no fleet (costs money)" in done.stdout
    assert f"us-east-1: machine {near} of run near" in done.stdout
    assert "not-enabled" not in done.stdout
    assert "2 found in 3 regions" in done.stdout
    assert "End those in us-west-2: ./launch.py gc --delete --set aws.region=us-west-2\n" in done.stdout
    found = json.loads(account.launch_here("gc", "--all-regions", "--json").stdout)
    assert {(leak["region"], leak["id"]) for leak in found} == {("us-west-2", far), ("us-east-1", near)}
    only_here = json.loads(account.launch_here("gc", "--json").stdout)
    assert [(leak["region"], leak["id"]) for leak in only_here] == [("us-east-1", near)]
    ended = account.launch_here("gc", "--delete", "--yes", "--set", "aws.region=us-west-2")
    assert f"gone    machine {far}" in ended.stderr
    assert account.launch_here("gc", "--set", "aws.region=us-west-2").stdout.startswith("0 found\n")


def test_all_regions_and_delete_do_not_go_together(three_regions: Account) -> None:
    left = leave_machine(three_regions, "us-west-2", "lost")
    done = three_regions.launch_here("gc", "--all-regions", "--delete", "--yes")
    assert done.returncode == 2
    assert "./launch.py gc --all-regions" in done.stderr
    ec2 = boto3.client("ec2", endpoint_url=three_regions.endpoint, region_name="us-west-2")
    (row,) = ec2.describe_instances(InstanceIds=[left])["Reservations"]
    assert row["Instances"][0]["State"]["Name"] == "running"


def test_a_region_that_refuses_is_named_and_the_others_are_looked_at(
    three_regions: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = leave_machine(three_regions, "us-west-2", "lost")
    send = Cloud.send

    def refuse(cloud: Cloud, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if cloud.aws.region == "eu-west-1" and service == "ec2":
            raise AccessDenied("ec2:DescribeFleets: UnauthorizedOperation: with an explicit deny")
        return send(cloud, service, operation, request)

    monkeypatch.setattr(Cloud, "send", refuse)
    done = three_regions.launch_here("gc", "--all-regions")
    assert done.returncode == 1
    assert "eu-west-1 could not be looked at: ec2:DescribeFleets: UnauthorizedOperation" in done.stderr
    assert far in done.stdout


def test_where_the_bucket_of_another_region_cannot_be_read_nothing_is_called_dead(
    three_regions: Account,
) -> None:
    """A user whose policy is of one region sees the machines of another, not its bucket."""
    far = leave_machine(three_regions, "us-west-2", "alive")
    bucket = layout.default_bucket_name(three_regions.project, three_regions.scope.account, "us-west-2")
    with Front(three_regions.endpoint) as behind:
        behind.answers[f"HEAD /{bucket}"] = Answer("", 403, "text/xml")
        account = three_regions._replace(endpoint=behind.url)
        account.write_config()
        done = account.launch_here("gc", "--all-regions")
    assert (
        f"machine {far} of run alive: bucket {bucket} cannot be read, so it may belong to a living run"
        in done.stdout
    )
