"""Machines that came and went without a trainer: the bucket has no record of them, so AWS is asked about them.

EC2 shows a terminated machine, with the reason, for an hour; the history of its fleet names it for two days.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from ... import layout
from ..aws.aws_errors import CloudError
from ..aws.client import Cloud
from ..aws.ownership import as_mapping, is_of_a_run
from ..aws.project import Project, tag
from .run_status import RunStatus

# In a row; f1tenth-fleet-check counts to the same number on a machine that reaches EC2, but not the bucket.
MOST_LOST = 3
ENDED = ("shutting-down", "terminated")
# Not by the machine's fault: capacity that AWS took back, or a person or fleet that ended it.
INTERRUPTED = ("Server.SpotInstanceShutdown", "Server.SpotInstanceTermination")
ENDED_ON_REQUEST = ("Client.UserInitiatedShutdown",)
MOST_CONSOLE_LINES = 3
ADVICE = (
    "Such machines end before they reach the bucket: look for a subnet without a way to S3 (no public address and no "
    "NAT gateway or S3 endpoint), a bucket policy that shuts them out, or an image that does not boot."
)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class LostMachine(NamedTuple):
    """A machine that ended without starting a trainer; fields that AWS does not report any more are empty."""

    id: str
    type: str
    zone: str
    launched_at: datetime
    ended_at: datetime | None
    reason: str

    @property
    def line(self) -> str:
        """Return one line for people."""
        where = " ".join(part for part in (self.type, self.zone) if part)
        after = ""
        if self.ended_at is not None:
            after = f" after {max((self.ended_at - self.launched_at).total_seconds(), 0.0) / 60:.0f} min"
        why = self.reason or "AWS gives no reason any more"
        return f"{self.id}{f', {where},' if where else ''} ended{after} without starting a trainer ({why})"


class _Seen(NamedTuple):
    machine: LostMachine
    has_ended: bool
    code: str


def lost_in_a_row(
    cloud: Cloud, project: Project, run: str, fleet_id: str, started: Collection[str]
) -> list[LostMachine]:
    """Return the machines of a fleet that were lost since its last one with a trainer, the newest last.

    started: the ids of machines on which a trainer of the run has started. Interrupted machines, and those that
    someone ended, are skipped.
    """
    described = _described(cloud, project, run, fleet_id)
    seen = _merged(described, _history(cloud, fleet_id))
    lost: list[LostMachine] = []
    for one in sorted(seen, key=lambda row: row.machine.launched_at, reverse=True):
        if one.machine.id in started:
            break
        if one.has_ended and one.code not in {*INTERRUPTED, *ENDED_ON_REQUEST}:
            lost.append(one.machine)
    return lost[::-1]


def lost_of(cloud: Cloud, project: Project, facts: RunStatus) -> list[LostMachine]:
    """Return the machines that a run's present launch has lost in a row; none where it has had no fleet."""
    if facts.intent is None or not facts.intent.fleet_id:
        return []
    started = {attempt.instance_id for attempt in facts.attempts}
    return lost_in_a_row(cloud, project, facts.run, facts.intent.fleet_id, started)


def console_words(cloud: Cloud, machine: LostMachine) -> list[str]:
    """Return what a machine's console said last of our programs, else its last lines; empty where it is not kept."""
    try:
        reply = cloud.call("ec2", "get_console_output", InstanceId=machine.id)
        text = base64.b64decode(reply.get("Output") or "").decode(errors="replace")
    except (CloudError, ValueError):
        return []
    lines = [_CONTROL.sub("", line).strip()[:200] for line in text.splitlines()]
    telling = [line for line in lines if "f1tenth-" in line]
    return (telling or [line for line in lines if line])[-MOST_CONSOLE_LINES:]


def too_many(lost: list[LostMachine]) -> str:
    """Return why no more machines are worth their money."""
    machines = "1 machine" if len(lost) == 1 else f"{len(lost)} machines in a row"
    return f"{machines} ended without starting a trainer, the last: {lost[-1].reason or 'no reason known'}"


def explain(cloud: Cloud, lost: list[LostMachine]) -> list[str]:
    """Return a report of lost machines: each one, the console output of the newest, and what to look for."""
    if not lost:
        return []
    return [
        *(one.line for one in lost),
        *(f"its console: {line}" for line in console_words(cloud, lost[-1])),
        ADVICE,
    ]


def _described(cloud: Cloud, project: Project, run: str, fleet_id: str) -> list[dict[str, Any]]:
    """Return a fleet's machines in any state, as long as EC2 shows them."""
    filters = [*project.filters, {"Name": f"tag:{layout.TAG_RUN}", "Values": [run]}]
    reservations = cloud.pages("ec2", "describe_instances", "Reservations", Filters=filters)
    machines = [machine for reservation in reservations for machine in reservation["Instances"]]
    ours = [one for one in machines if is_of_a_run(project, as_mapping(one.get("Tags")))]
    return [one for one in ours if tag(one, layout.TAG_FLEET_ID) in {"", fleet_id}]


def _history(cloud: Cloud, fleet_id: str) -> list[dict[str, Any]]:
    """Return the events of a fleet's machines; none where they may not, or cannot, be read."""
    since = datetime.fromisoformat("2020-01-01T00:00:00+00:00")  # before any fleet
    request = {"FleetId": fleet_id, "StartTime": since}
    try:
        records = list(cloud.pages("ec2", "describe_fleet_history", "HistoryRecords", **request))
    except CloudError:
        return []
    return [one for one in records if one.get("EventInformation", {}).get("InstanceId")]


def _merged(described: list[dict[str, Any]], records: list[dict[str, Any]]) -> list[_Seen]:
    at: dict[tuple[str, str], datetime] = {}
    for record in records:
        about = record["EventInformation"]
        at[about["InstanceId"], about.get("EventSubType", "")] = record["Timestamp"]
    seen = []
    for one in described:
        reason, id_ = one.get("StateReason") or {}, one["InstanceId"]
        code = str(reason.get("Code", ""))
        machine = LostMachine(
            id_,
            str(one.get("InstanceType", "")),
            str(one.get("Placement", {}).get("AvailabilityZone", "")),
            one["LaunchTime"],
            at.get((id_, "terminated")) or _transition(one),
            str(reason.get("Message", "")) or code or str(one.get("StateTransitionReason", "")),
        )
        seen.append(_Seen(machine, one["State"]["Name"] in ENDED, code))
    known = {row.machine.id for row in seen}
    launched = {id_: when for (id_, kind), when in at.items() if kind == "launched" and id_ not in known}
    for id_, when in launched.items():  # longer ago than EC2 shows them
        machine = LostMachine(id_, "", "", when, at.get((id_, "terminated")), "")
        seen.append(_Seen(machine, has_ended=True, code=""))
    return seen


def _transition(machine: dict[str, Any]) -> datetime | None:
    """Return when a machine's state last changed: EC2 writes "User initiated (2026-11-26 10:00:00 GMT)"."""
    words = str(machine.get("StateTransitionReason", ""))
    found = re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)", words)
    return None if found is None else datetime.fromisoformat(f"{found[1]}+00:00")
