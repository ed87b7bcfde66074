"""The record of what a launcher will start, stored before any request to AWS: nothing half-made can be overlooked.

`runs/<run>/fleet.json` is written with If-None-Match, so of two laptops that launch one run the second is refused;
the instance reads it where its tag with the fleet's id is missing.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .. import layout
from ..errors import UsageError
from ..process.user_account import user_name
from ..store import documents
from ..store.documents import Launch, NonNegative, Versioned
from ..store.manifest import Count, RunName, Sha256, ShortText
from ..store.storage import Storage
from .aws.client import Cloud
from .aws.launch_requests import Market
from .aws.project import Project

EXPIRED = "expired"  # what the launcher calls a run whose fleet has ended by its date
ENDS = {"done", "stopped", "failed", EXPIRED}  # states in which a run has no fleet
LAUNCHING = "launching"  # the phase of a status that only the launcher has written
# A launch takes well under a minute from its intent to its fleet.
HALF_MADE_AFTER_S = 300.0
FleetId = Literal[""] | Annotated[str, Field(pattern=r"^fleet-[0-9a-f-]{8,60}$")]


class LaunchRecord(Versioned):
    """One launch of a run, and the fleet that came of it; `fleet_id` is empty until AWS has answered."""

    run: RunName
    launch: Launch
    by: ShortText
    region: ShortText = ""  # empty in older records
    account: ShortText = ""
    created_at: datetime
    valid_until: datetime
    market: Market
    relaunch: bool = True
    price_cap_usd_per_hour: NonNegative
    cap_usd: NonNegative
    bundle_sha256: Sha256
    image_id: ShortText
    at_step: Count | None = None
    # "g4dn.xlarge us-east-2a" → price at launch
    prices_usd_per_hour: Annotated[dict[str, NonNegative], Field(default_factory=dict)]
    price_source: ShortText = ""
    fleet_id: FleetId = ""
    fingerprint: ShortText | None = None  # of what decides whether a trainer accepts the launch

    ADDED: ClassVar[frozenset[str]] = frozenset({"fingerprint"})

    def price_of(self, instance_type: str, zone: str) -> float:
        """Return the price at launch of a machine, $/h; where it is not known, the most that it can be."""
        known = self.prices_usd_per_hour
        return known.get(f"{instance_type} {zone}", known.get(instance_type, self.price_cap_usd_per_hour))


def check_place(intent: LaunchRecord | None, project: Project) -> None:
    """Raise UsageError for a run that was launched in another region or account: its fleet cannot be seen from here.

    An older record, which does not say where, passes.
    """
    if intent is None or is_here(intent, project):
        return
    if intent.account and intent.account != project.account:
        raise UsageError(
            f"run {intent.run} was launched in account {intent.account}, your credentials are of {project.account}",
            next_step=f"Log in to account {intent.account}, or set AWS_PROFILE; then: ./launch.py status {intent.run}",
        )
    raise UsageError(
        f"run {intent.run} was launched in {intent.region}, aws.region = {project.region}",
        next_step=f"Look there: ./launch.py status {intent.run} --set aws.region={intent.region}",
    )


def is_here(intent: LaunchRecord, project: Project) -> bool:
    """Tell whether a run was launched in this region and account, as far as its record says."""
    return intent.region in {"", project.region} and intent.account in {"", project.account}


def read_launch_record(storage: Storage, run: str) -> LaunchRecord | None:
    """Read the record of a run's last launch; None if there is none."""
    return documents.read(storage, layout.fleet_key(run), LaunchRecord)


def write_launch_record(
    storage: Storage, intent: LaunchRecord, may_replace: Callable[[LaunchRecord], bool]
) -> LaunchRecord:
    """Take the run for this launch, or raise UsageError if another launch of it came first."""

    def change(current: LaunchRecord | None) -> LaunchRecord:
        if current is not None and not _same(current, intent) and not may_replace(current):
            raise UsageError(
                f"run {intent.run} was launched by {current.by} at {current.created_at:%H:%M:%S} UTC",
                next_step=f"Watch it: ./launch.py status {intent.run}. Or choose another --name.",
            )
        return intent

    return documents.update(storage, layout.fleet_key(intent.run), LaunchRecord, change)


def name_fleet(storage: Storage, intent: LaunchRecord, fleet_id: str) -> LaunchRecord:
    """Write down which fleet a launch has become."""

    def change(current: LaunchRecord | None) -> LaunchRecord:
        if current is not None and current.launch > intent.launch:
            return current
        return intent.model_copy(update={"fleet_id": fleet_id})

    return documents.update(storage, layout.fleet_key(intent.run), LaunchRecord, change)


def _same(one: LaunchRecord, other: LaunchRecord) -> bool:
    return (one.launch, one.by, one.created_at) == (other.launch, other.by, other.created_at)


def owner() -> str:
    """Return the user who launches, for tags and refusals; IAM takes letters, digits, some signs, but no backslash."""
    name = f"{user_name()}@{platform.node() or 'localhost'}"
    return re.sub(r"[^\w .:/=+@-]", "_", name)[:250]


def is_under_way(cloud: Cloud, storage: Storage, intent: LaunchRecord, us: str) -> bool:
    """Tell whether a launch without a fleet may still get one; us: the caller, whose own launches are not waited for.

    Its age is the store's date of fleet.json before AWS's present time: the clocks of the two laptops do not count.
    """
    if intent.by == us:
        return False
    key = layout.fleet_key(intent.run)
    written = next((entry.modified for entry in storage.list(key) if entry.key == key), None)
    return written is not None and (cloud.now() - written).total_seconds() < HALF_MADE_AFTER_S
