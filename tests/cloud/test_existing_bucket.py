"""A bucket that somebody has already, as its owner meets it: in the commands, with what they print."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from tests.cloud.fake_aws import Account
from training import layout
from training.cloud.aws import bucket as buckets
from training.cloud.aws import inventory
from training.cloud.aws.client import Cloud
from training.cloud.aws.project import Project, read_project
from training.cloud.cleanup import bucket_removal
from training.cloud.launch import setup
from training.errors import UsageError

RULES = [
    {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 90}},
    {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 7}},
]


class Theirs(NamedTuple):
    """An account whose settings name a bucket that is there already, with data in it."""

    account: Account
    cloud: Cloud
    scope: Project
    bucket: str

    @property
    def project(self) -> str:
        return self.account.project

    @property
    def s3(self) -> Any:
        return self.cloud.client("s3")

    def up(self, scope: Project | None = None, *, use_existing_bucket: bool = True) -> None:
        steps = setup.plan(self.cloud, scope or self.scope, use_existing_bucket=use_existing_bucket)
        setup.apply(steps, lambda _: None)


@pytest.fixture
def theirs(account: Account) -> Theirs:
    """Give such an account."""
    cloud = account.cloud
    s3, name = cloud.client("s3"), f"{account.project}-data"
    s3.create_bucket(Bucket=name)
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "Owner", "Value": "kim"}]})
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": RULES})
    s3.put_object(Bucket=name, Key="data/a.csv", Body=b"1")
    account.write_config(s3_bucket_name=name)
    return Theirs(account, cloud, read_project(cloud)._replace(bucket=name), name)


@pytest.mark.slow  # each command is a process of its own
def test_up_shows_what_it_would_change_and_changes_it_only_when_told(theirs: Theirs) -> None:
    refused = theirs.account.launch("up", "--yes")
    assert refused.returncode == 2
    assert f"bucket {theirs.bucket} exists and is not tagged as this project's" in refused.stderr
    assert "./launch.py up --use-existing-bucket" in refused.stderr
    assert "before: Owner=kim" in refused.stderr
    assert f"after:  Owner=kim, TrainingBucket=shared:{theirs.project}" in refused.stderr
    assert "WARNING: lifecycle rule all (all objects: deletes after 90 days) deletes runs" in refused.stderr
    assert "unchanged: encryption" in refused.stderr

    planned = theirs.account.launch("up", "--use-existing-bucket", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    steps: list[dict[str, Any]] = json.loads(planned.stdout)
    (lifecycle,) = [step for step in steps if "lifecycle" in step["what"]]
    assert lifecycle["action"] == "update"
    assert lifecycle["before"].startswith("all (all objects: deletes after 90 days); logs (logs/")
    assert lifecycle["after"].startswith(lifecycle["before"])
    assert lifecycle["request"]["LifecycleConfiguration"]["Rules"][:2] == RULES
    assert not [step for step in steps if "versioning" in step["what"] or "encryption" in step["what"]]

    made = theirs.account.launch("up", "--use-existing-bucket", "--yes")
    assert made.returncode == 0, made.stderr
    again = theirs.account.launch("up")
    assert again.returncode == 0, "nothing to do, nothing to ask, and the user need not say it again"
    assert theirs.account.launch("doctor").stdout.count("NO  set-up") == 0

    asked = theirs.account.launch_json("down", "--data", "--dry-run")
    assert (asked["deleted_bucket"], asked["kept_bucket"]) == (None, theirs.bucket)
    assert asked["other_objects"] == ["data/"]
    gone = theirs.account.launch("down", "--data", "--yes")
    assert gone.returncode == 0, gone.stderr
    assert f"stays   bucket {theirs.bucket} and what else is in it (data/)" in gone.stderr
    assert gone.stdout == "down: nothing of the project is left\n"
    s3 = theirs.s3
    assert s3.get_bucket_tagging(Bucket=theirs.bucket)["TagSet"] == [{"Key": "Owner", "Value": "kim"}]
    assert s3.get_bucket_lifecycle_configuration(Bucket=theirs.bucket)["Rules"] == RULES


@pytest.mark.parametrize("key", ["scripts/deploy.sh", "runs/2024/results.csv", "runs/My Run/status.json"])
def test_a_bucket_whose_own_files_are_below_our_prefixes_is_refused(theirs: Theirs, key: str) -> None:
    theirs.s3.put_object(Bucket=theirs.bucket, Key=key, Body=b"1")
    with pytest.raises(UsageError, match="not of this project") as caught:
        theirs.up()
    assert key in caught.value.message


def test_a_bucket_of_ours_that_lost_its_tag_may_be_taken_again(theirs: Theirs) -> None:
    """Somebody's tool that keeps a bucket's tags as it knows them takes ours away at its next run."""
    for key in (layout.status_key("race"), layout.script_bundle_key("ab" * 32)):
        theirs.s3.put_object(Bucket=theirs.bucket, Key=key, Body=b"1")
    with pytest.raises(UsageError, match="not tagged"):
        theirs.up(use_existing_bucket=False)
    (missing,) = setup.is_up(theirs.cloud, theirs.scope)
    assert f"the tag of the project on bucket {theirs.bucket}" in missing, "nor is a run launched into it"
    theirs.up()
    assert buckets.use_of(theirs.scope, buckets.read_tags(theirs.cloud, theirs.scope)) == "shared"
    assert buckets.content(theirs.cloud, theirs.scope).objects == 2


def test_a_bucket_of_another_project_is_refused_whatever_the_user_says(theirs: Theirs) -> None:
    theirs.up()
    before = buckets.read(theirs.cloud, theirs.scope)
    with pytest.raises(UsageError, match="used by another project"):
        theirs.up(theirs.scope._replace(name="other"))
    assert buckets.read(theirs.cloud, theirs.scope) == before


def test_the_bucket_policy_of_somebody_is_the_same_after_up_and_down(theirs: Theirs) -> None:
    """Over plain http no policy is set; here it is, for our prefixes alone, which nothing asks for meanwhile."""
    scope = theirs.scope._replace(plain_http=False)
    policy: dict[str, Any] = {
        "Version": "2012-10-17",
        "Statement": {
            "Sid": "Theirs",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
            "Action": "s3:*",
            "Resource": f"arn:aws:s3:::{theirs.bucket}/data/*",
        },
    }
    theirs.s3.put_bucket_policy(Bucket=theirs.bucket, Policy=json.dumps(policy))
    theirs.up(scope)
    sids = [one["Sid"] for one in buckets.read(theirs.cloud, scope).policy["Statement"]]
    assert sids == ["Theirs", "F1tenthTrainingTlsOnly"]
    removal = bucket_removal.plan(theirs.cloud, scope, data=True)
    bucket_removal.remove(theirs.cloud, scope, removal, lambda _: None)
    left = buckets.read(theirs.cloud, scope)
    assert left.policy == {**policy, "Statement": [policy["Statement"]]}
    assert left.tags == {"Owner": "kim"}
    assert left.lifecycle["Rules"] == RULES


def test_a_folder_that_somebody_puts_below_our_prefix_later_is_no_run_and_stays(theirs: Theirs) -> None:
    theirs.up()
    for key in ("runs/My Run/a.csv", layout.status_key("race")):
        theirs.s3.put_object(Bucket=theirs.bucket, Key=key, Body=b"1")
    assert inventory.run_names(theirs.cloud, theirs.scope) == ["race"]
    removal = bucket_removal.plan(theirs.cloud, theirs.scope, data=True)
    assert removal.content.objects == 1
    bucket_removal.remove(theirs.cloud, theirs.scope, removal, lambda _: None)
    left = theirs.s3.list_objects_v2(Bucket=theirs.bucket)["Contents"]
    assert [one["Key"] for one in left] == ["data/a.csv", "runs/My Run/a.csv"]


def test_a_bucket_policy_that_is_ours_alone_goes_as_a_whole(theirs: Theirs) -> None:
    scope = theirs.scope._replace(plain_http=False)
    theirs.up(scope)
    assert len(buckets.read(theirs.cloud, scope).policy["Statement"]) == 1
    removal = bucket_removal.plan(theirs.cloud, scope, data=True)
    bucket_removal.remove(theirs.cloud, scope, removal, lambda _: None)
    assert buckets.read(theirs.cloud, scope).policy == {}
