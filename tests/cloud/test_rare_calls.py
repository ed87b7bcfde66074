"""What is seldom asked of AWS, and by no other test: each call has its effect, and so IAM is asked about it too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from tests.cloud.fake_aws import ROOT, Account
from tests.support.fake_imds import FakeImds
from tests.support.image_programs import program
from tests.support.launches import RUN, train, up
from tests.support.servers import raw_client
from training import layout
from training.cloud.aws import disk_key, inventory
from training.cloud.aws.iam_bucket import bucket_policy
from training.cloud.aws.iam_policies import instance_policy
from training.cloud.cleanup import leaks, teardown
from training.cloud.launch import setup
from training.instance import finish, log_upload
from training.instance.exit_record import VARIABLE, ExitRecord, write_exit_record
from training.store import documents
from training.store.open import open_store
from training.store.retry import RetryingStorage
from training.store.s3 import S3Settings, S3Storage

pytestmark = pytest.mark.slow  # each test walks through a launch

ROLES = ROOT / "ansible" / "roles"


def launched(account: Account) -> dict[str, Any]:
    """Return what the run's machines are made from."""
    versions = account.cloud.client("ec2").describe_launch_template_versions(
        LaunchTemplateName=layout.template_name(account.project, RUN, 1)
    )
    data: dict[str, Any] = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    return data


# --- the launcher ---
def test_up_opens_the_ports_to_one_address_and_then_to_another(account: Account) -> None:
    for address in ("203.0.113.7", "203.0.113.8"):
        cloud = account.cloud
        cloud.aws = cloud.aws.model_copy(update={"open_ports_to": address})
        setup.apply(setup.plan(cloud, account.scope), lambda _: None)
        group = inventory.security_group(cloud, account.scope, inventory.vpc_id(cloud))
        assert group
        opened = {
            (rule["FromPort"], span["CidrIp"]) for rule in group["IpPermissions"] for span in rule["IpRanges"]
        }
        assert opened == {(22, f"{address}/32"), (6006, f"{address}/32")}


def test_up_replaces_an_old_policy_and_makes_room_among_its_five_versions(account: Account) -> None:
    up(account)
    iam, arn = account.cloud.client("iam"), account.scope.policy_arn
    for number in range(4):
        other = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": f"arn:aws:s3:::{number}"}],
        }
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(other), SetAsDefault=True)
    up(account)
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    (default,) = [one["VersionId"] for one in versions if one["IsDefaultVersion"]]
    document = iam.get_policy_version(PolicyArn=arn, VersionId=default)["PolicyVersion"]["Document"]
    assert document == instance_policy(account.scope)
    assert len(versions) == 5
    teardown.down(account.cloud, account.scope, None, None, lambda _: None)
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_policy(PolicyArn=arn)


def test_a_bucket_refuses_plain_http_and_takes_uploads_by_the_nearest_edge(account: Account) -> None:
    """As on AWS; the other tests leave the policy out, for the emulator is asked by plain HTTP."""
    scope, cloud = account.scope._replace(plain_http=False), account.cloud
    cloud.aws = cloud.aws.model_copy(update={"s3_transfer_acceleration": True})
    for _ in range(2):  # the second compares
        setup.apply(setup.plan(cloud, scope), lambda _: None)
    s3 = raw_client(account.endpoint)
    assert json.loads(s3.get_bucket_policy(Bucket=scope.bucket)["Policy"]) == bucket_policy(scope)
    assert s3.get_bucket_accelerate_configuration(Bucket=scope.bucket)["Status"] == "Enabled"


def test_a_volume_that_is_attached_to_nothing_goes_with_gc(account: Account) -> None:
    ec2 = account.cloud.client("ec2")
    tags = account.scope.run_tags(RUN, "kim", datetime.now(timezone.utc))
    made = ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )["VolumeId"]
    (leak,) = leaks.find_leaks(account.cloud, account.scope, None)
    assert (leak.kind, leak.id) == ("volume", made)
    leaks.delete_leak(account.cloud, account.scope, leak, lambda _: None)
    assert leaks.find_leaks(account.cloud, account.scope, None) == []


def test_a_machine_is_given_the_key_of_its_user(account: Account) -> None:
    up(account)
    account.bake()
    name = f"{account.project}-laptop"  # key pairs have names of the region, which other tests share
    account.cloud.client("ec2").create_key_pair(KeyName=name)
    train(account, key_pair_name=name)
    assert launched(account)["KeyName"] == name


