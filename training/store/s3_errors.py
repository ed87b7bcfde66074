"""Turn what botocore raises into the named errors of the store: one table of what is worth repeating."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from training.store.storage import (
    Conflict,
    NotFound,
    PreconditionFailed,
    Refused,
    StoreError,
    Unavailable,
)

NOT_FOUND = {"NoSuchKey", "404", "NotFound"}
CONFLICTS = {"ConditionalRequestConflict", "OperationAborted"}
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html: try again, or the bytes were
# garbled on the way, or credentials were just being renewed.
TRANSIENT = {
    "InternalError",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "BadDigest",
    "IncompleteBody",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "ExpiredToken",
    "ExpiredTokenException",
    "NoSuchUpload",  # the next try starts an upload of its own
}
TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}
# botocore's exceptions by name, so that this table can be read without importing it.
TRANSIENT_EXCEPTIONS = {
    "ConnectionError",
    "HTTPClientError",
    "IncompleteReadError",
    "FlexibleChecksumError",
    "ResponseParserError",
    "CredentialRetrievalError",
    "MetadataRetrievalError",
}
NEXT_STEPS = {
    "NoSuchBucket": "Create it, or correct aws.s3_bucket_name.",
    "AccessDenied": "Check the role's permissions: ./launch.py doctor",
    "InvalidAccessKeyId": "Check the AWS credentials of this shell.",
    "SignatureDoesNotMatch": "Check the AWS credentials of this shell.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "PermanentRedirect": "The bucket is in another region: correct aws.region.",
    "NoCredentialsError": "Log in to AWS (aws configure, aws sso login), or use a directory as the store.",
}


@contextlib.contextmanager
def named_errors(what: str) -> Iterator[None]:
    """Raise what happens inside as a `StoreError` that says what was being done."""
    from botocore.exceptions import (  # noqa: PLC0415 - boto3 comes late
        BotoCoreError,
        ClientError,
    )

    try:
        yield
    except StoreError:
        raise
    except ClientError as error:
        raise from_reply(error.response, what) from error
    except BotoCoreError as error:
        names = {ancestor.__name__ for ancestor in type(error).__mro__}
        if names & TRANSIENT_EXCEPTIONS:
            raise Unavailable(f"{what}: {error}") from error
        message = f"{what}: {error}"
        raise Refused(message, next_step=NEXT_STEPS.get(type(error).__name__, "")) from error


def from_reply(response: Mapping[str, Any], what: str) -> StoreError:
    """Return the error for an S3 reply, by its code, then by its HTTP status."""
    code = str(response.get("Error", {}).get("Code", ""))
    detail = response.get("Error", {}).get("Message", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"{what}: {code} (HTTP {status}) {detail}".rstrip()
    if code in CONFLICTS:
        return Conflict(message)
    if code == "PreconditionFailed" or status == 412:
        return PreconditionFailed(message)
    if code in TRANSIENT or status in TRANSIENT_STATUS:
        return Unavailable(message)
    if code in NOT_FOUND:
        return NotFound(message)
    return Refused(message, next_step=NEXT_STEPS.get(code, ""))
