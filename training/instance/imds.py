"""The instance metadata service, version 2: tokens kept fresh, notices read, and a watcher that never dies.

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html and
.../instancedata-data-retrieval.html. A 404 means "no notice"; everything else that goes wrong means "not known now".
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import os
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal, NamedTuple

import urllib3

from ..errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

# Set in the environment of a unit on an EC2 instance; elsewhere nothing answers at the metadata address.
ON_INSTANCE = "F1TENTH_ON_INSTANCE"
ENDPOINT = "http://169.254.169.254"
ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"  # the AWS SDKs' own name for it
TOKEN_TTL_S = 21_600
# Renewed well before its end: a clock that was stepped must not leave us with a dead token.
TOKEN_USE_S = TOKEN_TTL_S * 0.8
TIMEOUT = urllib3.Timeout(connect=1.0, read=2.0)
POLL_S = 5.0
MAX_BYTES = 1 << 20
_OK, _UNAUTHORIZED, _NOT_FOUND = 200, 401, 404

Kind = Literal["interruption", "rebalance", "maintenance"]


class ImdsError(TrainingError):
    """The metadata service did not answer, or not as documented."""


class Notice(NamedTuple):
    """An event that AWS announces for this instance."""

    kind: Kind
    action: str  # terminate, stop, hibernate, a maintenance event's code, or "" for a rebalance
    at: datetime | None  # when it happens, or when it was noticed

    def __str__(self) -> str:
        """Return one phrase for logs."""
        when = "" if self.at is None else f" at {self.at:%H:%M:%S} UTC"
        return (
            f"spot {self.kind} notice: {self.action}{when}"
            if self.kind == "interruption"
            else f"{self.kind} notice{when}"
        )


class Imds:
    """Read metadata; safe to call from several threads.

    pool: tests put their own there; an unexpected call fails in it.
    """

    def __init__(self, pool: urllib3.PoolManager | None = None, endpoint: str | None = None) -> None:
        self._pool = pool or urllib3.PoolManager(retries=False, timeout=TIMEOUT)
        self._endpoint = (endpoint or os.environ.get(ENDPOINT_VARIABLE) or ENDPOINT).rstrip("/")
        self._token = ""
        self._token_until = 0.0
        self._lock = threading.Lock()
        self._dated: tuple[datetime, float] | None = (
            None  # its time in its last answer, and ours, monotonic, s
        )

    def now(self) -> datetime:
        """Return the time by the clock that dates the notices, as the service's last answer said it.

        The machine's own clock may be wrong: by this one a deadline is neither missed nor taken for past.
        """
        if self._dated is None:
            return datetime.now(timezone.utc)
        there, at = self._dated
        return there + timedelta(seconds=time.monotonic() - at)

    def get(self, path: str) -> str | None:
        """Return the text at /latest/<path>, None where there is none (404).

        Raises ImdsError for everything else.
        """
        response = self._request("GET", path, {"X-aws-ec2-metadata-token": self._fresh_token()})
        if response.status == _UNAUTHORIZED:
            self._token_until = 0.0
            response = self._request("GET", path, {"X-aws-ec2-metadata-token": self._fresh_token()})
        if response.status == _NOT_FOUND:
            return None
        if response.status != _OK:
            raise ImdsError(f"{self._endpoint}/latest/{path} answered {response.status}")
        return response.data[:MAX_BYTES].decode(errors="replace")

    def _fresh_token(self) -> str:
        with self._lock:
            if time.monotonic() >= self._token_until:
                response = self._request(
                    "PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL_S)}
                )
                if response.status != _OK:
                    raise ImdsError(f"{self._endpoint} gives no token: {response.status}")
                self._token = response.data.decode("ascii", errors="replace").strip()
                self._token_until = time.monotonic() + TOKEN_USE_S
            return self._token

    def _request(self, method: str, path: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        try:
            response = self._pool.request(method, f"{self._endpoint}/latest/{path}", headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise ImdsError(f"{self._endpoint} does not answer: {error}") from error
        with contextlib.suppress(TypeError, ValueError):
            there = email.utils.parsedate_to_datetime(str(response.headers.get("Date", "")))
            self._dated = there.astimezone(timezone.utc), time.monotonic()
        return response


def read_notices(imds: Imds) -> list[Notice]:
    """Return what is announced at the moment.

    Raises ImdsError if that cannot be known now.
    """
    notices = []
    text = imds.get("meta-data/spot/instance-action")
    if text is not None:
        document = _json(text)
        notices.append(Notice("interruption", str(document.get("action", "")), _time(document.get("time"))))
    text = imds.get("meta-data/events/recommendations/rebalance")
    if text is not None:
        notices.append(Notice("rebalance", "", _time(_json(text).get("noticeTime"))))
    text = imds.get("meta-data/events/maintenance/scheduled")
    events = [] if text is None else json.loads(text or "[]")
    active = [e for e in events if isinstance(e, dict) and e.get("State") == "active"]
    return notices + [
        Notice("maintenance", str(e.get("Code", "")), _time(e.get("NotBefore"))) for e in active
    ]


class Watcher(threading.Thread):
    """Ask every few seconds, report each notice once; after any error, ask again."""

    def __init__(
        self,
        imds: Imds,
        on_notice: Callable[[Notice], None],
        say: Callable[[str], None],
        *,
        poll_s: float = POLL_S,
    ) -> None:
        super().__init__(name="imds-watcher", daemon=True)
        self._imds, self._on_notice, self._say, self._poll_s = imds, on_notice, say, poll_s
        self._told: set[Notice] = set()
        self._silent = False
        self._stopping = threading.Event()

    def run(self) -> None:
        """Watch until `stop`."""
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(self._poll_s)

    def look(self) -> None:
        """Ask once."""
        try:
            notices = read_notices(self._imds)
            for notice in notices:
                if notice not in self._told:
                    self._told.add(notice)
                    self._on_notice(notice)
        except Exception as error:  # noqa: BLE001 - a watcher that dies is worse than one that errs once
            if not self._silent:
                self._say(f"spot notices cannot be read at the moment: {error}; asking on")
            self._silent = True
        else:
            if self._silent:
                self._say("spot notices can be read again")
            self._silent = False

    def stop(self) -> None:
        """End the thread at its next wait."""
        self._stopping.set()


def _json(text: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ImdsError(f"not JSON: {text[:200]!r}") from error
    if not isinstance(document, dict):
        raise ImdsError(f"not a JSON object: {text[:200]!r}")
    return document


def _time(value: object) -> datetime | None:
    """Return a time in either of the two forms that the service uses, None if it is in neither."""
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%d %b %Y %H:%M:%S GMT"):
        try:
            return datetime.strptime(str(value), form).replace(tzinfo=timezone.utc)
        except ValueError:
            continue
    return None
