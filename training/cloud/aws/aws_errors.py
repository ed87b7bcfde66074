"""The errors that AWS, or the way to it, returns instead of an answer; each says the next command.

TrainingError
└── CloudError            the launcher ends with 1: the world's answer
    ├── NoCredentials     no credentials, expired or wrong ones
    ├── WrongClock        this computer's clock is so wrong that AWS accepts no signature
    ├── AccessDenied      a permission is missing, or a policy forbids it; `action` names it
    ├── ResourceNotFound  what was asked about does not exist
    ├── AlreadyExists     what was to be created exists already
    ├── NoResponse        throttled, 5xx, timed out: repeated for a while first; the outcome may be unknown
    ├── QuotaTooLow       a limit of the account
    ├── NoCapacity        AWS has no such machine at the moment
    └── Unsupported       this endpoint does not know the call (emulators, other clouds)
UsageError and ConfigurationError are the user's words: the launcher ends with 2.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...aws_access import advice, denials
from ...errors import TrainingError

_PROFILE = re.compile(r"iam ?instance ?profile", re.IGNORECASE)


class CloudError(TrainingError):
    """AWS did not do what was asked."""

    code = ""


class NoCredentials(CloudError):
    """There are no usable credentials."""


class WrongClock(CloudError):
    """AWS refuses signatures because this computer's clock is wrong."""


class AccessDenied(CloudError):
    """A permission is missing, or a policy forbids it."""

    action = ""
    can_be_granted = True  # by a policy of ours on the user or role


class ResourceNotFound(CloudError):
    """It does not exist."""


class AlreadyExists(CloudError):
    """It exists already."""


class NoResponse(CloudError):
    """No usable answer; the request may or may not have taken effect, unless `refused`."""

    refused = False  # throttled: surely without effect


class QuotaTooLow(CloudError):
    """The account may not have that much."""


class NoCapacity(CloudError):
    """AWS has none at the moment."""


class Unsupported(CloudError):
    """The endpoint does not know the call."""


NOT_ENABLED = (
    "If that is right, the region of aws.region may not be switched on in your account. "
    "Keys of AWS China and GovCloud count only there."
)
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html and its like.
THROTTLED = {
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "TooManyRequestsException",
    "SlowDown",
    "Client.RequestLimitExceeded",
}
FAULTS = {
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "ServiceUnavailable",
    "Unavailable",
    "ServiceFailure",
}
ACCESS = {
    "AuthFailure",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
    "UnrecognizedClientException",
    "OptInRequired",
}
DENIED = {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "403", "Forbidden"}
CAPACITY = {
    "InsufficientInstanceCapacity",
    "InsufficientCapacity",
    "SpotMaxPriceTooLow",
    "UnfulfillableCapacity",
}
QUOTA = {"MaxSpotInstanceCountExceeded", "VcpuLimitExceeded", "InstanceLimitExceeded", "TooManyBuckets"}
ABSENT = {
    "NoSuchEntity",
    "NoSuchBucket",
    "NoSuchKey",
    "NoSuchBucketPolicy",
    "NoSuchTagSet",
    "404",
    "NotFound",
    "ResourceNotFoundException",
    "ParameterNotFound",
    "NoSuchResourceException",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "OwnershipControlsNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
    "ObjectLockConfigurationNotFoundError",
    "NoSuchObjectLockConfiguration",
    "NoSuchObjectLegalHold",
    "ReplicationConfigurationNotFoundError",
}
PRESENT = {
    "EntityAlreadyExists",
    "InvalidGroup.Duplicate",
    "ResourceAlreadyExistsException",
    "BucketAlreadyOwnedByYou",
    "InvalidPermission.Duplicate",
}
UNSUPPORTED = {"NotImplemented", "InvalidAction", "UnknownOperationException", "501"}
# How STS, IAM and the JSON services say that a signature is too old or from the future; S3 has a code of its own.
CLOCK_WORDS = ("Signature expired", "Signature not yet current")
# AWS refuses signatures that are five minutes off (STS and S3: 15), often with a code that mentions keys.
MAX_SKEW_S = 300.0


