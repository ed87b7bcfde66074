"""The known facts of a run: state, attempts, speed, money. Read from the store and from EC2."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from ... import layout
from ...store.documents import Attempt, Status, read_attempts, read_status
from ...store.fencing import read_pointer
from ...store.manifest import Pointer
from ...store.restore import history
from ...store.storage import NotFound, Storage
from ..aws import inventory
from ..aws.aws_errors import CloudError, speaks_of_profile
from ..aws.client import Cloud
from ..aws.prices import describe_age
from ..aws.project import Project
from ..launch_record import ENDS, EXPIRED, LAUNCHING, LaunchRecord, read_launch_record
from . import fleet_history

PUT_USD, GET_USD = 0.005 / 1000, 0.0004 / 1000  # S3 standard, us-east-1 and us-east-2
CONTROL_POLL_S = 5.0  # the interval at which the trainer reads control.json: nearly all that it reads
KINDS = ("sac", "sac_multiagent")


class RunStatus(NamedTuple):
    """Everything that `status`, `list` and `cost` show of one run."""

    run: str
    status: Status | None
    intent: LaunchRecord | None
    attempts: tuple[Attempt, ...]
    checkpoint_step: int | None
    checkpoint_at: datetime | None
    now: datetime
    total_steps: int | None = None
    trained_s: float | None = (
        None  # of training in the newest checkpoint, all attempts together, lost work not counted
    )
    max_minutes: float | None = None  # of training, after which the run ends

    @property
    def state(self) -> str:
        """Return the run's state in one word."""
        if self.status is None:
            return "half-made" if self.intent is not None else "unknown"
        if self.expired:
            return EXPIRED
        return self.status.state

    @property
    def phase(self) -> str:
        """Return the run's phase, empty where it names none; the launcher's own phase outlives the launch."""
        phase = self.status.phase if self.status else ""
        return "" if phase == LAUNCHING and self.state != "pending" else phase

    @property
    def expired(self) -> bool:
        """Tell whether the fleet's end date has passed before the run was done: no machine was left to report it."""
        unfinished = self.status is not None and self.status.state in {"pending", "running"}
        return unfinished and self.intent is not None and self.now >= self.intent.valid_until

    @property
    def begun_at(self) -> datetime | None:
        """Return when the run was last launched, or first booted where no launcher did it; None if unknown."""
        if self.intent is not None:
            return self.intent.created_at
        return self.attempts[0].started_at if self.attempts else None

    @property
    def paid_s(self) -> float:
        """Return the seconds that machines were up, all attempts together."""
        return sum(self.length_s(attempt) for attempt in self.attempts)

    @property
    def cost_usd(self) -> float:
        """Return what the machines have cost so far, by the prices of their attempts."""
        return sum(self.length_s(one) * self.price(one) / 3600 for one in self.attempts)

    @property
    def steps(self) -> int:
        """Return the timesteps that are safe in a checkpoint."""
        recorded = max((attempt.last_step for attempt in self.attempts), default=0)
        return max(self.checkpoint_step or 0, recorded)

    @property
    def checkpointed(self) -> bool:
        """Tell whether something durable exists."""
        return self.checkpoint_at is not None

    @property
    def steps_per_s(self) -> float | None:
        """Return the mean speed of training, boots and lost work left out; None before the first checkpoint."""
        return self.checkpoint_step / self.trained_s if self.checkpoint_step and self.trained_s else None

    @property
    def goodput(self) -> float | None:
        """Return the share of the paid time that was training and was kept."""
        return min(self.trained_s / self.paid_s, 1.0) if self.trained_s and self.paid_s else None

    def usd_until(self, moment: datetime) -> float:
        """Return what the machines had cost by then."""
        return sum(
            min(max((moment - one.started_at).total_seconds(), 0.0), self.length_s(one))
            * self.price(one)
            / 3600
            for one in self.attempts
        )

    @property
    def hours_to_go(self) -> float | None:
        """Return the hours until the last step at the present speed, or until training.max_minutes; None if unknown."""
        speed = self.steps_per_s
        if speed is None or self.total_steps is None or self.state not in {"pending", "running"}:
            return None
        hours = max(self.total_steps - self.steps, 0) / speed / 3600
        if self.max_minutes is None:
            return hours
        return min(hours, max(self.max_minutes / 60 - (self.trained_s or 0.0) / 3600, 0.0))

    @property
    def usd_to_go(self) -> float | None:
        """Return what the rest will cost at the present speed and price."""
        hours = self.hours_to_go
        return None if hours is None else hours * self.price(self.attempts[-1])

    @property
    def hours_left(self) -> float | None:
        """Return the hours until the fleet ends, None for a run without one or an ended run."""
        if self.intent is None or self.state not in {"pending", "running"}:
            return None
        return max((self.intent.valid_until - self.now).total_seconds() / 3600, 0.0)

    def last_step(self, attempt: Attempt) -> int:
        """Return the last step of an attempt that was saved; one that was lost could not say it itself."""
        later = [one.first_step for one in self.attempts if one.number > attempt.number]
        return max(attempt.last_step, min(later, default=self.checkpoint_step or 0))

    def length_s(self, attempt: Attempt) -> float:
        """Return how long an attempt's machine was up, in seconds."""
        end = attempt.ended_at
        if end is None:
            # An attempt that could not say when it ended: after its last sign of life, before the next one began.
            later = [one.started_at for one in self.attempts if one.number > attempt.number]
            end = min(later, default=self._open_end)
            if later and attempt.seen_at is not None:
                end = min(end, attempt.seen_at)
        return max((end - attempt.started_at).total_seconds(), 0.0)

    @property
    def _open_end(self) -> datetime:
        ends = [self.now]
        if self.intent is not None:
            ends.append(self.intent.valid_until)
        if self.status is not None and self.status.state in ENDS:
            ends.append(self.status.changed_at)
        return min(ends)

    def price(self, attempt: Attempt) -> float:
        """Return the dollars per hour of an attempt's machine, as far as they are known."""
        if attempt.price_usd_per_hour or attempt.purchase == "local" or self.intent is None:
            return attempt.price_usd_per_hour
        return self.intent.price_of(attempt.instance_type, attempt.availability_zone)

    def to_json_dict(self) -> dict[str, Any]:
        """Return plain data for --json."""
        return {
            "run": self.run,
            "state": self.state,
            "phase": self.phase,
            "reason": self.status.reason if self.status else "",
            "steps": self.steps,
            "steps_per_s": self.steps_per_s,
            "checkpoint_age_s": (self.now - self.checkpoint_at).total_seconds()
            if self.checkpoint_at
            else None,
            "attempts": [
                {
                    **attempt.model_dump(mode="json"),
                    "usd": round(self.length_s(attempt) * self.price(attempt) / 3600, 4),
                }
                for attempt in self.attempts
            ],
            "cost_usd": round(self.cost_usd, 4),
            "total_steps": self.total_steps,
            "hours_to_go": self.hours_to_go,
            "usd_to_go": self.usd_to_go,
            "cap_usd": self.intent.cap_usd if self.intent else None,
            "hours_left": self.hours_left,
            "fleet_id": self.intent.fleet_id if self.intent else "",
            "region": self.intent.region if self.intent else "",
            "account": self.intent.account if self.intent else "",
            "valid_until": self.intent.valid_until.isoformat() if self.intent else None,
        }


