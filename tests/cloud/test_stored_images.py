"""Images and snapshots cost money by the month: `gc` and `down` name them; `down --images` removes what nothing uses."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from tests.cloud.fake_aws import Account
from tests.cloud.proxy import Answer, Front
from training import layout
from training.cloud.cleanup import images
from training.cloud.launch import setup

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
IN_USE = (
    "<Response><Errors><Error><Code>InvalidSnapshot.InUse</Code>"
    "<Message>The snapshot snap-1 is currently in use by ami-1</Message></Error></Errors></Response>"
)
TWO = (b"torch==1\n", b"torch==2\n")


@pytest.fixture
def ec2(account: Account) -> Any:
    """Another program of the account's owner."""
    return boto3.client("ec2", endpoint_url=account.endpoint, region_name="us-east-1")


def baked(account: Account) -> list[str]:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    account.write_config()
    return [account.bake(content) for content in TWO]


def names(account: Account) -> set[str]:
    return {one.id for one in images.find(account.cloud, account.scope)}


def snapshots_of(ec2: Any, image: str) -> list[str]:
    disks = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"]
    return [disk["Ebs"]["SnapshotId"] for disk in disks]


def exist(ec2: Any, snapshots: list[str]) -> set[str]:
    rows = ec2.describe_snapshots(Filters=[{"Name": "snapshot-id", "Values": snapshots}])["Snapshots"]
    return {row["SnapshotId"] for row in rows}


@pytest.mark.slow
def test_down_and_gc_name_what_stays_with_its_price_and_command(account: Account) -> None:
    first, second = baked(account)
    found = images.find(account.cloud, account.scope)
    each = {one.id: one.usd_per_month for one in found}
    assert all(usd == one.gigabytes * 0.05 > 0 for usd, one in zip(each.values(), found, strict=True))
    total = f"2 images at most ${sum(each.values()):.2f} a month"
    told = account.launch_here("gc").stdout
    for name in (first, second):
        assert f"image {name} {account.project}-" in told
        assert f"at most ${each[name]:.2f} a month (kept)" in told
    assert f"{total}. With all of the project: ./launch.py down --images" in told
    gone = account.launch_here("down", "--data", "--yes")
    assert f"  stays   image {first}" in gone.stderr
    assert gone.stdout == f"down: nothing of the project is left but {total}: ./launch.py down --images\n"
    assert names(account) == {first, second}


@pytest.mark.slow
def test_down_images_removes_images_with_their_snapshots(account: Account, ec2: Any) -> None:
    both = baked(account)
    snapshots = [name for image in both for name in snapshots_of(ec2, image)]
    planned = account.launch_json("down", "--images", "--dry-run")
    assert {row["id"] for row in planned["images"]} == set(both)
    assert planned["kept_images"] == []
    assert exist(ec2, snapshots) == set(snapshots), "a dry run removes nothing"
    done = account.launch_here("down", "--images", "--yes")
    assert f"  remove  image {both[0]}" in done.stderr
    assert "down: nothing of the project is left but its bucket" in done.stdout
    assert "images" not in done.stdout
    assert names(account) == set()
    assert exist(ec2, snapshots) == set()
    assert account.launch_here("down", "--images").stdout.startswith("down: nothing of the project is left")


