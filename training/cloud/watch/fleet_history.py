"""AWS's own reasons why a fleet has no machine, out of its history."""

from __future__ import annotations

from typing import Any

from ..aws.client import Cloud

# The API's model spells event types with a hyphen, the examples in the CLI's reference in camel case:
# https://docs.aws.amazon.com/cli/latest/reference/ec2/describe-fleet-history.html. Both are understood.
INSTANCE_EVENTS = ("instance-change", "instanceChange")  # launched, terminated: no reason why one is missing
FLEET_EVENTS = ("fleet-change", "fleetRequestChange")  # submitted, active, progress: rarely a reason


def last_reason(cloud: Cloud, fleet: dict[str, Any]) -> str:
    """Return what AWS said last about a fleet's machines, "" where it said nothing.

    An error counts before a change of the fleet, whatever came later.
    """
    since = fleet.get("CreateTime", cloud.clock.now())
    records = cloud.pages(
        "ec2", "describe_fleet_history", "HistoryRecords", FleetId=fleet["FleetId"], StartTime=since
    )
    telling = [record for record in records if record.get("EventType") not in INSTANCE_EVENTS]
    errors = [record for record in telling if record.get("EventType") not in FLEET_EVENTS]
    newest = sorted(errors or telling, key=lambda record: str(record.get("Timestamp", "")))[-1:]
    return " ".join(_text(record) for record in newest)


def _text(record: dict[str, Any]) -> str:
    event = record.get("EventInformation", {})
    return " ".join(str(event[key]) for key in ("EventSubType", "EventDescription") if event.get(key))