def read_run_status(storage: Storage, run: str, now: datetime) -> RunStatus:
    """Read what the store knows of a run."""
    pointer = newest_pointer(storage, run)
    checkpoint = pointer.checkpoint if pointer else None
    elapsed = newest_meta(storage, pointer).get("elapsed_s") if pointer else None
    total, max_minutes = limits_of(storage, run)
    return RunStatus(
        run,
        read_status(storage, run),
        read_launch_record(storage, run),
        read_attempts(storage, run),
        checkpoint.step if checkpoint else None,
        pointer.written_at if pointer and checkpoint else None,
        now,
        total,
        float(elapsed) if isinstance(elapsed, (int, float)) else None,
        max_minutes,
    )


def newest_meta(storage: Storage, pointer: Pointer) -> dict[str, Any]:
    """Return what the newest sound checkpoint says of the run; empty where none can be read."""
    for _, manifest in history(storage, pointer, []):
        return dict(manifest.meta)
    return {}


def newest_pointer(storage: Storage, run: str) -> Pointer | None:
    """Return the pointer of a run with the newest checkpoint; None before the first."""
    seen = [read_pointer(storage, run, kind) for kind in KINDS]
    found = [one.pointer for one in seen if one is not None and one.pointer.checkpoint is not None]
    return max(found, key=lambda pointer: pointer.checkpoint.step if pointer.checkpoint else 0, default=None)


def limits_of(storage: Storage, run: str) -> tuple[int | None, float | None]:
    """Return after how many timesteps and minutes of training a run ends; None where its settings do not say."""
    try:
        training = json.loads(storage.get(layout.config_key(run), max_bytes=1 << 20).data)["training"]
        minutes = training.get("max_minutes")
        return int(training["total_timesteps"]), None if minutes is None else float(minutes)
    except (NotFound, ValueError, KeyError, TypeError, AttributeError):
        return None, None