def test_the_key_of_an_organisation_encrypts_the_disk(account: Account) -> None:
    up(account)
    account.bake()
    kms = boto3.client("kms", endpoint_url=account.endpoint, region_name="us-east-1")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    for role in (disk_key.FLEET_ROLE, disk_key.SPOT_ROLE):
        kms.create_grant(
            KeyId=key,
            GranteePrincipal=f"arn:aws:iam::123456789012:role/aws-service-role/{role}",
            Operations=list(disk_key.OPERATIONS),
        )
    train(account, kms_key=key)
    (disk,) = launched(account)["BlockDeviceMappings"]
    assert (disk["Ebs"]["Encrypted"], disk["Ebs"]["KmsKeyId"]) == (True, key)


# --- what runs on a machine ---
@pytest.fixture
def fleet(account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Launch a run, and give the surroundings of its machine: run.env, settings, metadata service."""
    up(account)
    account.bake()
    made = train(account)
    settings = tmp_path / "machine.yaml"
    settings.write_text(yaml.safe_dump(account.settings), encoding="utf-8")
    with FakeImds() as imds:
        imds.paths["meta-data/tags/instance/aws:ec2:fleet-id"] = made
        imds.paths["meta-data/instance-id"] = "i-1"
        for name, value in {
            finish.RUN_VARIABLE: RUN,
            finish.STORE_VARIABLE: account.scope.store,
            "F1TENTH_CONFIG": str(settings),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.url,
            "AWS_ENDPOINT_URL": account.endpoint,
            VARIABLE: str(tmp_path / "outcome.json"),
        }.items():
            monkeypatch.setenv(name, value)
        yield made


def alive(account: Account) -> list[str]:
    return [one["FleetId"] for one in inventory.fleets(account.cloud, account.scope)]


def test_a_machine_whose_run_is_done_deletes_its_fleet(account: Account, fleet: str) -> None:
    assert alive(account) == [fleet]
    write_exit_record(ExitRecord(exit_code=0))
    assert finish.main() == 0
    assert alive(account) == []
    status = documents.read_status(account.storage, RUN)
    assert status
    assert status.state == "done"


def test_a_machine_that_can_never_train_deletes_its_fleet(
    account: Account, fleet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = program(ROLES / "trainer/files/usr/local/bin/f1tenth-fetch")
    monkeypatch.setattr(fetch, "IMDS", f"{os.environ['AWS_EC2_METADATA_SERVICE_ENDPOINT']}/latest")
    assert alive(account) == [fleet]
    fetch.delete_own_fleet()
    assert alive(account) == []


def test_a_machine_reads_the_key_of_weights_and_biases(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = layout.wandb_parameter_name(account.project)
    ssm = boto3.client("ssm", endpoint_url=account.endpoint, region_name="us-east-1")
    ssm.put_parameter(Name=name, Value="not-a-real-key", Type="SecureString")
    monkeypatch.setenv("AWS_ENDPOINT_URL", account.endpoint)
    program(ROLES / "monitoring/files/usr/local/bin/f1tenth-parameter").main([name])
    assert capsys.readouterr().out == "not-a-real-key"


def test_what_a_machine_could_not_upload_whole_it_takes_back(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files go in parts; here the log, by settings that call it large."""
    up(account)
    settings = S3Settings(region="us-east-1", endpoint_url=account.endpoint, multipart_above=4)
    store = S3Storage(account.scope.bucket, settings=settings)
    send: Any = store._client.upload_part
    monkeypatch.setattr(log_upload, "until", lambda storage, _: storage)

    def broken(**_: Any) -> None:
        monkeypatch.setattr(store._client, "upload_part", send)
        raise ValueError("the disk is gone")

    monkeypatch.setattr(store._client, "upload_part", broken)
    log = log_upload.LogChunks(RetryingStorage(store), RUN, 1)
    log.write("a line that is long enough\n")
    assert not log._send(None)
    log.close()
    assert "Uploads" not in raw_client(account.endpoint).list_multipart_uploads(Bucket=account.scope.bucket)
    keys = [entry.key for entry in open_store(account.scope.store, account.aws).list(f"runs/{RUN}/")]
    assert keys == [layout.log_chunk_key(RUN, 1, 1)], "the next try"
