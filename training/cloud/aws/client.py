"""Send requests to AWS: one place for endpoints, time-outs, retries, errors and saying what is waited for."""

from __future__ import annotations

import contextlib
import difflib
import email.utils
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from ...aws_access.advice import CERTIFICATES, advice, is_bad_certificate
from ...config import AwsSettings
from ...errors import ConfigurationError, TrainingError, UsageError
from ..console.wait_notices import SILENCE_S
from .aws_errors import CloudError, NoCredentials, NoResponse, WrongClock, from_reply
from .partition import check_partition

DEADLINE_S = 60.0
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 8.0
# The Pricing API has few homes; this one serves all regions.
PRICING_REGION = "us-east-1"
# By the name of botocore's exception: AWS, or the service that stands in for it, cannot be reached at the moment.
UNREACHED = {
    "EndpointConnectionError": "Check the network, and that aws.region = {region} is a region of AWS.",
    "ProxyConnectionError": "Check the proxy of HTTPS_PROXY or HTTP_PROXY.",
    "ConnectionError": "Check the network and try again.",
    "HTTPClientError": "Check the network and try again.",
    "IncompleteReadError": "Check the network and try again.",
}
_ENDPOINT_NAMES = {"service-quotas": "quotas"}


class Clock(NamedTuple):
    """Time, which tests replace."""

    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Cloud:
    """AWS of one account and region, as the settings say; UsageError for a region where the launcher does not work."""

    def __init__(
        self, aws: AwsSettings, say: Callable[[str], None] = print, clock: Clock | None = None
    ) -> None:
        check_partition(aws.region)
        self.aws, self.say, self.clock = aws, say, clock or Clock()
        self._clients: dict[str, Any] = {}
        self._dated: tuple[datetime, float] | None = (
            None  # AWS's time in its last answer, and ours, monotonic, s
        )

    def now(self) -> datetime:
        """Return the time by AWS's clock, as its last answer said it; by this computer's before there is one.

        Dates that AWS or another computer wrote are compared with this time, never with our own clock.
        """
        if self._dated is None:
            return self.clock.now()
        there, at = self._dated
        return there + timedelta(seconds=self.clock.monotonic() - at)

    def call(
        self,
        service: str,
        operation: str,
        *,
        repeat_unknown: bool = True,
        **request: Any,  # noqa: ANN401 - what the operation takes
    ) -> dict[str, Any]:
        """Repeat a request until it is answered, for at most a minute; raise a `CloudError` for any other answer.

        Nearly every creation here has a name of its own, so a repetition after a lost reply is answered by
        `AlreadyExists`. For the others, `repeat_unknown=False` raises `NoResponse` at once if the outcome is
        unknown.
        """
        start = spoken = self.clock.monotonic()
        delay = FIRST_DELAY_S
        while True:
            try:
                return self.send(service, operation, request)
            except NoResponse as error:
                now = self.clock.monotonic()
                if (not repeat_unknown and not error.refused) or now + delay > start + DEADLINE_S:
                    raise
                if now + delay > spoken + SILENCE_S:
                    self.say(f"AWS answers {error.message}; asking again, for {DEADLINE_S:.0f} s in all")
                    spoken = now
            self.clock.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY_S)

    def pages(self, service: str, operation: str, key: str, **request: Any) -> Iterator[Any]:  # noqa: ANN401 - any request
        """Yield the items of a list that AWS answers in pages."""
        while True:
            reply = self.call(service, operation, **request)
            yield from reply.get(key, ())
            token = reply.get("NextToken") or reply.get("nextToken")
            if token:
                request = {**request, ("NextToken" if "NextToken" in reply else "nextToken"): token}
            elif reply.get("IsTruncated") and reply.get("Marker"):
                request = {**request, "Marker": reply["Marker"]}
            else:
                return

    def send(self, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request once; tests put their faults here."""
        from botocore.exceptions import (  # noqa: PLC0415 - half a second that --help need not pay
            BotoCoreError,
            ClientError,
            ParamValidationError,
        )
        from botocore.parsers import ResponseParserError  # noqa: PLC0415

        action = permission(service, operation)
        try:
            reply: dict[str, Any] = getattr(self.client(service), operation)(**request)
        except ClientError as error:
            raise from_reply(error.response, action, self.clock.now()) from error
        except ParamValidationError as error:
            raise ConfigurationError(f"{action}: {error}") from error
        except ResponseParserError as error:  # a proxy's or a hotel's page instead of AWS's answer
            raise NoResponse(
                f"{action}: an answer that is not AWS's: {str(error)[:200]}",
                next_step="Check the network: does something stand between this computer and AWS?",
            ) from error
        except BotoCoreError as error:
            raise _unsent(error, action, self.aws) from error
        self._note_date(reply)
        return reply

    def _note_date(self, reply: dict[str, Any]) -> None:
        date = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        with contextlib.suppress(TypeError, ValueError):
            there = email.utils.parsedate_to_datetime(date).astimezone(timezone.utc)
            self._dated = there, self.clock.monotonic()

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        """Return the client of a service, made once; before the first, credentials are fetched."""
        if not self._clients:
            self._fetch_credentials(service)
        if service not in self._clients:
            self._clients[service] = _client(service, self.aws)
        return self._clients[service]

    def _fetch_credentials(self, service: str) -> None:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - half a second that --help need not pay

        from ...aws_access import session  # noqa: PLC0415 - the same
        from ..console.wait_notices import heartbeat  # noqa: PLC0415 - which imports this module

        try:
            with heartbeat(
                self.say, "  still waiting for credentials: a credential_process, a login or an MFA code"
            ):
                session.fetch_credentials(self.aws.region)
        except BotoCoreError as error:
            why = _unsent(error, service, self.aws)
            if isinstance(why, NoResponse):  # not to be repeated: that would ask for an MFA code again
                why = NoCredentials(why.message, next_step=why.next_step)
            raise why from error


def permission(service: str, operation: str) -> str:
    """Return the IAM action that an operation needs, for people: create_fleet of ec2 is ec2:CreateFleet."""
    prefix = {"service-quotas": "servicequotas"}.get(service, service)
    special = {
        "list_objects_v2": "ListBucket",
        "head_bucket": "ListBucket",
        "head_object": "GetObject",
        "list_object_versions": "ListBucketVersions",
        "delete_objects": "DeleteObject",
        "get_bucket_encryption": "GetEncryptionConfiguration",
        "put_bucket_encryption": "PutEncryptionConfiguration",
        "get_public_access_block": "GetBucketPublicAccessBlock",
        "put_public_access_block": "PutBucketPublicAccessBlock",
        "get_bucket_lifecycle_configuration": "GetLifecycleConfiguration",
        "put_bucket_lifecycle_configuration": "PutLifecycleConfiguration",
        "delete_bucket_lifecycle": "PutLifecycleConfiguration",
        "delete_bucket_tagging": "PutBucketTagging",
        "get_object_lock_configuration": "GetBucketObjectLockConfiguration",
        "get_bucket_replication": "GetReplicationConfiguration",
        "list_multipart_uploads": "ListBucketMultipartUploads",
        "get_bucket_accelerate_configuration": "GetAccelerateConfiguration",
        "put_bucket_accelerate_configuration": "PutAccelerateConfiguration",
    }
    name = special.get(operation) or "".join(part.capitalize() for part in operation.split("_"))
    return f"{prefix}:{name}"


def _client(service: str, aws: AwsSettings) -> Any:  # noqa: ANN401 - botocore makes its classes at run time
    from botocore.config import Config  # noqa: PLC0415 - half a second that --help need not pay
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    from ...aws_access import session  # noqa: PLC0415

    try:
        endpoint = endpoint_of(service, aws)
        config = Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": 1, "mode": "standard"},  # `call` repeats, and says so
            s3={"addressing_style": "path"} if endpoint else {},
        )
        region = aws.region if service != "pricing" or endpoint else PRICING_REGION
        return session.client(service, region, endpoint, config)
    except BotoCoreError as error:
        raise _unsent(error, service, aws) from error


def endpoint_of(service: str, aws: AwsSettings) -> str | None:
    """Return the address of a service that the settings or the user's AWS configuration name; None: Amazon's."""
    from ...aws_access import session  # noqa: PLC0415 - half a second that --help need not pay

    return session.endpoint_of(service, getattr(aws.endpoints, _ENDPOINT_NAMES.get(service, service)))


def _regions() -> list[str]:
    """Return all regions that this version of botocore knows."""
    from ...aws_access.session import session  # noqa: PLC0415 - half a second that --help need not pay

    known = session()
    return [
        name
        for partition in known.get_available_partitions()
        for name in known.get_available_regions("ec2", partition_name=partition)
    ]


def check_region(name: str) -> None:
    """Raise UsageError for a region that this version of boto3 does not know."""
    check_partition(name)
    if name not in _regions():
        raise _no_region(name)


def _is_no_region(aws: AwsSettings) -> bool:
    """Tell whether a failure to connect comes from a misspelt region; asked only then, for AWS adds new ones."""
    return endpoint_of("ec2", aws) is None and aws.region not in _regions()


def _no_region(name: str) -> UsageError:
    near = difflib.get_close_matches(name, _regions(), n=3, cutoff=0.7)
    return UsageError(
        f"aws.region = {name!r} is no region of AWS",
        next_step=f"Did you mean {' or '.join(near)}?"
        if near
        else "For example us-east-2; see docs/aws_setup.md.",
    )


def _no_credentials(error: Exception, message: str, next_step: str) -> CloudError:
    """Return the error for credentials that could not be fetched; a wrong clock may have kept AWS from giving any."""
    reply = getattr(error.__cause__, "response", None)
    if reply:
        why = from_reply(reply, message, datetime.now(timezone.utc))
        if isinstance(why, WrongClock):
            return why
    return NoCredentials(message, next_step=next_step)


def _unsent(error: Exception, action: str, aws: AwsSettings) -> TrainingError:
    names = {ancestor.__name__ for ancestor in type(error).__mro__}
    message, next_step = f"{action}: {error}", advice(error)
    if next_step:
        return _no_credentials(error, message, next_step)
    if "ProfileNotFound" in names:
        return ConfigurationError(
            f"{error}", next_step="Correct AWS_PROFILE; `aws configure list-profiles` has the names."
        )
    if is_bad_certificate(error):
        return CloudError(message, next_step=CERTIFICATES)
    if "EndpointConnectionError" in names and _is_no_region(aws):
        return _no_region(aws.region)
    next_step = next((step for name, step in UNREACHED.items() if name in names), "")
    if next_step:
        return NoResponse(message, next_step=next_step.format(region=aws.region))
    return CloudError(message)
