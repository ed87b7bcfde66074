"""The two documents of the commit protocol, schema-checked: a hostile one is refused before it is followed.

No document holds a key: keys are made by `training.layout` from the checked names in it, so none can
point outside its run. Every number and every list is bounded; parsing never executes anything.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timezone
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from .. import layout
from .storage import Corrupt

FORMAT = 1
MAX_POINTER_BYTES = 1 << 20
MAX_MANIFEST_BYTES = 16 << 20
MAX_MEMBER_BYTES = 8 << 30
MAX_SEGMENT_BYTES = 1 << 30
MAX_MEMBERS = 1_000
MAX_SEGMENTS = 50_000
# The pointer itself names this many checkpoints; older ones are found through their successors' manifests.
MAX_RECENT = 16
MAX_MILESTONES = 1_000

# The manifests' own names: a member that took one would be overwritten, or taken for a manifest.
RESERVED_NAMES = frozenset({"manifest.json", "partial.json"})

POINTER_REPAIR = (
    "No checkpoint is lost by this. Put the pointer's previous version back (a versioned bucket keeps it), or "
    "write it again from the manifests: python -m training.store.repair RUN TRAINING_TYPE --store STORE"
)

_MAX_COUNT = 10**15
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Count = Annotated[int, Field(ge=0, le=_MAX_COUNT)]
Epoch = Annotated[int, Field(ge=1, le=10**9)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9_]{0,62}[a-z0-9])?$")]
RunName = Annotated[str, Field(pattern=layout.RUN_NAME_PATTERN)]
MemberName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
ShortText = Annotated[str, Field(max_length=300)]

Model = TypeVar("Model", bound="Document")


class Document(BaseModel):
    """A stored JSON document: unknown keys, wrong types and unknown formats are refused."""

    # Scores start at minus infinity and must come back as such, so JSON's usual null will not do.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, ser_json_inf_nan="constants")


class MemberRef(Document):
    """One file of a checkpoint, as it was when committed."""

    size: Annotated[int, Field(ge=0, le=MAX_MEMBER_BYTES)]
    sha256: Sha256


class SegmentRef(Document):
    """One replay segment: rows `first` to `last` (inclusive, counted from the run's start) of one agent."""

    epoch: Epoch
    agent: Name
    first: Count
    last: Count
    sha256: Sha256
    size: Annotated[int, Field(ge=0, le=MAX_SEGMENT_BYTES)]

    @model_validator(mode="after")
    def _in_order(self) -> SegmentRef:
        if self.last < self.first:
            message = f"segment of {self.agent!r} ends at {self.last}, before it begins at {self.first}"
            raise ValueError(message)
        return self

    def key(self, run: str) -> str:
        """Return the key of this segment in a run."""
        return layout.segment_key(
            run, layout.SegmentId(self.epoch, self.agent, self.first, self.last, self.sha256)
        )


class CheckpointRef(Document):
    """Name a checkpoint and fix its manifest's bytes."""

    step: Count
    epoch: Epoch
    uuid: Hex32
    manifest_sha256: Sha256
    manifest_size: Annotated[int, Field(ge=2, le=MAX_MANIFEST_BYTES)]

    @property
    def id(self) -> layout.CheckpointId:
        """Return the name that its keys carry."""
        return layout.CheckpointId(self.step, self.epoch, self.uuid)


class Manifest(Document):
    """Everything a checkpoint consists of; written once, before the pointer names it."""

    format: Literal[1] = 1
    kind: Literal["full", "partial"] = "full"
    run: RunName
    training_type: Name
    step: Count
    epoch: Epoch
    uuid: Hex32
    attempt: Count
    created_at: datetime
    base: CheckpointRef | None  # the checkpoint that this one continues
    members: Annotated[dict[MemberName, MemberRef], Field(max_length=MAX_MEMBERS)]
    segments: Annotated[tuple[SegmentRef, ...], Field(max_length=MAX_SEGMENTS)] = ()
    meta: dict[str, JsonValue]

    @model_validator(mode="after")
    def _own_name_is_free(self) -> Manifest:
        taken = RESERVED_NAMES.intersection(self.members)
        if taken:
            message = f"members may not be called {sorted(taken)}"
            raise ValueError(message)
        return self

    @property
    def id(self) -> layout.CheckpointId:
        """Return the name that its keys carry."""
        return layout.CheckpointId(self.step, self.epoch, self.uuid)


class Owner(Document):
    """The machine that runs an attempt; the finish unit compares the fleet with its own (all empty on a laptop)."""

    host: ShortText = ""
    instance_id: ShortText = ""
    fleet_id: ShortText = ""


class Claim(Document):
    """The right of one attempt to move the pointer, until the next claim."""

    epoch: Epoch
    nonce: Hex32
    attempt: Count
    owner: Owner
    claimed_at: datetime


class Pointer(Document):
    """Name the owner of the run and its newest checkpoints, newest first.

    The nonce is fresh in every write: equal bytes have equal ETags, and two writers of equal bytes
    would both believe that their compare-and-swap had won.
    """

    format: Literal[1] = 1
    run: RunName
    training_type: Name
    nonce: Hex32
    check: Literal[""] | Sha256 = ""  # of the rest: nothing else vouches for the pointer's own bytes
    written_at: datetime
    claim: Claim
    checkpoints: Annotated[tuple[CheckpointRef, ...], Field(max_length=MAX_RECENT)] = ()
    milestones: Annotated[tuple[CheckpointRef, ...], Field(max_length=MAX_MILESTONES)] = ()

    @property
    def checkpoint(self) -> CheckpointRef | None:
        """Return the newest committed checkpoint, or None before the first."""
        return self.checkpoints[0] if self.checkpoints else None


def fresh_nonce() -> str:
    """Return 32 random hex digits."""
    return secrets.token_hex(16)


def utc_now() -> datetime:
    """Return the present time; stored for people, never compared by the protocol."""
    return datetime.now(timezone.utc)


def encode(document: Document) -> bytes:
    """Return the document as the JSON bytes that are stored."""
    return document.model_dump_json(indent=1).encode()


def encode_pointer(pointer: Pointer) -> bytes:
    """Return a pointer as it is stored, with the hash of the rest of it."""
    return encode(pointer.model_copy(update={"check": _check_of(pointer)}))


def decode_pointer(data: bytes, what: str) -> Pointer:
    """Parse a stored pointer; raise `Corrupt` if one byte of it is not as written."""
    try:
        pointer = decode(Pointer, data, what)
    except Corrupt as error:
        raise Corrupt(error.message, next_step=error.next_step or POINTER_REPAIR) from error
    if pointer.check != _check_of(pointer):
        message = f"{what}: damaged or edited: its contents do not have the SHA-256 that it says"
        raise Corrupt(message, next_step=POINTER_REPAIR)
    return pointer


def _check_of(pointer: Pointer) -> str:
    return hashlib.sha256(encode(pointer.model_copy(update={"check": ""}))).hexdigest()


def decode(model: type[Model], data: bytes, what: str) -> Model:
    """Parse a stored document; raise `Corrupt` naming what is wrong, where, and what to do."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
    for problem in problems:
        if problem["loc"] == ("format",):
            message = f"{what}: format {_short(problem['input'])}, this program reads format {FORMAT}"
            raise Corrupt(message, next_step="Read it with the version of this project that wrote it.")
    first = problems[0]
    where = ".".join(_short(part) for part in first["loc"]) or "document"
    message = f"{what}: {where}: {first['msg']} (seen: {_short(first['input'])}; {len(problems)} problems)"
    raise Corrupt(message)


def _short(value: object) -> str:
    text = str(value) if isinstance(value, (str, int, float)) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}…"
