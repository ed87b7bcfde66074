"""S3, or any store that speaks its language, as named byte streams. botocore is imported when one is opened.

Every request carries its SHA-256, so S3 refuses bytes that were garbled on the way. botocore's own retries are
off: one place (`retry.py`) decides which requests are repeated, and for how long.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .files import write_whole
from .s3_errors import named_errors
from .storage import (
    ALWAYS,
    CHUNK_BYTES,
    Body,
    Condition,
    Corrupt,
    ListedObject,
    NotFound,
    PreconditionFailed,
    Refused,
    Stored,
    StoreError,
    Unavailable,
    body_sha256,
    body_size,
    check_announced,
    check_key,
)

# A lost part is sent again here, a few times, so that it does not cost the parts before it.
PART_TRIES = 3
# A reply that drips slower than this (bytes/s, after a grace) is treated as none.
LOWEST_RATE_BPS = 50_000
DELETE_BATCH = 1000


class S3Settings(NamedTuple):
    """How to reach S3; sizes in bytes. `endpoint_url` None means Amazon's."""

    region: str | None = None
    endpoint_url: str | None = None
    accelerate: bool = False
    multipart_above: int = 64 << 20
    part_size: int = 32 << 20
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0


class S3Storage:
    """Keep objects in a bucket, below an optional prefix; one attempt per call."""

    def __init__(self, bucket: str, prefix: str = "", settings: S3Settings | None = None) -> None:
        self._bucket = bucket
        self._prefix = check_key(prefix) + "/" if prefix else ""
        self._settings = settings or S3Settings()
        with named_errors(f"open {self.url}"):
            self._client = _client(self._settings)

    @property
    def url(self) -> str:
        """Name the store as a user would type it."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def get(self, key: str, *, max_bytes: int) -> Stored:
        """Read a whole object of at most `max_bytes`."""
        with self._named_errors("read", key):
            reply = self._get_object(key)
            data = b"".join(_chunks(reply, key, max_bytes, self._settings.read_timeout_s))
        return Stored(data, reply["ETag"])

    def get_to_file(self, key: str, path: Path, *, max_bytes: int) -> None:
        """Stream an object into a local file, which appears whole or not at all."""
        with self._named_errors("read", key):
            reply = self._get_object(key)
            write_whole(path, _chunks(reply, key, max_bytes, self._settings.read_timeout_s))

    def put(self, key: str, body: Body, *, condition: Condition = ALWAYS, sha256: str | None = None) -> str:
        """Write an object, in parts if it is large, and return its ETag."""
        size = body_size(body)
        with self._named_errors("write", key):
            if size > self._settings.multipart_above:
                if condition != ALWAYS:
                    raise Refused(f"write {key}: {size} bytes are too many for a conditional write")
                return self._put_in_parts(key, body, sha256)
            conditions = _conditions(condition)
            try:
                return self._put_object(key, body, size, sha256 or body_sha256(body), conditions)
            except self._client.exceptions.ClientError as error:
                # S3 says "no such key" where an ETag was expected and the key is gone.
                if condition.if_match and error.response["Error"]["Code"] == "NoSuchKey":
                    raise PreconditionFailed(f"write {key}: it no longer exists") from error
                raise

    def list(self, prefix: str) -> Iterator[ListedObject]:
        """List the objects whose key starts with `prefix`, in key order."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with self._named_errors("list", prefix):
            for page in pages:
                for found in page.get("Contents", ()):
                    yield ListedObject(
                        found["Key"][len(self._prefix) :], found["Size"], found["LastModified"]
                    )

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; absent ones are no error."""
        for start in range(0, len(keys), DELETE_BATCH):
            batch = [{"Key": self._key(key)} for key in keys[start : start + DELETE_BATCH]]
            with self._named_errors("delete", batch[0]["Key"]):
                reply = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True}
                )
            for error in reply.get("Errors", ()):
                raise Refused(f"delete {error['Key']}: {error['Code']}: {error.get('Message', '')}")

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _named_errors(self, action: str, key: str) -> contextlib.AbstractContextManager[None]:
        from ..aws_access import session  # noqa: PLC0415 - botocore is loaded by now

        return named_errors(f"{action} {self.url}/{key}", session.renews_itself)

    def _get_object(self, key: str) -> dict[str, Any]:
        try:
            # With the checksum that it was put with, which botocore compares as it is read.
            reply: dict[str, Any] = self._client.get_object(
                Bucket=self._bucket, Key=self._key(key), ChecksumMode="ENABLED"
            )
        except self._client.exceptions.ClientError as error:
            # A caller who may list only below a prefix gets 403, not 404, for an object that does not exist.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 403 and not self._exists(key):
                raise NotFound(f"read {key}: no such object") from error
            raise
        return reply

    def _exists(self, key: str) -> bool:
        reply = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._key(key), MaxKeys=1)
        return any(found["Key"] == self._key(key) for found in reply.get("Contents", ()))

    def _put_object(self, key: str, body: Body, size: int, sha256: str, conditions: dict[str, str]) -> str:
        with _readable(body) as content:
            reply = self._client.put_object(
                Bucket=self._bucket,
                Key=self._key(key),
                Body=content,
                ContentLength=size,
                ChecksumSHA256=_base64(sha256),
                **conditions,
            )
        etag: str = reply["ETag"]
        return etag

    def _put_in_parts(self, key: str, body: Body, sha256: str | None) -> str:
        where = {"Bucket": self._bucket, "Key": self._key(key)}
        upload = self._client.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")
        where["UploadId"] = upload["UploadId"]
        digest = hashlib.sha256()
        try:
            parts = []
            for number, part in enumerate(_parts(body, self._settings.part_size), start=1):
                digest.update(part)
                parts.append(self._put_part(where, number, part))
            check_announced(key, digest.hexdigest(), sha256)
            reply = self._client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        except BaseException:
            # The bucket's lifecycle rule collects uploads that cannot be aborted now.
            with contextlib.suppress(StoreError), self._named_errors("abort", key):
                self._client.abort_multipart_upload(**where)
            raise
        etag: str = reply["ETag"]
        return etag

    def _put_part(self, where: dict[str, str], number: int, part: bytes) -> dict[str, Any]:
        checksum = _base64(hashlib.sha256(part).hexdigest())
        for tries_left in reversed(range(PART_TRIES)):
            try:
                with self._named_errors(f"write part {number} of", where["Key"]):
                    reply = self._client.upload_part(
                        **where, PartNumber=number, Body=part, ChecksumSHA256=checksum
                    )
                break
            except Unavailable:
                if not tries_left:
                    raise
        return {"ETag": reply["ETag"], "PartNumber": number, "ChecksumSHA256": checksum}


def _client(settings: S3Settings) -> Any:  # noqa: ANN401 - botocore makes its classes at run time
    from botocore.config import Config  # noqa: PLC0415 - half a second that a directory need not pay

    from ..aws_access import session  # noqa: PLC0415 - the same

    endpoint = session.endpoint_of("s3", settings.endpoint_url)
    own = endpoint is not None
    config = Config(
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=16,
        tcp_keepalive=True,
        # We send and check SHA-256 ourselves; other S3 servers do not know botocore's default CRCs.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if own else {"use_accelerate_endpoint": settings.accelerate},
    )
    return session.client("s3", settings.region, endpoint, config)


def _conditions(condition: Condition) -> dict[str, str]:
    if condition.if_absent:
        return {"IfNoneMatch": "*"}
    return {"IfMatch": condition.if_match} if condition.if_match is not None else {}


def _chunks(reply: dict[str, Any], key: str, max_bytes: int, grace_s: float) -> Iterator[bytes]:
    body, size, start = reply["Body"], 0, time.monotonic()
    announced = reply.get("ContentLength", 0)
    try:
        if announced > max_bytes:
            raise Corrupt(f"{key}: {announced} bytes, at most {max_bytes} expected; it was not read")
        while chunk := body.read(CHUNK_BYTES):
            size += len(chunk)
            if size > max_bytes:
                raise Corrupt(f"{key}: more than the {max_bytes} bytes expected; reading was stopped")
            if time.monotonic() - start > grace_s + size / LOWEST_RATE_BPS:
                raise Unavailable(f"{key}: the reply came slower than {LOWEST_RATE_BPS} bytes/s")
            yield chunk
    finally:
        body.close()
    if size != announced:
        raise Unavailable(f"{key}: the reply broke off after {size} of {announced} bytes")


def _parts(body: Body, part_size: int) -> Iterator[bytes]:
    if isinstance(body, Path):
        with body.open("rb") as file:
            while part := file.read(part_size):
                yield part
        return
    view = memoryview(body).cast("B")
    for start in range(0, view.nbytes, part_size):
        yield bytes(view[start : start + part_size])


@contextlib.contextmanager
def _readable(body: Body) -> Iterator[Any]:
    if isinstance(body, Path):
        with body.open("rb") as file:
            yield file
    else:
        yield bytes(body)


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()
