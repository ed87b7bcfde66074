"""Turn what botocore raises into the named errors of the store: one table of what is worth repeating."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..aws_access import denials
from ..aws_access.advice import (
    CERTIFICATES,
    CLOCK,
    CLOCK_CODES,
    EXPIRED,
    EXPIRED_CODES,
    advice,
    is_bad_certificate,
)
from .storage import (
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
# garbled on the way.
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
}
# Of a machine's role, which is renewed by itself. Other credentials, a person has to renew: waiting is in vain.
RENEWED = {"CredentialRetrievalError", "MetadataRetrievalError"} | EXPIRED_CODES
NEXT_STEPS = {
    "NoSuchBucket": "Create it, or correct aws.s3_bucket_name.",
    "AccessDenied": "Check the role's permissions: ./launch.py doctor",
    "InvalidAccessKeyId": "Check the AWS credentials of this shell.",
    "SignatureDoesNotMatch": "Check the AWS credentials of this shell.",
    "PermanentRedirect": "The bucket is in another region: correct aws.region.",
    **dict.fromkeys(CLOCK_CODES, CLOCK),
    **dict.fromkeys(EXPIRED_CODES, EXPIRED),
}


def _never() -> bool:
    return False


@contextlib.contextmanager
def named_errors(what: str, renews_itself: Callable[[], bool] = _never) -> Iterator[None]:
    """Raise errors of the block as a `StoreError` that says what was being done.

    renews_itself: returns whether the credentials are renewed without a person, so that waiting for that helps.
    """
    from botocore.exceptions import (  # noqa: PLC0415 - boto3 comes late
        BotoCoreError,
        ClientError,
    )

    try:
        yield
    except StoreError:
        raise
    except ClientError as error:
        renewed = _code(error.response) in RENEWED and renews_itself()
        raise from_reply(error.response, what, renewed=renewed) from error
    except BotoCoreError as error:
        names = {ancestor.__name__ for ancestor in type(error).__mro__}
        message = f"{what}: {error}"
        if is_bad_certificate(error):
            raise Refused(message, next_step=CERTIFICATES) from error
        if names & TRANSIENT_EXCEPTIONS or (names & RENEWED and renews_itself()):
            raise Unavailable(message) from error
        raise Refused(message, next_step=advice(error)) from error


def _code(response: Mapping[str, Any]) -> str:
    return str(response.get("Error", {}).get("Code", ""))


def from_reply(response: Mapping[str, Any], what: str, *, renewed: bool = False) -> StoreError:
    """Return the error for an S3 reply, by its code, then by its HTTP status.

    renewed: the credentials have ended, and are renewed without a person.
    """
    code = _code(response)
    detail = response.get("Error", {}).get("Message", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"{what}: {code} (HTTP {status}) {detail}".rstrip()
    if code in CONFLICTS:
        return Conflict(message)
    if code == "PreconditionFailed" or status == 412:
        return PreconditionFailed(message)
    if renewed or code in TRANSIENT or status in TRANSIENT_STATUS:
        return Unavailable(message)
    if code in NOT_FOUND:
        return NotFound(message)
    next_step = NEXT_STEPS.get(code, "")
    if code == "AccessDenied":
        next_step = denials.next_step(denials.parse(detail), "this", next_step)
    return Refused(message, next_step=next_step)
