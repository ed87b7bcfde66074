"""Open a store by the name that a user types: a directory, or s3://bucket[/prefix]."""

from __future__ import annotations

from ..config import AwsSettings
from ..errors import UsageError
from ..process.user_account import expand
from .directory import DirectoryStorage
from .retry import RetryingStorage, RetryPolicy


def open_store(
    url: str, aws: AwsSettings | None = None, *, policy: RetryPolicy | None = None
) -> RetryingStorage:
    """Open a directory or s3://bucket[/prefix], with retries; `aws` gives region, endpoint, acceleration.

    Raises UsageError for any other scheme, and a `StoreError` if a directory cannot be made.
    """
    policy = policy or RetryPolicy()
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return RetryingStorage(DirectoryStorage(expand(rest or url)), policy)
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise UsageError(f"store {url!r} is neither a directory nor s3://bucket[/prefix]")
    from .s3 import S3Settings, S3Storage  # noqa: PLC0415 - its errors need botocore

    settings = (
        S3Settings(
            region=aws.region,
            endpoint_url=aws.endpoints.s3,
            accelerate=aws.s3_transfer_acceleration,
        )
        if aws
        else S3Settings()
    )
    return RetryingStorage(S3Storage(bucket, prefix.strip("/"), settings), policy)
