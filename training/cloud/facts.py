"""What is known of a run: state, attempts, speed, money. Read from the store and from EC2."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from training import layout
from training.cloud import look
from training.cloud.api import Cloud
from training.cloud.intent import LAUNCHING, Intent, read_intent
from training.cloud.prices import describe_age
from training.cloud.problems import CloudError
from training.cloud.scope import Scope
from training.store.documents import Attempt, Status, read_attempts, read_status
from training.store.fencing import read_pointer
from training.store.restore import history
from training.store.storage import Storage

PUT_USD = 0.005 / 1000  # S3 standard; reading costs a twelfth of it


class Facts(NamedTuple):
    """Everything that `status`, `list` and `cost` show of one run."""

    run: str
    status: Status | None
    intent: Intent | None
    attempts: tuple[Attempt, ...]
    checkpoint_step: int | None
    checkpoint_at: datetime | None
    now: datetime

    @property
    def state(self) -> str:
        """Return the run's state in one word."""
        if self.status is None:
            return "half-made" if self.intent is not None else "unknown"
        return self.status.state

    @property
    def paid_s(self) -> float:
        """Return the seconds that machines were up, all attempts together."""
        return sum(self.length_s(attempt) for attempt in self.attempts)

    @property
    def cost_usd(self) -> float:
        """Return what the machines have cost so far, by the prices of their attempts."""
        return sum(self.length_s(one) * self._price(one) / 3600 for one in self.attempts)

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
    def trained_steps(self) -> int:
        """Return the timesteps that all attempts trained and saved."""
        return sum(max(self._last(one) - one.first_step, 0) for one in self.attempts)

    @property
    def steps_per_s(self) -> float | None:
        """Return the speed of the newest attempt, None before its first checkpoint."""
        newest = self.attempts[-1] if self.attempts else None
        if newest is None or self.length_s(newest) <= 0 or self._last(newest) <= newest.first_step:
            return None
        return (self._last(newest) - newest.first_step) / self.length_s(newest)

    @property
    def hours_left(self) -> float | None:
        """Return the hours until the fleet ends, None for a run without one or an ended run."""
        if self.intent is None or self.state not in {"pending", "running"}:
            return None
        return max((self.intent.valid_until - self.now).total_seconds() / 3600, 0.0)

    def _last(self, attempt: Attempt) -> int:
        newest = attempt is self.attempts[-1]
        return max(attempt.last_step, self.checkpoint_step or 0) if newest else attempt.last_step

    def length_s(self, attempt: Attempt) -> float:
        """Return how long an attempt's machine was up, in seconds."""
        end = attempt.ended_at
        if end is None:
            # An attempt that could not say when it ended, ended at the latest when the next one began.
            later = [one.started_at for one in self.attempts if one.number > attempt.number]
            end = min(later, default=self._open_end)
        return max((end - attempt.started_at).total_seconds(), 0.0)

    @property
    def _open_end(self) -> datetime:
        ends = [self.now]
        if self.intent is not None:
            ends.append(self.intent.valid_until)
        if self.status is not None and self.state in {"done", "stopped", "failed"}:
            ends.append(self.status.changed_at)
        return min(ends)

    def _price(self, attempt: Attempt) -> float:
        if attempt.price_usd_per_hour or attempt.purchase == "local" or self.intent is None:
            return attempt.price_usd_per_hour
        return self.intent.price_of(attempt.instance_type, attempt.availability_zone)

    def to_json_dict(self) -> dict[str, Any]:
        """Return plain data for --json."""
        return {
            "run": self.run,
            "state": self.state,
            "phase": self.status.phase if self.status else "",
            "reason": self.status.reason if self.status else "",
            "steps": self.steps,
            "steps_per_s": self.steps_per_s,
            "checkpoint_age_s": (self.now - self.checkpoint_at).total_seconds()
            if self.checkpoint_at
            else None,
            "attempts": [attempt.model_dump(mode="json") for attempt in self.attempts],
            "cost_usd": round(self.cost_usd, 4),
            "cap_usd": self.intent.cap_usd if self.intent else None,
            "hours_left": self.hours_left,
            "fleet_id": self.intent.fleet_id if self.intent else "",
            "valid_until": self.intent.valid_until.isoformat() if self.intent else None,
        }


def read_facts(storage: Storage, run: str, now: datetime) -> Facts:
    """Read what the store knows of a run."""
    step = at = None
    for entry in storage.list(f"{layout.checkpoints_prefix(run)}/"):
        name = entry.key.rpartition("/")[2]
        if not name.endswith("_latest_checkpoint.json"):
            continue
        seen = read_pointer(storage, run, name.removesuffix("_latest_checkpoint.json"))
        ref = seen.pointer.checkpoint if seen else None
        if seen is not None and ref is not None and (step is None or ref.step > step):
            step, at = ref.step, seen.pointer.written_at
    return Facts(
        run, read_status(storage, run), read_intent(storage, run), read_attempts(storage, run), step, at, now
    )