@pytest.mark.slow
def test_an_image_that_somebody_uses_stays_and_the_user_is_named(account: Account, ec2: Any) -> None:
    """A machine that is no run's, or a launch template of somebody else: whatever project they are of."""
    by_machine, by_template = baked(account)
    machine = ec2.run_instances(ImageId=by_machine, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    template = f"{account.project}-labs"
    ec2.create_launch_template(LaunchTemplateName=template, LaunchTemplateData={"ImageId": by_template})
    done = account.launch_here("down", "--images", "--yes")
    (line,) = [line for line in done.stderr.splitlines() if by_machine in line]
    assert line.startswith("  stays   image")
    assert line.endswith(f"machine {machine} of your account uses it")
    (line,) = [line for line in done.stderr.splitlines() if by_template in line]
    assert line.endswith(f"launch template {template} of your account uses it")
    assert "2 images at most $" in done.stdout
    assert names(account) == {by_machine, by_template}
    ec2.terminate_instances(InstanceIds=[machine])
    assert account.launch_here("down", "--images", "--yes").returncode == 0
    assert names(account) == {by_template}


@pytest.mark.slow
def test_a_runs_own_machine_and_template_do_not_hold_an_image(account: Account, ec2: Any) -> None:
    """They go first. A bake prunes while they live: tests/image/test_ami.py."""
    image, _ = baked(account)
    tags = account.scope.run_tags("race", "kim", account.cloud.now())
    ec2.run_instances(
        ImageId=image,
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    ec2.create_launch_template(
        LaunchTemplateName=layout.template_name(account.project, "race", 1),
        LaunchTemplateData={"ImageId": image},
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}],
    )
    account.launch_here("down", "--images", "--yes")
    assert names(account) == set()


@pytest.mark.slow
def test_a_snapshot_whose_image_is_gone_is_found_and_removed(account: Account, ec2: Any) -> None:
    """As an interruption between the two leaves it, or somebody who deregisters an image in the console."""
    image, other = baked(account)
    (snapshot,) = snapshots_of(ec2, image)
    ec2.deregister_image(ImageId=image)
    assert names(account) == {other, snapshot}
    assert f"snapshot {snapshot} without an image: " in account.launch_here("gc").stdout
    account.launch_here("down", "--images", "--yes")
    assert names(account) == set()
    assert exist(ec2, [snapshot]) == set()


def test_what_is_not_of_a_bake_stays(account: Account, ec2: Any) -> None:
    """An image and a snapshot that carry the project's tag alone: by it a bill may be divided."""
    baked(account)
    theirs = ec2.register_image(Name=f"{account.project}-web")["ImageId"]
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=3)["VolumeId"]
    backup = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    disks = snapshots_of(ec2, theirs)
    ec2.create_tags(Resources=[theirs, backup, *disks], Tags=account.scope.tags())
    account.launch_here("down", "--images", "--yes")
    assert ec2.describe_images(ImageIds=[theirs])["Images"]
    assert exist(ec2, [backup, *disks]) == {backup, *disks}


def test_the_size_is_what_the_snapshot_holds_where_ec2_says_it(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    baked(account)
    rows = images._snapshots(account.cloud, account.scope)
    held = [{**row, "FullSnapshotSizeInBytes": 17 * 2**30} for row in rows]
    monkeypatch.setattr(images, "_snapshots", lambda *_: held)
    assert {one.gigabytes for one in images.find(account.cloud, account.scope)} == {17.0}


def test_a_snapshot_of_an_image_that_is_being_made_is_not_taken_for_a_lonely_one(
    account: Account, ec2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, other = baked(account)
    ec2.deregister_image(ImageId=image)
    making: dict[str, Any] = {"ImageId": "ami-2", "State": "pending"}
    rows = [making, *ec2.describe_images(ImageIds=[other])["Images"]]
    monkeypatch.setattr(images.inventory, "images", lambda *_: rows)
    assert [one.kind for one in images.find(account.cloud, account.scope)] == ["image", "image"]


@pytest.mark.slow
def test_a_snapshot_that_somebody_elses_image_needs_is_left_and_said(account: Account, ec2: Any) -> None:
    image, _ = baked(account)
    (snapshot,) = snapshots_of(ec2, image)
    with Front(account.endpoint) as front:
        front.answers["DeleteSnapshot"] = Answer(IN_USE, 400, "text/xml")
        account.write_config(endpoints={**account.settings["aws"]["endpoints"], "ec2": front.url})
        done = account.launch_here("down", "--images", "--yes")
    assert f"  left    snapshot {snapshot}: an image that is not the project's uses it" in done.stderr
    assert "but its bucket" in done.stdout
    assert "2 snapshots at most $" in done.stdout
    account.write_config()
    assert f"snapshot {snapshot} without an image" in account.launch_here("gc").stdout
