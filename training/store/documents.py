"""The small JSON documents that a laptop and an instance both write: compare-and-swap, no lost update."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from training import layout
from training.store.manifest import Count, Document, Hex32, ShortText, decode, encode, fresh_nonce, utc_now
from training.store.storage import IF_ABSENT, NotFound, PreconditionFailed, Storage, Unavailable, if_match

MAX_DOCUMENT_BYTES = 4 << 20
MAX_ATTEMPTS = 2_000
# In each round somebody wins, so this many writers at once are served.
MAX_ROUNDS = 100

State = Literal["pending", "running", "done", "stopped", "failed"]
Request = Literal["none", "stop_now", "stop_after_checkpoint"]
Cause = Literal["running", "done", "stopped", "interrupted", "terminated", "fenced", "failed", "crashed"]
Text = Annotated[str, Field(max_length=4_000)]
NonNegative = Annotated[float, Field(ge=0, le=1e9)]


class Versioned(Document):
    """A document that is swapped: the nonce makes each version's bytes, and so its ETag, its own."""

    format: Literal[1] = 1
    nonce: Hex32 = "0" * 32


class Status(Versioned):
    """What has become of a run. `failed`, `done` and `stopped` are ends: a replacement does not train."""

    state: State
    changed_at: datetime
    phase: ShortText = ""
    reason: Text = ""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    attempt: Count = 0
    step: Count = 0


class Control(Versioned):
    """What a laptop asks of a run."""

    request: Request
    requested_at: datetime
    requested_by: ShortText = ""


class Attempt(Document):
    """One boot: where, at what price, from when to when, and why it ended."""

    number: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)]
    boot_id: ShortText
    host: ShortText = ""
    instance_id: ShortText = ""
    instance_type: ShortText = ""
    availability_zone: ShortText = ""
    fleet_id: ShortText = ""
    purchase: Literal["local", "spot", "on-demand"] = "local"
    price_usd_per_hour: NonNegative = 0.0
    price_source: ShortText = ""
    started_at: datetime
    seen_at: datetime | None = None  # the last sign of life: a checkpoint, or the end
    ended_at: datetime | None = None
    cause: Cause = "running"
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    at_step: Count | None = None  # the step that was asked for by --at
    first_step: Count = 0  # of the durable checkpoint found at boot
    last_step: Count = 0  # of the last durable checkpoint made
    cost_usd: NonNegative = 0.0  # from the start to the end, or to the last sign of life

    def priced(self) -> Attempt:
        """Return the row with what it has cost so far."""
        until = self.ended_at or self.seen_at or self.started_at
        hours = max((until - self.started_at).total_seconds(), 0.0) / 3600
        return self.model_copy(update={"cost_usd": round(hours * self.price_usd_per_hour, 6)})


class Attempts(Versioned):
    """Every boot of a run, in order, and what they have cost together."""

    attempts: Annotated[tuple[Attempt, ...], Field(max_length=MAX_ATTEMPTS)] = ()
    cost_usd: NonNegative = 0.0

    @classmethod
    def of(cls, rows: Iterable[Attempt]) -> Attempts:
        """Return the table of these rows, each with its cost."""
        priced = tuple(row.priced() for row in rows)
        return cls(attempts=priced, cost_usd=round(sum(row.cost_usd for row in priced), 6))


Model = TypeVar("Model", bound=Versioned)


def read(storage: Storage, key: str, model: type[Model]) -> Model | None:
    """Read a document, or None if there is none yet; raise `Corrupt` if it breaks its schema."""
    seen = _read(storage, key, model)
    return seen[0] if seen else None