def describe(facts: Facts) -> list[str]:
    """Return the facts for people."""
    status, intent = facts.status, facts.intent
    speed, left = facts.steps_per_s, facts.hours_left
    age = (
        "none yet"
        if facts.checkpoint_at is None
        else f"{describe_age((facts.now - facts.checkpoint_at).total_seconds())} old"
    )
    # The launcher's own phase outlives it: the trainer changes the state only.
    told = status is not None and status.phase not in {"", LAUNCHING}
    phase = f", {status.phase}" if status and (told or status.state == "pending") else ""
    lines = [
        f"run         {facts.run}: {facts.state}{phase}"
        + (f" ({status.reason})" if status and status.reason else ""),
        f"steps       {facts.steps:,}" + (f", {speed:,.0f} a second" if speed else ""),
        f"checkpoint  {age}",
        f"cost        ${facts.cost_usd:.2f}" + (f" of at most ${intent.cap_usd:.2f}" if intent else ""),
    ]
    if left is not None and intent is not None:
        lines.append(f"time left   {left:.1f} h, until {intent.valid_until:%Y-%m-%d %H:%M} UTC")
    if intent is not None:
        lines.append(f"fleet       {intent.fleet_id or 'none: the launch was interrupted'} ({intent.market})")
    return lines + [_attempt_line(one, facts) for one in facts.attempts]


def _attempt_line(attempt: Attempt, facts: Facts) -> str:
    where = " ".join(
        part for part in (attempt.instance_type, attempt.availability_zone, attempt.instance_id) if part
    )
    length = describe_age(facts.length_s(attempt))
    steps = f"steps {attempt.first_step:,} to {attempt.last_step:,}"
    return f"attempt {attempt.number:<3} {where or attempt.host}, {length}, {attempt.cause}, {steps}"


def cost_figures(storage: Storage, facts: Facts) -> dict[str, Any]:
    """Return the figures of `cost`; None where something has not happened yet."""
    lap_s = _first_clean_lap_s(storage, facts.run)
    objects = sum(1 for _ in storage.list(f"{layout.run_prefix(facts.run)}/"))
    useful_s = facts.trained_steps / facts.steps_per_s if facts.steps_per_s else None
    paid_s = facts.paid_s
    return {
        "run": facts.run,
        "usd": round(facts.cost_usd, 4),
        "paid_hours": round(paid_s / 3600, 3),
        "attempts": len(facts.attempts),
        "steps": facts.steps,
        "usd_per_million_steps": facts.cost_usd / facts.steps * 1e6 if facts.steps else None,
        "usd_to_first_clean_lap": facts.cost_usd * min(lap_s / paid_s, 1.0) if lap_s and paid_s else None,
        "steps_per_paid_s": facts.steps / paid_s if paid_s else None,
        "goodput": min(useful_s / paid_s, 1.0) if useful_s and paid_s else None,
        "s3_objects": objects,
        "s3_requests_usd": round(objects * PUT_USD, 4),
    }


def _first_clean_lap_s(storage: Storage, run: str) -> float | None:
    """Return the training time of the first checkpoint that knows of a lap."""
    earliest: float | None = None
    for kind in ("sac", "sac_multiagent"):
        seen = read_pointer(storage, run, kind)
        if seen is None:
            continue
        for _, manifest in history(storage, seen.pointer, []):
            elapsed = manifest.meta.get("elapsed_s")
            if manifest.meta.get("laps") and isinstance(elapsed, float):
                earliest = elapsed if earliest is None else min(earliest, elapsed)
    return earliest


def why_waiting(cloud: Cloud, scope: Scope, run: str) -> str:
    """Return AWS's own reason why a fleet has no machine, and what happens next."""
    fleet = look.fleet_of(cloud, scope, run)
    if fleet is None:
        return "the fleet has ended: ./launch.py status " + run
    reasons = [str(one.get("ErrorMessage", "")) for one in fleet.get("Errors", ()) if one.get("ErrorMessage")]
    try:
        since = fleet.get("CreateTime", cloud.clock.now())
        reply = cloud.call("ec2", "describe_fleet_history", FleetId=fleet["FleetId"], StartTime=since)
        reasons += [
            " ".join(
                str(row["EventInformation"].get(key, "")) for key in ("EventSubType", "EventDescription")
            ).strip()
            for row in reply.get("HistoryRecords", ())
            if row.get("EventType") in {"error", "information", "fleet-change"}
        ]
    except CloudError as error:
        reasons.append(f"no history ({error.message})")
    last = reasons[-1] if reasons else "no reason given yet"
    return (
        f"AWS says: {last}. The fleet goes on asking in all its zones and types until its end; "
        "to ask for more of them, stop the run and widen aws.instance_types, or take --market on-demand."
    )