def from_reply(response: Mapping[str, Any], action: str, now: datetime | None = None) -> CloudError:
    """Return the named error for an error reply; `action` is the permission it needs, as ec2:CreateFleet.

    now: this computer's time. For a refused signature it is compared with the date of the reply.
    """
    code = str(response.get("Error", {}).get("Code", ""))
    said = str(response.get("Error", {}).get("Message", ""))
    denial = denials.parse(said) if code in DENIED else None
    detail = (denial.text if denial else said)[:600]
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = f"{action}: {code or status}: {detail}".rstrip(": ")
    error = (
        _wrong_clock(response, code, detail, message, now)
        or (_denied(denial, message, action) if denial else None)
        or _named(code, status, message)
    )
    error.code = code
    return error


def _denied(denial: denials.Denial, message: str, action: str) -> AccessDenied:
    granted = f"Your user lacks {action}: ./launch.py doctor says how to give it."
    denied = AccessDenied(message, next_step=denials.next_step(denial, action, granted))
    denied.action, denied.can_be_granted = action, denial.can_be_granted
    return denied


def _wrong_clock(
    response: Mapping[str, Any], code: str, detail: str, message: str, now: datetime | None
) -> CloudError | None:
    """Return the error of a wrong clock if that is why the signature was refused."""
    skew_s = skew_of(response, now) if now is not None else 0.0
    is_off = abs(skew_s) > MAX_SKEW_S
    said = code in advice.CLOCK_CODES or any(words in detail for words in CLOCK_WORDS)
    blind = {"403", "Forbidden"}  # of HEAD, whose replies have no words
    if not said and not (is_off and code in ACCESS | advice.EXPIRED_CODES | blind):
        return None
    off = f"; this computer's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} AWS's"
    return WrongClock(message + (off if is_off else ""), next_step=advice.CLOCK)


def skew_of(response: Mapping[str, Any], now: datetime) -> float:
    """Return how far this computer's clock is ahead of the reply's date, in seconds; 0 where it has none."""
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return (now - email.utils.parsedate_to_datetime(headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError):
        return 0.0


def _named(code: str, status: int, message: str) -> CloudError:  # noqa: PLR0911 - one line a kind
    if code in THROTTLED or status == 429:
        throttled = NoResponse(message, next_step="AWS throttles this account: try again in a minute.")
        throttled.refused = True
        return throttled
    if code in advice.EXPIRED_CODES:
        return NoCredentials(
            message, next_step=f"{advice.EXPIRED}. Machines that run do not need your session."
        )
    if code in ACCESS or status == 401:
        return NoCredentials(message, next_step=f"{advice.LOGIN}. {NOT_ENABLED}")
    if code in QUOTA or code.endswith(("LimitExceeded", "LimitExceededException")):
        return QuotaTooLow(
            message, next_step="Ask for more in the Service Quotas console; ./launch.py doctor has the link."
        )
    if code in CAPACITY:
        return NoCapacity(message, next_step="Allow more aws.instance_types or zones, or: --market on-demand")
    if code in PRESENT or code.endswith(("AlreadyExistsException", ".Duplicate")):
        return AlreadyExists(message)
    if code in ABSENT or code.endswith((".NotFound", ".NotFoundException", ".Unknown")):
        return ResourceNotFound(message)
    if code in UNSUPPORTED:
        return Unsupported(message)
    if code in FAULTS or status >= 500:
        return NoResponse(message, next_step="AWS has a fault of its own: try again in a minute.")
    return CloudError(message)


def speaks_of_profile(text: str) -> bool:
    """Tell whether a message of EC2 is about an instance profile that it cannot take."""
    return bool(_PROFILE.search(text))
