"""The log of a run's machines (boot, cloud-init, system), from CloudWatch, if the image sends it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import NamedTuple

from ... import layout
from ...store.storage import Storage
from ..aws import inventory
from ..aws.aws_errors import CloudError, ResourceNotFound
from ..console.wait_notices import WaitReporter
from ..context import CommandContext
from ..launch_record import ENDS
from .run_status import read_run_status

POLL_S = 5.0
OFF = (
    "This image sends none: bake one with monitoring_cloudwatch_enabled (docs/image.md). The run's own log: "
)


class LogLine(NamedTuple):
    """A line that a machine has logged, and its time."""

    at: datetime
    stream: str  # the machine and which of its logs: i-0123/cloud-init
    message: str

    @property
    def text(self) -> str:
        """Return the line for people."""
        return f"{self.at:%H:%M:%S} {self.stream}: {self.message}"

    def to_json_dict(self) -> dict[str, str]:
        """Return plain data for --json."""
        machine, _, log = self.stream.partition("/")
        return {"at": self.at.isoformat(), "instance_id": machine, "log": log, "line": self.message}


def follow(
    context: CommandContext,
    storage: Storage,
    run: str,
    write: Callable[[LogLine], object],
    *,
    until_end: bool,
) -> None:
    """Write what the machines of a run have logged, and with `until_end` what comes until it ends.

    Raises CloudError where there is nothing and nothing more is waited for.
    """
    cloud, seen = context.cloud, set[str]()
    reporter = WaitReporter(cloud)
    while True:
        state = read_run_status(storage, run, cloud.now()).state
        lines = list(_new_lines(context, _machine_ids(context, storage, run), seen))
        for line in lines:
            write(line)
            reporter.progress()
        if not until_end or state in ENDS:
            if not seen:
                raise CloudError(
                    f"CloudWatch has no log of a machine of {run}", next_step=f"{OFF}./launch.py logs {run}"
                )
            return
        reporter.explain(
            f"(nothing new in CloudWatch; the run is {state}; Ctrl-C ends the watching, not the run)"
        )
        cloud.clock.sleep(POLL_S)


def _machine_ids(context: CommandContext, storage: Storage, run: str) -> list[str]:
    """Return the machines that the run has had and has, in order."""
    known = [one.instance_id for one in read_run_status(storage, run, context.cloud.now()).attempts]
    known += [one["InstanceId"] for one in inventory.machines(context.cloud, context.project, run)]
    return list(dict.fromkeys(one for one in known if one))


def _new_lines(context: CommandContext, machines: list[str], seen: set[str]) -> Iterator[LogLine]:
    for machine in machines:
        try:
            events = list(
                context.cloud.pages(
                    "logs",
                    "filter_log_events",
                    "events",
                    logGroupName=layout.log_group_name(context.project.name),
                    logStreamNamePrefix=f"{machine}/",
                )
            )
        except ResourceNotFound:
            continue
        for event in sorted(events, key=lambda one: int(one["timestamp"])):
            if event["eventId"] not in seen:
                seen.add(event["eventId"])
                at = datetime.fromtimestamp(event["timestamp"] / 1000, tz=timezone.utc)
                yield LogLine(at, event["logStreamName"], event["message"].rstrip())
