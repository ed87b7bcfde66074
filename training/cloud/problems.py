"""What AWS, or the way to it, answers instead of what was asked; each says the next command.

TrainingError
└── CloudError            the launcher ends with 1: the world's answer
    ├── NoAccess          no credentials, expired or wrong ones
    ├── Denied            a permission is missing; `action` names it
    ├── Absent            what was asked about does not exist
    ├── Present           what was to be made exists already
    ├── Unanswered        throttled, 5xx, timed out: repeated for a while first; the outcome may be unknown
    ├── QuotaTooLow       a limit of the account
    ├── NoCapacity        AWS has no such machine at the moment
    └── Unsupported       this endpoint does not know the call (emulators, other clouds)
UsageError and ConfigurationError are the user's words: the launcher ends with 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.errors import TrainingError


class CloudError(TrainingError):
    """AWS did not do what was asked."""

    code = ""


class NoAccess(CloudError):
    """There are no usable credentials."""


class Denied(CloudError):
    """A permission is missing."""

    action = ""


class Absent(CloudError):
    """It does not exist."""


class Present(CloudError):
    """It exists already."""


class Unanswered(CloudError):
    """No usable answer; the request may or may not have taken effect, unless `refused`."""

    refused = False  # throttled: surely without effect


class QuotaTooLow(CloudError):
    """The account may not have that much."""


class NoCapacity(CloudError):
    """AWS has none at the moment."""


class Unsupported(CloudError):
    """The endpoint does not know the call."""


LOGIN = "Log in with `aws configure` or `aws sso login`, or set AWS_PROFILE; then: ./launch.py doctor"
NOT_ENABLED = "If that is right, the region of aws.region may not be switched on in your account."
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
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
ACCESS = {
    "AuthFailure",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
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
}
PRESENT = {
    "EntityAlreadyExists",
    "InvalidGroup.Duplicate",
    "ResourceAlreadyExistsException",
    "BucketAlreadyOwnedByYou",
    "InvalidPermission.Duplicate",
}
UNSUPPORTED = {"NotImplemented", "InvalidAction", "UnknownOperationException", "501"}
CLOCK = {"RequestTimeTooSkewed", "RequestInTheFuture"}


def from_reply(response: Mapping[str, Any], action: str) -> CloudError:
    """Return the named error for an error reply; `action` is the permission it needs, as ec2:CreateFleet."""
    code = str(response.get("Error", {}).get("Code", ""))
    detail = str(response.get("Error", {}).get("Message", ""))[:600]
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    error = _named(code, status, f"{action}: {code or status}: {detail}".rstrip(": "), action)
    error.code = code
    return error


def _named(code: str, status: int, message: str, action: str) -> CloudError:  # noqa: PLR0911, C901 - one line a kind
    if code in THROTTLED or status == 429:
        throttled = Unanswered(message, next_step="AWS throttles this account: try again in a minute.")
        throttled.refused = True
        return throttled
    if code in CLOCK:
        return CloudError(message, next_step="Set this computer's clock; then: ./launch.py doctor")
    if code in EXPIRED:
        return NoAccess(message, next_step=f"Your session has expired. {LOGIN}")
    if code in ACCESS or status == 401:
        return NoAccess(message, next_step=f"{LOGIN}. {NOT_ENABLED}")
    if code in DENIED:
        denied = Denied(
            message, next_step=f"Your user lacks {action}: ./launch.py doctor prints the policy to add."
        )
        denied.action = action
        return denied
    if code in QUOTA or code.endswith(("LimitExceeded", "LimitExceededException")):
        return QuotaTooLow(
            message, next_step="Ask for more in the Service Quotas console; ./launch.py doctor has the link."
        )
    if code in CAPACITY:
        return NoCapacity(message, next_step="Allow more aws.instance_types or zones, or: --market on-demand")
    if code in PRESENT or code.endswith(("AlreadyExistsException", ".Duplicate")):
        return Present(message)
    if code in ABSENT or code.endswith((".NotFound", ".NotFoundException", ".Unknown")):
        return Absent(message)
    if code in UNSUPPORTED:
        return Unsupported(message)
    if code in FAULTS or status >= 500:
        return Unanswered(message, next_step="AWS has a fault of its own: try again in a minute.")
    return CloudError(message)
