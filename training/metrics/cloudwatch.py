"""CloudWatch metrics: at most six, once a minute, in a thread of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from ..config import AwsSettings, CloudwatchSettings
from ..errors import ConfigurationError

INTERVAL_S = 60.0
# One send takes at most (5 + 10) s × 2 attempts, and only `close` waits for it.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S, ATTEMPTS = 5, 10, 2
CLOSE_TIMEOUT_S = 5.0

_UNITS = {"_percent": "Percent", "_gb": "Gigabytes", "_per_s": "Count/Second", "_s": "Seconds"}


def put_metric_data_request(
    namespace: str, run: str, values: Mapping[str, float], at: datetime
) -> dict[str, Any]:
    """Return the PutMetricData request of some curves' values, with the run as their dimension."""
    return {
        "Namespace": namespace,
        "MetricData": [
            {
                "MetricName": name,
                "Dimensions": [{"Name": "Run", "Value": run}],
                "Timestamp": at,
                "Value": value,
                "Unit": next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "None"),
            }
            for name, value in values.items()
        ],
    }


class CloudWatch:
    """Send the newest values of the chosen curves once a minute.

    A failure is reported once and stops nothing; the next minute is tried all the same.
    """

    def __init__(
        self,
        settings: CloudwatchSettings,
        aws: AwsSettings,
        run: str,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._aws = settings, aws
        self._run, self._say, self._clock = run, say, clock
        self._namespace = settings.namespace or aws.project_name
        self._latest: dict[str, float] = {}
        self._sent_at = clock() - INTERVAL_S
        self._thread: threading.Thread | None = None
        self._said = False
        self._client: Any = None

    def record(self, values: Mapping[str, float]) -> None:
        """Add values; hand them to the sender if a minute has passed and the last send is over."""
        self._latest.update({k: v for k, v in values.items() if k in self._settings.metrics})
        now = self._clock()
        busy = self._thread is not None and self._thread.is_alive()
        if not self._latest or busy or now - self._sent_at < INTERVAL_S:
            return
        self._sent_at = now
        latest, self._latest = self._latest, {}
        request = put_metric_data_request(self._namespace, self._run, latest, datetime.now(timezone.utc))
        self._thread = threading.Thread(target=self._send, args=(request,), name="cloudwatch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait a little for a send that is under way."""
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)

    def _send(self, request: dict[str, Any]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow, only by setting

        try:
            if self._client is None:
                self._client = self._connect()
            self._client.put_metric_data(**request)
        except (BotoCoreError, ClientError, ConfigurationError) as error:
            if not self._said:
                self._said = True
                self._say(
                    f"CloudWatch takes no metrics: {error}. Training continues; each minute is tried again."
                )

    def _connect(self) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        from botocore.config import Config as Settings  # noqa: PLC0415 - slow, only by setting

        from ..aws_access import session  # noqa: PLC0415 - the same

        limits = Settings(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        )
        return session.client("cloudwatch", self._aws.region, self._aws.endpoints.cloudwatch, limits)
