"""`down --data` against a real S3 server: every version of ours goes, nothing else, and what cannot go is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.cloud.golden import SCOPE
from tests.support.servers import Bucket, fresh_bucket, raw_client
from training import layout
from training.cloud.aws import bucket as buckets
from training.cloud.aws import bucket_settings
from training.cloud.aws.aws_errors import CloudError
from training.cloud.aws.client import Clock, Cloud
from training.cloud.aws.project import Project
from training.cloud.cleanup import bucket_removal

pytestmark = pytest.mark.slow  # each test fills a bucket

OWN = [
    "runs/race/status.json",
    "runs/race/checkpoints/sac_latest_checkpoint.json",
    "runs/race/replay/e1/agent0/x",
    f"scripts/{'ab' * 32}.tar.gz",
]
THEIRS = ["data/a.csv", "runs.txt", "runs/race/notes.txt", "scripts/deploy.sh"]


class Shelf:
    """A bucket on a server, and the launcher's view of it."""

    def __init__(self, bucket: Bucket, use: str) -> None:
        self.said: list[str] = []
        self.s3: Any = raw_client(bucket.endpoint)
        self.cloud = Cloud(bucket.aws, self.said.append, Clock(sleep=lambda _: None))
        self.scope: Project = SCOPE._replace(bucket=bucket.name, plain_http=True)
        self.bucket = bucket.name
        self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        mark = layout.bucket_mark(SCOPE.name, created=use == "created")
        tags = [{"Key": "Owner", "Value": "kim"}, {"Key": layout.TAG_BUCKET, "Value": mark}]
        self.s3.put_bucket_tagging(Bucket=self.bucket, Tagging={"TagSet": tags})

    def fill(self, keys: list[str], **more: Any) -> None:
        """Write each key twice, delete it once, write it again, and begin an upload of it."""
        for key in keys:
            for body in (b"1", b"2"):
                self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **more)
            self.s3.delete_object(Bucket=self.bucket, Key=key)
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=b"3", **more)
            self.s3.create_multipart_upload(Bucket=self.bucket, Key=key)

    def rows(self) -> dict[str, list[str]]:
        """Return key → its versions and markers."""
        reply = self.s3.list_object_versions(Bucket=self.bucket)
        found: dict[str, list[str]] = {}
        for row in [*reply.get("Versions", ()), *reply.get("DeleteMarkers", ())]:
            found.setdefault(row["Key"], []).append(row["VersionId"])
        return {key: sorted(found[key]) for key in sorted(found)}

    def uploads(self) -> list[str]:
        return sorted(
            one["Key"] for one in self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())
        )

    def remove(self) -> None:
        removal = bucket_removal.plan(self.cloud, self.scope, data=True)
        bucket_removal.remove(self.cloud, self.scope, removal, self.said.append)

    def exists(self) -> bool:
        return self.bucket in [one["Name"] for one in self.s3.list_buckets()["Buckets"]]


@pytest.fixture
def shelf(weed_server: str, credentials: None) -> Callable[[str], Shelf]:
    """Give what makes a bucket that is created or shared."""
    return lambda use: Shelf(fresh_bucket(weed_server), use)


@pytest.mark.parametrize("use", ["created", "shared"])
def test_ours_goes_in_all_versions_and_theirs_stays_in_all_versions(
    shelf: Callable[[str], Shelf], use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PAGE", 3)  # many pages, of which many rows go
    there = shelf(use)
    there.fill([*OWN, *THEIRS])
    before = {key: versions for key, versions in there.rows().items() if key in THEIRS}
    planned = bucket_removal.plan(there.cloud, there.scope, data=True)
    assert (planned.content.objects, planned.content.versions) == (len(OWN), 4 * len(OWN))
    assert not planned.deletes_bucket
    there.remove()
    assert there.rows() == before
    assert there.uploads() == sorted(THEIRS)
    tags = {one["Key"] for one in there.s3.get_bucket_tagging(Bucket=there.bucket)["TagSet"]}
    assert tags == ({"Owner"} if use == "shared" else {"Owner", layout.TAG_BUCKET})
    there.remove()
    assert there.rows() == before, "and may be repeated"


def test_a_bucket_that_we_made_goes_when_nothing_else_is_in_it_and_a_shared_one_never(
    shelf: Callable[[str], Shelf],
) -> None:
    for use, left in (("created", False), ("shared", True)):
        there = shelf(use)
        there.fill(OWN)
        there.remove()
        assert there.exists() == left
        assert not left or there.rows() == {}


def test_without_our_tag_nothing_is_touched(shelf: Callable[[str], Shelf]) -> None:
    there = shelf("shared")
    there.fill(OWN)
    there.s3.put_bucket_tagging(
        Bucket=there.bucket, Tagging={"TagSet": [{"Key": "Project", "Value": SCOPE.name}]}
    )
    before = there.rows()
    planned = bucket_removal.plan(there.cloud, there.scope, data=True)
    assert bucket_removal.describe(there.cloud, there.scope, planned) == [
        f"  left    bucket {there.bucket}: it is not tagged as the project's"
    ]
    there.remove()
    assert there.rows() == before


def test_our_lifecycle_rules_go_and_theirs_stay(shelf: Callable[[str], Shelf]) -> None:
    there = shelf("shared")
    theirs = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 7}}
    there.s3.put_bucket_lifecycle_configuration(
        Bucket=there.bucket, LifecycleConfiguration={"Rules": [theirs]}
    )
    found = buckets.read(there.cloud, there.scope)
    for change in bucket_settings.changes(there.scope, found, "shared", accelerate=False):
        if change.request:
            there.cloud.call("s3", change.operation, **change.request)

    def ids() -> list[str]:
        rules = there.s3.get_bucket_lifecycle_configuration(Bucket=there.bucket)["Rules"]
        return sorted(rule["ID"] for rule in rules)

    assert ids() == ["f1tenth-training-runs", "f1tenth-training-scripts", "logs"]
    there.remove()
    assert ids() == ["logs"]


