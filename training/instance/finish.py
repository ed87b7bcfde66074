"""The end of a machine's run, started by systemd when the trainer is done: status, fleet; systemd powers off.

    python -m training instance finish

Reads the trainer's outcome; the table of docs/architecture.md says what follows each. Needs neither torch nor disk:
writes to /run and S3 only. However this ends, the machine powers off, unless `stay-up` was made.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import psutil

from .. import layout
from ..config import Config
from ..store import documents
from ..store.fencing import read_pointer
from ..store.manifest import utc_now
from ..store.open import open_store
from ..store.storage import Storage, StoreError
from . import attempt_limit
from .exit_record import ExitRecord, read_exit_record
from .identity import machine_facts
from .imds import Imds, ImdsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .attempt_limit import StartDecision

STAY_UP = Path("/run/f1tenth/stay-up")
RUN_VARIABLE, STORE_VARIABLE, KEEP_VARIABLE = "F1TENTH_RUN", "F1TENTH_STORE", "F1TENTH_KEEP_ON_FAILURE_S"
PERMANENT = {64: "usage", 65: "data", 78: "configuration"}
FENCED, SAVED = 3, 75
DELETE_TRIES, DELETE_PAUSE_S = 6, 5.0
MAX_CONFIG_BYTES = 1 << 20

T = TypeVar("T")


class FinishPlan(NamedTuple):
    """The steps that follow the trainer's end."""

    state: documents.State | None  # of status.json; None leaves it
    delete_fleet: bool
    stay_up: bool
    keep: bool  # keep_on_failure applies
    reason: str

    @property
    def is_crash(self) -> bool:
        """Tell whether the fleet's next machine may do better."""
        return self.keep and self.state is None


def plan(outcome: ExitRecord | None) -> FinishPlan:  # noqa: PLR0911 - a table, one row a return
    """Return what follows an outcome; None is a crash, or a kill."""
    if outcome is None:
        return FinishPlan(None, delete_fleet=False, stay_up=False, keep=True, reason="the trainer crashed")
    code, cause = outcome.exit_code, outcome.cause
    if code == 0:
        return FinishPlan("done", delete_fleet=True, stay_up=False, keep=False, reason="done")
    if code == SAVED and cause == "stopped":
        return FinishPlan(
            "stopped", delete_fleet=True, stay_up=False, keep=False, reason="stopped on request"
        )
    if code == SAVED:
        # A spot notice: ending it ourselves would forgo the refund of a first hour. A SIGTERM: its sender decides.
        return FinishPlan(None, delete_fleet=False, stay_up=True, keep=False, reason=cause or "terminated")
    if code == FENCED:
        return FinishPlan(
            None, delete_fleet=False, stay_up=False, keep=False, reason="another attempt owns the run"
        )
    if code in PERMANENT:
        reason = f"{PERMANENT[code]}: {outcome.message}"
        return FinishPlan("failed", delete_fleet=True, stay_up=False, keep=True, reason=reason)
    # The fleet brings the next machine, unless the guard has counted too many.
    return FinishPlan(
        None, delete_fleet=False, stay_up=False, keep=True, reason=f"crashed with exit code {code}"
    )


def carry_out(  # noqa: PLR0913 - what it acts on; tests put their own there
    todo: FinishPlan,
    outcome: ExitRecord | None,
    storage: Storage,
    run: str,
    *,
    fleet: str | None,
    delete: Callable[[str], None],
    guard: Callable[[], StartDecision],
    say: Callable[[str], None],
) -> bool:
    """Do what the plan says, in the order that loses neither run nor money: status, then the fleet.

    guard: decides after a crash whether the fleet may bring another machine. Returns whether the bucket has a record
    of this end: without one, nothing counts the machine.
    """
    say(f"run {run}: {todo.reason}")
    if todo.stay_up:
        STAY_UP.touch()
        return True
    is_reported = True
    if todo.is_crash:
        decision = _attempt(say, "attempts.json", guard)
        is_reported = decision is not None
        if decision is not None and decision.verdict != "train":
            say(f"run {run}: {decision.reason}; no other machine will try")
            todo = todo._replace(delete_fleet=True)
    if todo.state is not None:
        is_reported = (
            _attempt(say, "status.json", lambda: _set_status(storage, run, todo, outcome)) is not None
        )
    if todo.keep:
        _keep_for_debugging(say)
    fenced_fleet = outcome is not None and outcome.exit_code == FENCED and _is_orphan(storage, run, fleet)
    if fleet and (todo.delete_fleet or fenced_fleet):
        _attempt(say, f"fleet {fleet}", lambda: delete(fleet))
    elif todo.delete_fleet:
        say("no fleet is known here: nothing but the power-off ends this machine's bill")
    return is_reported


