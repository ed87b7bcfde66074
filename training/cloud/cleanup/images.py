"""The images that `make ami` baked, and their snapshots: their cost, the resources that use them, and their removal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from ... import layout
from ..aws import inventory
from ..aws.aws_errors import CloudError
from ..aws.client import Cloud
from ..aws.ownership import as_mapping, is_of_a_run, is_owned
from ..aws.project import Project
from .leaks import unless_absent

# us-east-1, 2026-11: https://aws.amazon.com/ebs/pricing/
SNAPSHOT_USD_PER_GB_MONTH = 0.05
# A filter takes at most 200 values, and a page of launch templates has at most 200.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Filter.html
MOST_VALUES = 200
SNAPSHOT_IN_USE = "InvalidSnapshot.InUse"


class StoredImage(NamedTuple):
    """An image with its snapshots, or a snapshot whose image is gone: AWS bills both by the month."""

    kind: str  # image | snapshot
    id: str
    name: str
    created_at: str  # ISO 8601, as EC2 writes it
    snapshots: tuple[str, ...]
    gigabytes: float

    @property
    def usd_per_month(self) -> float:
        """Return what it costs at most: EC2 bills what a snapshot holds, and what two share once."""
        return self.gigabytes * SNAPSHOT_USD_PER_GB_MONTH

    @property
    def line(self) -> str:
        """Return it for people, with its price."""
        name = f" {self.name}" if self.name else ""
        return (
            f"{self.kind} {self.id}{name}: {self.gigabytes:.0f} GB, at most ${self.usd_per_month:.2f} a month"
        )

    def to_json_dict(self) -> dict[str, object]:
        """Return it for `--json`."""
        return {**self._asdict(), "usd_per_month": round(self.usd_per_month, 2)}


def summary(stored: Collection[StoredImage]) -> str:
    """Return how many they are and what they cost together, for people."""
    usd = sum(one.usd_per_month for one in stored)
    counts = Counter(one.kind for one in stored)
    what = " and ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items())
    return f"{what} at most ${usd:.2f} a month"


def find(cloud: Cloud, project: Project) -> list[StoredImage]:
    """Return what is stored of the project's bakes in the region, images first, newest first."""
    images = inventory.images(cloud, project)
    sizes = {one["SnapshotId"]: one for one in _snapshots(cloud, project)}
    found = [_image(image, sizes) for image in images]
    if any(image["State"] == "pending" for image in images):
        return found  # EC2 names the snapshots of an image when it is made
    held = {snapshot for one in found for snapshot in one.snapshots}
    alone = [one for name, one in sizes.items() if name not in held]
    return found + sorted(map(_snapshot, alone), key=lambda one: one.created_at, reverse=True)