def update(storage: Storage, key: str, model: type[Model], change: Callable[[Model | None], Model]) -> Model:
    """Replace a document by `change(document)`, again and again until nobody came between.

    `change` must be idempotent: if the reply to a write is lost and another writer comes after it,
    it is applied a second time, to what it has already changed. Find rows by an id, never append blindly.
    """
    for _ in range(MAX_ROUNDS):
        seen = _read(storage, key, model)
        new = change(seen[0] if seen else None).model_copy(update={"nonce": fresh_nonce()})
        try:
            storage.put(key, encode(new), condition=if_match(seen[1]) if seen else IF_ABSENT)
        except PreconditionFailed:
            found = _read(storage, key, model)
            if found is not None and found[0].nonce == new.nonce:
                return new  # it was ours: only the reply was lost
            continue
        return new
    raise Unavailable(f"{key}: others changed it {MAX_ROUNDS} times in a row")


def begin_attempt(storage: Storage, run: str, boot: Attempt) -> Attempt:
    """Add a boot to the table and give it its number; the same `boot_id` gets the same number again.

    Rows that are still "running" belong to attempts that could not say how they ended: they crashed, or were killed.
    """

    def add(table: Attempts | None) -> Attempts:
        rows = table.attempts if table else ()
        if any(row.boot_id == boot.boot_id for row in rows):
            return table or Attempts()
        number = max((row.number for row in rows), default=0) + 1
        return Attempts.of((*map(_closed, rows), boot.model_copy(update={"number": number})))

    rows = update(storage, layout.attempts_key(run), Attempts, add).attempts
    return next(row for row in rows if row.boot_id == boot.boot_id)


def change_attempt(storage: Storage, run: str, boot_id: str, **fields: object) -> Attempts:
    """Set fields of one boot's row (`ended_at`, `cause`, `last_step`, …)."""

    def change(table: Attempts | None) -> Attempts:
        rows = table.attempts if table else ()
        if not any(row.boot_id == boot_id for row in rows):
            raise NotFound(f"run {run} has no attempt with boot id {boot_id!r}")
        return Attempts.of(
            Attempt.model_validate({**dict(row), **fields}) if row.boot_id == boot_id else row for row in rows
        )

    return update(storage, layout.attempts_key(run), Attempts, change)


def set_status(
    storage: Storage, run: str, state: State, *, only_from: Collection[State] | None = None, **fields: object
) -> Status:
    """Change a run's status and return it; where it is not in `only_from`, return it unchanged.

    `only_from` lists the states to leave ("pending" also stands for none yet): a machine that boots
    late must not turn "done" into "running".
    """

    def change(status: Status | None) -> Status:
        current = status or Status(state="pending", changed_at=utc_now())
        if only_from is not None and current.state not in only_from:
            return current
        return Status.model_validate({**dict(current), **fields, "state": state, "changed_at": utc_now()})

    return update(storage, layout.status_key(run), Status, change)


def read_status(storage: Storage, run: str) -> Status | None:
    """Read what has become of a run; None before it was launched."""
    return read(storage, layout.status_key(run), Status)


def read_attempts(storage: Storage, run: str) -> tuple[Attempt, ...]:
    """Read every boot of a run, in order."""
    table = read(storage, layout.attempts_key(run), Attempts)
    return table.attempts if table else ()


def request(storage: Storage, run: str, what: Request, *, by: str = "") -> Control:
    """Ask something of a run: it looks every few seconds."""
    control = Control(request=what, requested_at=utc_now(), requested_by=by)
    return update(storage, layout.control_key(run), Control, lambda _: control)


def read_request(storage: Storage, run: str) -> Request:
    """Read what is asked of a run."""
    control = read(storage, layout.control_key(run), Control)
    return control.request if control else "none"


def _closed(row: Attempt) -> Attempt:
    if row.cause != "running":
        return row
    return row.model_copy(update={"cause": "crashed", "ended_at": row.seen_at or row.started_at})


def _read(storage: Storage, key: str, model: type[Model]) -> tuple[Model, str] | None:
    try:
        stored = storage.get(key, max_bytes=MAX_DOCUMENT_BYTES)
    except NotFound:
        return None
    return decode(model, stored.data, key), stored.etag