def main() -> int:
    """Finish the run that run.env names; return 0 when the bucket knows it.

    Otherwise 1: the unit fails, and the image looks whether the fleet only brings machines that end so.
    """

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - the journal

    run, store = os.environ[RUN_VARIABLE], os.environ[STORE_VARIABLE]
    storage = open_store(store, _config().aws)
    outcome = read_exit_record()
    imds = Imds()
    fleet = fleet_of(imds, storage, run)

    def guard() -> StartDecision:
        return attempt_limit.after_crash(storage, run, this_machine(imds, storage, run))

    is_reported = carry_out(
        plan(outcome), outcome, storage, run, fleet=fleet, delete=_delete_fleet, guard=guard, say=say
    )
    return 0 if is_reported else 1


def this_machine(imds: Imds, storage: Storage, run: str) -> documents.Attempt:
    """Return this machine as an attempt that crashed, from its boot until now."""
    return documents.Attempt(
        number=1,  # given when it is added
        boot_id=uuid.uuid4().hex,
        host=platform.node()[:300],
        started_at=datetime.fromtimestamp(psutil.Process(1).create_time(), timezone.utc),
        ended_at=utc_now(),
        cause="crashed",
        **machine_facts(imds, storage, run),
    )


def fleet_of(imds: Imds, storage: Storage, run: str) -> str | None:
    """Return the id of this machine's fleet: the tag that EC2 sets, else what the launcher wrote down."""
    try:
        tag = imds.get("meta-data/tags/instance/aws:ec2:fleet-id")
    except ImdsError:
        tag = None
    if tag:
        return tag.strip()
    try:
        document = json.loads(storage.get(layout.fleet_key(run), max_bytes=1 << 20).data)
    except (StoreError, ValueError):
        return None
    return str(document["fleet_id"]) if isinstance(document, dict) and document.get("fleet_id") else None


def _set_status(storage: Storage, run: str, todo: FinishPlan, outcome: ExitRecord | None) -> documents.Status:
    assert todo.state is not None  # noqa: S101 - asked before
    only_from: set[documents.State] = {"pending", "running"}
    # A run that has failed already keeps its reason: the guard's says more than the exit code that came of it.
    if todo.state != "failed":
        only_from.add(todo.state)
    return documents.set_status(
        storage,
        run,
        todo.state,
        only_from=only_from,
        reason=todo.reason[:4000],
        exit_code=None if outcome is None else outcome.exit_code,
        repeats=True if outcome is not None and outcome.repeats else None,
    )


def _is_orphan(storage: Storage, run: str, fleet: str | None) -> bool:
    """Tell whether the run's owner is of another fleet: then nothing else ends this one."""
    seen = read_pointer(storage, run, _training_type())
    return bool(fleet) and seen is not None and seen.pointer.claim.owner.fleet_id not in {"", fleet}


def _keep_for_debugging(say: Callable[[str], None]) -> None:
    keep_s = float(os.environ.get(KEEP_VARIABLE) or 0)
    if keep_s > 0:
        say(f"this machine is kept for {keep_s:.0f} s, then it ends; look at it now")
        time.sleep(keep_s)


def _attempt(say: Callable[[str], None], what: str, act: Callable[[], T]) -> T | None:
    """Try again and again for half a minute; give up aloud and return None, so that the rest still happens."""
    for number in range(DELETE_TRIES):
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - nothing may stop what comes after
            say(f"{what}: {error}")
            if number + 1 < DELETE_TRIES:
                time.sleep(DELETE_PAUSE_S)
    return None


def _delete_fleet(fleet: str) -> None:
    """Delete the fleet and terminate its machines, this one too."""
    from ..aws_access import session  # noqa: PLC0415 - botocore, half a second

    aws = _config().aws
    client = session.client("ec2", aws.region, aws.endpoints.ec2)
    answer = client.delete_fleets(FleetIds=[fleet], TerminateInstances=True)
    failed = answer.get("UnsuccessfulFleetDeletions") or []
    if failed:
        raise RuntimeError(f"fleet {fleet} was not deleted: {failed[0]}")


def _config() -> Config:
    path = os.environ.get("F1TENTH_CONFIG", "")
    if not path:
        return Config()
    from ..config import load_config  # noqa: PLC0415

    return load_config(Path(path))


def _training_type() -> str:
    return _config().training.training_type
