"""EC2's history of a fleet, which moto does not know: which machine was launched, and terminated, when."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, NamedTuple

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response


class Event(NamedTuple):
    """One change of a machine, as EC2 tells it."""

    fleet: str
    instance: str
    kind: str  # launched | terminated
    at: datetime

    @property
    def record(self) -> dict[str, Any]:
        return {
            "EventType": "instance-change",
            "EventInformation": {"EventSubType": self.kind, "InstanceId": self.instance},
            "Timestamp": self.at,
        }


class FleetHistory:
    """What became of every machine of every fleet; moto answers from it as long as this is the newest one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.answers = 0
        history = self

        def describe_fleet_history(self: EC2Response) -> ActionResult:
            fleet = self._get_param("FleetId")
            history.answers += 1
            records = [event.record for event in history.events if event.fleet == fleet]
            return ActionResult({"FleetId": fleet, "HistoryRecords": records})

        # On the class that answers: tests.support.emulator has put its own there, which knows of no machine.
        EC2Response.describe_fleet_history = describe_fleet_history  # type: ignore[attr-defined]

    def add(self, fleet: str, instance: str, kind: str) -> None:
        """Note an event, once."""
        if not any((one.instance, one.kind) == (instance, kind) for one in self.events):
            self.events.append(Event(fleet, instance, kind, datetime.now(timezone.utc)))

    def ended(self, instance: str) -> None:
        """Note that a machine is terminated."""
        fleet = next((one.fleet for one in self.events if one.instance == instance), "")
        self.add(fleet, instance, "terminated")