def _snapshots(cloud: Cloud, project: Project) -> list[dict[str, Any]]:
    """Return the snapshots of the project's bakes; `Project` alone may be anyone's tag."""
    filters = [*project.filters, {"Name": "tag-key", "Values": [layout.TAG_REQUIREMENTS]}]
    rows = cloud.pages("ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters)
    return [row for row in rows if is_owned(project, as_mapping(row.get("Tags")))]


def _image(image: dict[str, Any], snapshots: dict[str, dict[str, Any]]) -> StoredImage:
    disks = [
        disk["Ebs"] for disk in image.get("BlockDeviceMappings", ()) if "SnapshotId" in disk.get("Ebs", {})
    ]
    gigabytes = sum(_gigabytes(snapshots.get(disk["SnapshotId"], disk)) for disk in disks)
    names = tuple(disk["SnapshotId"] for disk in disks)
    created_at = str(image.get("CreationDate", ""))
    return StoredImage("image", image["ImageId"], str(image.get("Name", "")), created_at, names, gigabytes)


def _snapshot(one: dict[str, Any]) -> StoredImage:
    name, created_at = one["SnapshotId"], str(one.get("StartTime", ""))
    return StoredImage("snapshot", name, "without an image", created_at, (name,), _gigabytes(one))


def _gigabytes(disk: dict[str, Any]) -> float:
    """Return the size of a snapshot's data; where EC2 does not say it, the disk's whole size."""
    held = disk.get("FullSnapshotSizeInBytes")
    return held / 2**30 if held else float(disk.get("VolumeSize", 0))


# --- what uses them ---
def users(
    cloud: Cloud, project: Project, stored: Iterable[StoredImage], *, our_runs_too: bool
) -> dict[str, list[str]]:
    """Return the machines and launch templates that need an image, by its id: those of the whole account.

    our_runs_too: count those of the project's own runs. `down` has ended them before it asks.
    Of a template the newest and the default version count: no other starts a machine unless a request names it.
    """
    ids = [one.id for one in stored if one.kind == "image"]
    found: dict[str, list[str]] = {}
    leave = None if our_runs_too else project
    for some in (ids[first : first + MOST_VALUES] for first in range(0, len(ids), MOST_VALUES)):
        for image, what in (*_machines(cloud, some, leave), *_templates(cloud, some, leave)):
            found[image] = list(dict.fromkeys([*found.get(image, ()), what]))
    return found


def _machines(cloud: Cloud, ids: list[str], leave: Project | None) -> Iterable[tuple[str, str]]:
    filters = [
        {"Name": "image-id", "Values": ids},
        {"Name": "instance-state-name", "Values": list(inventory.LIVE_MACHINES)},
    ]
    for reservation in cloud.pages("ec2", "describe_instances", "Reservations", Filters=filters):
        for one in reservation["Instances"]:
            if leave is None or not is_of_a_run(leave, as_mapping(one.get("Tags"))):
                yield one["ImageId"], f"machine {one['InstanceId']}"


def _templates(cloud: Cloud, ids: list[str], leave: Project | None) -> Iterable[tuple[str, str]]:
    ours = {one["LaunchTemplateId"] for one in inventory.run_templates(cloud, leave)} if leave else set()
    # Without the name of a template these two versions are those of every template.
    rows = cloud.pages(
        "ec2",
        "describe_launch_template_versions",
        "LaunchTemplateVersions",
        Versions=["$Latest", "$Default"],
        MaxResults=MOST_VALUES,
        Filters=[{"Name": "image-id", "Values": ids}],
    )
    for row in rows:
        image = row["LaunchTemplateData"].get("ImageId", "")
        if image in ids and row["LaunchTemplateId"] not in ours:
            yield image, f"launch template {row['LaunchTemplateName']}"


# --- their end ---
def remove(
    cloud: Cloud, stored: Iterable[StoredImage], used: Collection[str], say: Callable[[str], None]
) -> list[StoredImage]:
    """Deregister images and delete their snapshots; return those that stay because something uses them.

    An image is removed before its snapshots, which EC2 deletes only then: an interruption leaves a snapshot
    without an image, which `find` finds.
    """
    stays = []
    for one in stored:
        if one.id in used:
            stays.append(one)
            continue
        if one.kind == "image":
            unless_absent(cloud, "ec2", "deregister_image", ImageId=one.id)
        say(f"  gone    {one.kind} {one.id}{f' {one.name}' if one.name else ''}")
        held = [snapshot for snapshot in one.snapshots if not _delete(cloud, snapshot)]
        for snapshot in held:
            say(f"  left    snapshot {snapshot}: an image that is not the project's uses it")
        stays += [one._replace(kind="snapshot", id=name, snapshots=(name,)) for name in held]
    return stays


def _delete(cloud: Cloud, snapshot: str) -> bool:
    """Delete a snapshot; return False where someone else's image was made from it."""
    try:
        unless_absent(cloud, "ec2", "delete_snapshot", SnapshotId=snapshot)
    except CloudError as error:
        if error.code != SNAPSHOT_IN_USE:
            raise
        return False
    return True
