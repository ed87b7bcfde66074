"""The small JSON documents that a laptop and an instance both write: compare-and-swap, no lost update."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from .. import layout
from .manifest import Count, Document, Hex32, ShortText, decode, encode, fresh_nonce, utc_now
from .storage import IF_ABSENT, NotFound, PreconditionFailed, Storage, Unavailable, if_match

MAX_DOCUMENT_BYTES = 4 << 20
# Rows that are kept; of older ones only the cost is.
MAX_ATTEMPTS = 2_000
# In each round one writer wins, so this many writers at once are served.
MAX_ROUNDS = 100

State = Literal["pending", "running", "done", "stopped", "failed"]
Request = Literal["none", "stop_now", "stop_after_checkpoint"]
Cause = Literal["running", "done", "stopped", "interrupted", "terminated", "fenced", "failed", "crashed"]
Text = Annotated[str, Field(max_length=4_000)]
NonNegative = Annotated[float, Field(ge=0, le=1e9)]
Launch = Annotated[int, Field(ge=1, le=10_000)]  # 1 for the first launch of a run, a resume is the next


class Extended(Document):
    """A document with fields that earlier programs do not know, and refuse: they are written only where they are set.

    So a machine that was launched before an upgrade still reads what an upgraded laptop writes.
    """

    ADDED: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {name: value for name, value in data.items() if value is not None or name not in self.ADDED}


class Versioned(Extended):
    """A document that is swapped: the nonce makes each version's bytes, and so its ETag, its own."""

    format: Literal[1] = 1
    nonce: Hex32 = "0" * 32


class Status(Versioned):
    """The state of a run. `failed`, `done` and `stopped` are ends: a replacement does not train."""

    state: State
    changed_at: datetime
    phase: ShortText = ""
    reason: Text = ""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    attempt: Count = 0
    step: Count = 0
    # Of a failure: the same settings, code and image would fail in the same way on every machine.
    repeats: bool | None = None

    ADDED: ClassVar[frozenset[str]] = frozenset({"repeats"})


class Control(Versioned):
    """A laptop's request to a run."""

    request: Request
    requested_at: datetime  # by the laptop's clock, for people: a machine compares no clocks
    requested_by: ShortText = ""
    launch: Launch | None = None  # the launch that is asked; None: the one that trains now

    ADDED: ClassVar[frozenset[str]] = frozenset({"launch"})

    def is_for(self, launch: int | None, found_at_start: str | None) -> bool:
        """Tell whether an attempt of a launch is asked.

        found_at_start: the nonce of the control.json that was there when the attempt began; without launch numbers
        that one was meant for an earlier attempt.
        """
        if self.launch is not None and launch is not None:
            return self.launch == launch
        return self.nonce != found_at_start


class Attempt(Extended):
    """One start of the trainer: where, at what price, from when to when, and why it ended."""

    number: Annotated[int, Field(ge=1, le=10**9)]
    boot_id: ShortText
    launch: Launch | None = None  # None: no launcher started it, or one that did not say
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

    ADDED: ClassVar[frozenset[str]] = frozenset({"launch"})

    def priced(self) -> Attempt:
        """Return the row with what it has cost so far."""
        until = self.ended_at or self.seen_at or self.started_at
        hours = max((until - self.started_at).total_seconds(), 0.0) / 3600
        return self.model_copy(update={"cost_usd": round(hours * self.price_usd_per_hour, 6)})


class Attempts(Versioned):
    """The starts of a run, in order, and what all of them have cost together."""

    attempts: Annotated[tuple[Attempt, ...], Field(max_length=MAX_ATTEMPTS)] = ()
    cost_usd: NonNegative = 0.0
    dropped_cost_usd: NonNegative | None = None  # of the oldest rows, beyond MAX_ATTEMPTS

    ADDED: ClassVar[frozenset[str]] = frozenset({"dropped_cost_usd"})

    @classmethod
    def of(cls, rows: Iterable[Attempt], dropped_cost_usd: float | None = None) -> Attempts:
        """Return the table of these rows, each with its cost; of more than MAX_ATTEMPTS the oldest are dropped."""
        priced = tuple(row.priced() for row in rows)
        dropped = priced[:-MAX_ATTEMPTS]
        if dropped:
            dropped_cost_usd = (dropped_cost_usd or 0.0) + sum(row.cost_usd for row in dropped)
        cost_usd = sum(row.cost_usd for row in priced[-MAX_ATTEMPTS:]) + (dropped_cost_usd or 0.0)
        return cls(
            attempts=priced[-MAX_ATTEMPTS:], cost_usd=round(cost_usd, 6), dropped_cost_usd=dropped_cost_usd
        )


Model = TypeVar("Model", bound=Versioned)


def read(storage: Storage, key: str, model: type[Model]) -> Model | None:
    """Read a document, or None if there is none yet; raise `Corrupt` if it breaks its schema."""
    seen = _read(storage, key, model)
    return seen[0] if seen else None


def update(storage: Storage, key: str, model: type[Model], change: Callable[[Model | None], Model]) -> Model:
    """Replace a document by `change(document)`, again and again until no other writer came between.

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
        new = boot.model_copy(update={"number": number})
        return Attempts.of((*map(_closed, rows), new), table.dropped_cost_usd if table else None)

    rows = update(storage, layout.attempts_key(run), Attempts, add).attempts
    return next(row for row in rows if row.boot_id == boot.boot_id)


def change_attempt(storage: Storage, run: str, boot_id: str, **fields: object) -> Attempts:
    """Set fields of one boot's row (`ended_at`, `cause`, `last_step`, …)."""

    def change(table: Attempts | None) -> Attempts:
        rows = table.attempts if table else ()
        if not any(row.boot_id == boot_id for row in rows):
            raise NotFound(f"run {run} has no attempt with boot id {boot_id!r}")
        changed = (
            Attempt.model_validate({**dict(row), **fields}) if row.boot_id == boot_id else row for row in rows
        )
        return Attempts.of(changed, table.dropped_cost_usd if table else None)

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


def request(storage: Storage, run: str, what: Request, *, by: str = "", launch: int | None = None) -> Control:
    """Ask something of a run, of one launch of it where that is known: it looks every few seconds."""
    control = Control(request=what, requested_at=utc_now(), requested_by=by, launch=launch)
    return update(storage, layout.control_key(run), Control, lambda _: control)


def read_control(storage: Storage, run: str) -> Control | None:
    """Read what is asked of a run, and of which launch; None if nothing ever was."""
    return read(storage, layout.control_key(run), Control)


def read_request(storage: Storage, run: str) -> Request:
    """Read what is asked of a run."""
    control = read_control(storage, run)
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
