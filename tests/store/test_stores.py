"""Every store keeps the same promises: a directory, moto's S3, and seaweedfs, a real S3 server."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from tests.support.servers import Bucket
from training.config import AwsSettings
from training.errors import UsageError
from training.store.checkpoint import CheckpointData, claim, load
from training.store.open import open_store
from training.store.retry import RetryingStorage, RetryPolicy
from training.store.s3 import S3Settings, S3Storage
from training.store.storage import (
    IF_ABSENT,
    Corrupt,
    NotFound,
    PreconditionFailed,
    Refused,
    Storage,
    Stored,
    Unavailable,
    check_key,
    if_match,
)

QUICK = RetryPolicy(deadline_s=1.0, first_delay_s=0.01)


def opened(kind: str, request: pytest.FixtureRequest) -> Storage:
    if kind == "directory":
        return open_store(str(request.getfixturevalue("tmp_path") / "store"))
    bucket: Bucket = request.getfixturevalue("moto_url" if kind == "moto" else "weed_url")
    prefix = "/team/cars" if "prefix" in kind else ""
    return open_store(bucket.url + prefix, bucket.aws, policy=RetryPolicy(deadline_s=20))


@pytest.fixture(params=["directory", "moto", "seaweedfs", "seaweedfs below a prefix"])
def store(request: pytest.FixtureRequest) -> Storage:
    return opened(request.param, request)


@pytest.fixture(params=["directory", "seaweedfs"])
def checking_store(request: pytest.FixtureRequest) -> Storage:
    """Leave out moto, which accepts wrong checksums."""
    store = opened(request.param, request)
    assert isinstance(store, RetryingStorage)
    return store.inner


def test_what_was_put_is_got(store: Storage, tmp_path: Path) -> None:
    etag = store.put("a/b", b"hello")
    assert store.get("a/b", max_bytes=5) == Stored(b"hello", etag)
    store.get_to_file("a/b", tmp_path / "copy", max_bytes=5)
    assert (tmp_path / "copy").read_bytes() == b"hello"


def test_files_and_views_are_bodies_too(store: Storage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    store.put("file", tmp_path / "file", sha256=hashlib.sha256(b"from a file").hexdigest())
    store.put("view", memoryview(b"__view__")[2:6])
    assert store.get("file", max_bytes=100).data == b"from a file"
    assert store.get("view", max_bytes=100).data == b"view"


def test_an_empty_object_is_an_object(store: Storage) -> None:
    store.put("empty", b"")
    assert store.get("empty", max_bytes=0).data == b""


def test_a_missing_object_is_named(store: Storage) -> None:
    with pytest.raises(NotFound, match="no/such"):
        store.get("no/such", max_bytes=1)


def test_only_one_of_two_creators_wins(store: Storage) -> None:
    store.put("once", b"first", condition=IF_ABSENT)
    with pytest.raises(PreconditionFailed):
        store.put("once", b"second", condition=IF_ABSENT)
    assert store.get("once", max_bytes=10).data == b"first"


def test_a_swap_needs_the_etag_last_seen(store: Storage) -> None:
    first = store.put("pointer", b"one")
    second = store.put("pointer", b"two", condition=if_match(first))
    with pytest.raises(PreconditionFailed):
        store.put("pointer", b"three", condition=if_match(first))
    assert store.get("pointer", max_bytes=10) == Stored(b"two", second)


def test_a_swap_of_what_is_gone_fails(store: Storage) -> None:
    store.put("beside", b"")  # seaweedfs answers 500 where the whole folder is gone
    etag = store.put("pointer", b"one")
    store.delete(["pointer"])
    with pytest.raises(PreconditionFailed):
        store.put("pointer", b"two", condition=if_match(etag))


def test_an_object_larger_than_expected_is_not_read(store: Storage) -> None:
    store.put("large", b"x" * 1000)
    with pytest.raises(Corrupt, match="1000 bytes, at most 999"):
        store.get("large", max_bytes=999)


def test_listing_is_in_order_and_deleting_is_complete(store: Storage) -> None:
    for key in ("list/b", "list/a/2", "list/a/1", "lister/z"):
        store.put(key, b"12")
    assert [(entry.key, entry.size) for entry in store.list("list/")] == [
        ("list/a/1", 2),
        ("list/a/2", 2),
        ("list/b", 2),
    ]
    store.delete(["list/b", "list/a/1", "list/never"])
    assert [entry.key for entry in store.list("list/")] == ["list/a/2"]
    assert [entry.key for entry in store.list("nothing/here/")] == []


def test_a_body_that_is_not_what_was_announced_is_refused(checking_store: Storage) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises((Corrupt, Unavailable)):
        checking_store.put("torn", b"body", sha256=other)
    with pytest.raises(NotFound):
        checking_store.get("torn", max_bytes=10)


@pytest.mark.parametrize(
    "key", ["../escape", "/absolute", "a//b", ".hidden", "a/../b", "a/.tmp-1", "a\nb", "", "a" * 801]
)
def test_a_key_that_could_leave_the_store_is_refused(key: str) -> None:
    with pytest.raises(Refused, match="not allowed"):
        check_key(key)


def test_a_large_object_goes_up_in_parts(weed_url: Bucket, tmp_path: Path) -> None:
    settings = S3Settings(
        region="us-east-1", endpoint_url=weed_url.endpoint, multipart_above=6 << 20, part_size=5 << 20
    )
    store = S3Storage(weed_url.name, settings=settings)
    data = bytes(range(256)) * (12 << 12)
    (tmp_path / "large").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    store.put("from-file", tmp_path / "large", sha256=digest)
    store.put("from-memory", data, sha256=digest)
    assert store.get("from-file", max_bytes=len(data)).data == data
    assert store.get("from-memory", max_bytes=len(data)).data == data
    with pytest.raises(Corrupt, match="it changed"):
        store.put("changed", data, sha256="0" * 64)
    with pytest.raises(NotFound):
        store.get("changed", max_bytes=len(data))
    with pytest.raises(Refused, match="conditional"):
        store.put("conditional", data, condition=IF_ABSENT)


def test_a_missing_bucket_is_refused_with_what_to_do(moto_url: Bucket) -> None:
    store = open_store("s3://no-such-bucket-here", moto_url.aws, policy=QUICK)
    with pytest.raises(Refused, match="Create it, or correct") as refusal:
        store.get("a", max_bytes=1)
    assert refusal.value.exit_code == 78


@pytest.mark.usefixtures("credentials")
def test_nobody_at_home_is_repeated_until_the_deadline() -> None:
    aws = AwsSettings.model_validate({"region": "us-east-1", "endpoints": {"s3": "http://127.0.0.1:9"}})
    with pytest.raises(Unavailable, match=r"gave up after \d+ attempts"):
        open_store("s3://bucket", aws, policy=QUICK).get("a", max_bytes=1)


def test_missing_credentials_are_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Refused, match="Log in with `aws configure`"):
        open_store("s3://bucket", AwsSettings(), policy=QUICK).get("a", max_bytes=1)


@pytest.mark.usefixtures("credentials")
def test_transfer_acceleration_is_a_setting() -> None:
    store = S3Storage("my-bucket", settings=S3Settings(region="us-east-1", accelerate=True))
    url = store._client.generate_presigned_url("get_object", Params={"Bucket": "my-bucket", "Key": "k"})
    assert url.startswith("https://my-bucket.s3-accelerate.amazonaws.com/")


@pytest.mark.parametrize("url", ["gs://bucket", "s3://", "http://x/y"])
def test_other_schemes_are_no_stores(url: str) -> None:
    with pytest.raises(UsageError, match="neither a directory nor"):
        open_store(url)


def test_a_run_is_committed_and_resumed_in_every_store(store: Storage) -> None:
    claim(store, "run-a", "sac", 1).commit(100, CheckpointData({"w": b"1", "v": b"2"}, meta={"n": 1}))
    again = claim(store, "run-a", "sac", 2)
    assert again.load().read("v") == b"2"
    again.commit(200, CheckpointData({"w": b"3"}))
    assert load(store, "run-a", "sac").step == 200


def test_a_read_comes_with_the_checksum_that_the_object_was_put_with(weed_url: Bucket) -> None:
    store = S3Storage(weed_url.name, settings=S3Settings("us-east-1", weed_url.endpoint))
    store.put("a", b"body")
    reply = store._get_object("a")
    reply["Body"].close()
    assert reply["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"body").digest()).decode()