def describe(facts: RunStatus) -> list[str]:
    """Return the facts for people."""
    status, intent = facts.status, facts.intent
    speed, left, to_go = facts.steps_per_s, facts.hours_left, facts.hours_to_go
    age = (
        "none yet"
        if facts.checkpoint_at is None
        else f"{describe_age((facts.now - facts.checkpoint_at).total_seconds())} old"
    )
    phase = f", {facts.phase}" if facts.phase else ""
    reason = status.reason if status else ""
    if facts.expired:
        reason = f"time or money was up; continue: ./launch.py train --resume {facts.run}"
    lines = [
        f"run         {facts.run}: {facts.state}{phase}" + (f" ({reason})" if reason else ""),
        f"steps       {facts.steps:,}"
        + (f" of {facts.total_steps:,}" if facts.total_steps else "")
        + (f", {speed:,.0f} a second" if speed else ""),
        f"checkpoint  {age}",
        f"cost        ${facts.cost_usd:.2f}" + (f" of at most ${intent.cap_usd:.2f}" if intent else ""),
    ]
    if to_go is not None:
        lines.append(f"to go       about {_hours(to_go)} and ${facts.usd_to_go:.2f} at this speed and price")
    if left is not None and intent is not None:
        lines.append(f"time left   {_hours(left)}: the fleet ends at {intent.valid_until:%Y-%m-%d %H:%M} UTC")
        if to_go is not None and to_go > left:
            lines.append(
                f"            too little for all steps: raise aws.max_hours and aws.max_cost_usd, then "
                f"./launch.py stop {facts.run} and ./launch.py train --resume {facts.run}"
            )
    if intent is not None:
        lines.append(f"fleet       {intent.fleet_id or 'none: the launch was interrupted'} ({intent.market})")
    return lines + [_attempt_line(one, facts) for one in facts.attempts]


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 2 else f"{hours * 60:.0f} min"


def _attempt_line(attempt: Attempt, facts: RunStatus) -> str:
    where = " ".join(
        part for part in (attempt.instance_type, attempt.availability_zone, attempt.instance_id) if part
    )
    length = describe_age(facts.length_s(attempt))
    steps = f"steps {attempt.first_step:,} to {facts.last_step(attempt):,}"
    usd = f"${facts.length_s(attempt) * facts.price(attempt) / 3600:.2f}"
    cause: str = attempt.cause
    if cause == "running" and (attempt is not facts.attempts[-1] or facts.state in ENDS):
        cause = "lost"  # it ended too suddenly to say so
    return f"attempt {attempt.number:<3} {where or attempt.host}, {length}, {usd}, {cause}, {steps}"


def cost_figures(cloud: Cloud, project: Project, storage: Storage, facts: RunStatus) -> dict[str, Any]:
    """Return the figures of `cost`; None where something has not happened yet."""
    lap_at = _first_clean_lap_at(storage, facts.run)
    paid_s = facts.paid_s
    writes = count_writes(cloud, project, facts.run)
    reads = int(paid_s / CONTROL_POLL_S)
    return {
        "run": facts.run,
        "usd": round(facts.cost_usd, 4),
        "paid_hours": round(paid_s / 3600, 3),
        "attempts": len(facts.attempts),
        "steps": facts.steps,
        "usd_per_million_steps": facts.cost_usd / facts.steps * 1e6 if facts.steps else None,
        "usd_to_first_clean_lap": facts.usd_until(lap_at) if lap_at else None,
        "steps_per_paid_s": facts.steps / paid_s if paid_s else None,
        "goodput": facts.goodput,
        "s3_writes": writes,
        "s3_reads_about": reads,
        "s3_requests_usd": round(writes * PUT_USD + reads * GET_USD, 4),
    }


def count_writes(cloud: Cloud, project: Project, run: str) -> int:
    """Return how often something was written for a run: each write is a version, kept for a month."""
    count = 0
    more: dict[str, Any] = {}
    while True:
        reply = cloud.call(
            "s3", "list_object_versions", Bucket=project.bucket, Prefix=f"{layout.run_prefix(run)}/", **more
        )
        count += len(reply.get("Versions", ()))
        if not reply.get("IsTruncated"):
            return count
        more = {
            "KeyMarker": reply["NextKeyMarker"],
            "VersionIdMarker": reply["NextVersionIdMarker"],
        }


def _first_clean_lap_at(storage: Storage, run: str) -> datetime | None:
    """Return when the first checkpoint was made that knows of a lap."""
    pointer = newest_pointer(storage, run)
    found = history(storage, pointer, []) if pointer else ()
    return min((manifest.created_at for _, manifest in found if manifest.meta.get("laps")), default=None)


def why_waiting(cloud: Cloud, project: Project, run: str) -> str:
    """Return AWS's own reason why a fleet has no machine, and what happens next."""
    fleet = inventory.fleet_of(cloud, project, run)
    if fleet is None:
        return f"its fleet has ended. Continue: ./launch.py train --resume {run}"
    try:
        last = fleet_history.last_reason(cloud, fleet) or "no reason given yet"
    except CloudError as error:
        last = f"no history ({error.message})"
    if speaks_of_profile(last):
        return (
            f"AWS says: {last}. EC2 does not know the run's new instance profile yet, which takes two minutes at most "
            "as a rule; the fleet asks again by itself."
        )
    return (
        f"AWS says: {last}. The fleet keeps trying all its zones and types until its end date; "
        "to ask for more of them, stop the run and widen aws.instance_types, or take --market on-demand."
    )