# --- Object Lock ---
@pytest.fixture
def locked(weed_server: str, credentials: None) -> Shelf:
    """Give a bucket with Object Lock, in which each version is kept for three days."""
    s3 = raw_client(weed_server)
    name = fresh_bucket(weed_server).name + "-lock"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    retention = {"Mode": "GOVERNANCE", "Days": 3}
    s3.put_object_lock_configuration(
        Bucket=name,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}},
    )
    return Shelf(Bucket(weed_server, name), "shared")


def test_what_object_lock_keeps_is_named_with_its_date_and_the_rest_goes(locked: Shelf) -> None:
    locked.fill(OWN[:1])
    planned = bucket_removal.plan(locked.cloud, locked.scope, data=True)
    told = "\n".join(bucket_removal.describe(locked.cloud, locked.scope, planned))
    assert "Object Lock (GOVERNANCE) keeps each version for 3 days" in told
    asked: list[str] = []
    call = locked.cloud.call
    locked.cloud.call = lambda service, operation, **more: (
        asked.append(operation) or call(service, operation, **more)
    )  # type: ignore[method-assign, func-returns-value]
    with pytest.raises(CloudError) as caught:
        locked.remove()
    until = datetime.now(timezone.utc) + timedelta(days=3)
    assert "3 versions of objects" in caught.value.message
    assert caught.value.message.count(OWN[0]) == 3
    assert f"Object Lock (GOVERNANCE) keeps it until {until:%Y-%m-%d}" in caught.value.message
    assert "down --data" in caught.value.next_step
    assert asked.count("delete_objects") == 1, "what S3 refuses is asked for once"
    assert len(locked.rows()[OWN[0]]) == 3, "the delete marker is gone"
    assert buckets.use_of(locked.scope, buckets.read_tags(locked.cloud, locked.scope)) == "shared", (
        "our settings stay, so that it can be repeated"
    )


def test_a_legal_hold_is_named(locked: Shelf) -> None:
    locked.s3.put_object_lock_configuration(
        Bucket=locked.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )
    locked.s3.put_object(Bucket=locked.bucket, Key=OWN[0], Body=b"1")
    locked.s3.put_object_legal_hold(Bucket=locked.bucket, Key=OWN[0], LegalHold={"Status": "ON"})
    locked.s3.put_object(Bucket=locked.bucket, Key=OWN[1], Body=b"1")
    with pytest.raises(CloudError, match="1 versions of objects") as caught:
        locked.remove()
    assert "legal hold" in caught.value.message
    assert list(locked.rows()) == [OWN[0]]
    locked.s3.put_object_legal_hold(Bucket=locked.bucket, Key=OWN[0], LegalHold={"Status": "OFF"})
    locked.remove()
    assert locked.rows() == {}


# --- an S3 that is busy, or refuses in its own words ---
def test_a_busy_s3_is_asked_again_for_a_while_and_then_named(
    shelf: Callable[[str], Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = shelf("shared")
    there.fill(OWN)
    call, tries = there.cloud.call, [0]

    def busy(service: str, operation: str, **request: Any) -> dict[str, Any]:
        if operation != "delete_objects" or tries[0] == until:
            return call(service, operation, **request)
        tries[0] += 1
        objects = request["Delete"]["Objects"]
        return {
            "Errors": [{**one, "Code": "SlowDown", "Message": "Please reduce your rate"} for one in objects]
        }

    monkeypatch.setattr(there.cloud, "call", busy)
    until = 100
    with pytest.raises(CloudError, match="S3 is busy"):
        there.remove()
    assert tries[0] == 2 * bucket_removal.PASSES, "a page for each prefix, and an end"
    assert len(there.rows()) == len(OWN)
    until = tries[0] = 2
    there.remove()
    assert there.rows() == {}


def test_a_refusal_is_told_in_the_words_of_s3(
    shelf: Callable[[str], Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = shelf("created")
    there.fill(OWN)
    call = there.cloud.call

    def deny(service: str, operation: str, **request: Any) -> dict[str, Any]:
        if operation != "delete_objects":
            return call(service, operation, **request)
        error = {"Code": "AccessDenied", "Message": "Mfa Authentication must be used for this request"}
        return {"Errors": [{**one, **error} for one in request["Delete"]["Objects"]]}

    monkeypatch.setattr(there.cloud, "call", deny)
    with pytest.raises(CloudError, match="Mfa Authentication must be used") as caught:
        there.remove()
    assert f"and {4 * len(OWN) - bucket_removal.MOST_NAMED} more" in caught.value.message
    assert there.exists()
