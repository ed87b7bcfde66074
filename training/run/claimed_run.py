"""A run in its store: found or begun, claimed, and its end written down."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shlex
import tempfile
import time
import uuid
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from .. import layout
from ..config.checks import check_backend
from ..config.resume import changed, check_league
from ..errors import (
    ConfigurationError,
    DataError,
    Interrupted,
    NoProgress,
    RunAlreadyFinished,
    UsageError,
)
from ..instance import attempt_limit
from ..instance.identity import machine_facts
from ..instance.image_interface import check_image
from ..instance.imds import ON_INSTANCE, Imds
from ..process import program
from ..process.systemd_notify import alive
from ..process.user_account import expand
from ..store import documents
from ..store.checkpoint import claim, load_partial
from ..store.manifest import Owner, utc_now
from ..store.open import open_store
from ..store.prune import make_plan, sweep
from ..store.restore import NoCheckpoint
from ..store.retry import reporting, until
from ..store.storage import StoreError
from ..stored_runs.read import config_of, runs_in, write_config
from . import warm_start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..config import Config
    from ..store.checkpoint import Checkpoint, RunWriter
    from ..store.storage import Storage

LOCK = ".lock"
MAX_EVENT_FILE_BYTES = 256 << 20
LAST_WORDS_S = 10.0


class ResumePoint(NamedTuple):
    """The point at which a named run resumes: its newest checkpoint, an older one, or a partial save after it."""

    at_step: int | None = None
    from_partial: bool = False


LATEST = ResumePoint()


class Run(NamedTuple):
    """A run that this process has claimed."""

    name: str
    config: Config
    store: str
    storage: Storage
    lineage: RunWriter
    attempt: documents.Attempt
    checkpoint: Checkpoint | None  # to resume from
    partial: Checkpoint | None  # a later save without replay, where that was asked for
    local: Path  # the run's folder on this computer
    lock: IO[str] | None  # held as long as it is open; None where the store is no directory
    note: str = ""  # other messages at its start

    @property
    def place(self) -> str:
        """Return where the run is stored, for people."""
        return str(self.local) if self.lock else f"{self.store}/{layout.run_prefix(self.name)}"

    @property
    def greeting(self) -> str:
        """Say what begins or resumes, where it is stored, and which of the given settings it ignores."""
        return "\n".join(filter(None, (self._beginning, self.note)))

    @property
    def _beginning(self) -> str:
        if self.checkpoint is None:
            return f"run {self.name} begins; everything goes to {self.place}"
        if self.partial is None:
            return (
                f"run {self.name} continues from step {self.checkpoint.step:,}; everything is in {self.place}"
            )
        return (
            f"run {self.name} continues from the partial save at step {self.partial.step:,}; everything is in "
            f"{self.place}\nLost: what the replay buffer took in after step {self.checkpoint.step:,}. Networks, "
            "optimizers, generators and the cars are those of the partial save, but the run will not end in the "
            "same bits as an uninterrupted one."
        )

    @property
    def how_to_continue(self) -> str:
        """Return the sentence that names the command which continues the run."""
        again = "the same `make train` again, or " if self.store == "." else ""
        return f"Continue with: {again}{self.command}"

    @property
    def command(self) -> str:
        """Return the command that continues the run, quoted for a shell."""
        store = "" if self.store == "." else f" --store {shlex.quote(self.store)}"
        return f"{program.COMMAND} train --resume {shlex.quote(self.name)}{store}"

    def publish(self, file: Path, prefix: str) -> None:
        """Copy a file into the store, where that is another place than this computer's run folder."""
        if self.lock is None and file.exists():
            self.storage.put(f"{prefix}/{file.name}", file)

    def fetch_curves(self, directory: Path, say: Callable[[str], None]) -> None:
        """Bring the event files of earlier attempts to this computer, so that TensorBoard here shows all curves."""
        if self.lock is not None or self.checkpoint is None:
            return
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for entry in self.storage.list(f"{layout.metrics_prefix(self.name)}/"):
                path = directory / entry.key.rpartition("/")[2]
                if not path.exists():
                    self.storage.get_to_file(entry.key, path, max_bytes=MAX_EVENT_FILE_BYTES)
                    alive()
        except (StoreError, OSError) as error:
            say(f"the curves of earlier attempts are not shown here: {error}")

    def saved(self, step: int) -> None:
        """Write down a commit in attempts.json, and keep no more old checkpoints on this computer than asked for.

        Raises a StoreError; the checkpoint is safe in any case.
        """
        row = {"last_step": step, "seen_at": utc_now()}
        documents.change_attempt(self.storage, self.name, self.attempt.boot_id, **row)
        if self.lock is not None:  # in S3 an instance deletes nothing
            keep = self.config.training.keep_checkpoints
            # This process need not read its own commits again to know that they are complete.
            sweep(self.storage, make_plan(self.storage, self.name, keep, read_all=False))

    def end_attempt(self, cause: documents.Cause, exit_code: int, step: int) -> None:
        """Write down how this attempt ended, in attempts.json and, where that ends the run, in status.json.

        step: of the newest durable checkpoint.
        """
        row = {"ended_at": utc_now(), "cause": cause, "exit_code": exit_code, "last_step": step}
        documents.change_attempt(self.storage, self.name, self.attempt.boot_id, **row)
        if cause in {"done", "stopped"}:
            state: documents.State = "done" if cause == "done" else "stopped"
            documents.set_status(self.storage, self.name, state, step=step, exit_code=exit_code)

    def record_failure(self, error: BaseException) -> None:
        """Write down that an error ended this attempt, if the store takes it within seconds."""
        code = getattr(error, "exit_code", 1)
        cause = "failed" if isinstance(error, (ConfigurationError, DataError, UsageError)) else "crashed"
        if isinstance(error, Interrupted):
            cause = error.cause
        row = {"ended_at": utc_now(), "cause": cause, "exit_code": code}
        with contextlib.suppress(StoreError):
            storage = until(self.storage, time.monotonic() + LAST_WORDS_S)
            documents.change_attempt(storage, self.name, self.attempt.boot_id, **row)


def open_run(
    config: Config, store: str, *, resume: str | None, origin: ResumePoint, overrides: Sequence[str] = ()
) -> Run:
    """Begin a run, or resume one: the named one, or the newest unfinished one with the same settings.

    overrides: changes of the settings of a resumed run (`a.b=value`).

    Raises UsageError if the named run does not exist or is being trained by another process on this computer.
    """
    storage = open_store(store, config.aws)
    here = _is_directory(store)
    name = resume
    if name is None and here and config.training.resume_unfinished and config.training.run_name is None:
        name = _unfinished(storage, config.experiment, store)
    if name is None:
        name = config.training.run_name or layout.new_run_id()
        check_league(config)
        check_backend(config.env)
        warm_start.check(config.policy_sources, storage)
        _check_is_new(storage, name, store)
        write_config(storage, name, config)
        lock = _lock(_local(store, name, here=here), name) if here else None
    else:
        config = changed(config_of(storage, name), overrides, name)
        lock = _lock(_local(store, name, here=here), name) if here else None
    try:
        claimed = _claim(storage, name, config.training.training_type, origin)
        return Run(name, config, store, storage, *claimed, _local(store, name, here=lock is not None), lock)
    except BaseException:
        if lock is not None:
            lock.close()
        raise


def _check_is_new(storage: Storage, name: str, store: str) -> None:
    if any(True for _ in storage.list(layout.run_prefix(name) + "/")):
        msg = f"a run named {name!r} exists in {store}"
        next_step = f"Continue it with --resume {name}, or choose another training.run_name."
        raise UsageError(msg, next_step=next_step)


class _Claim(NamedTuple):
    """What a claim of a run gives, in the order of a Run's fields."""

    lineage: RunWriter
    attempt: documents.Attempt
    checkpoint: Checkpoint | None
    partial: Checkpoint | None


def _claim(storage: Storage, name: str, training_type: str, origin: ResumePoint) -> _Claim:
    row = _this_attempt(storage, name, origin)
    partial = _partial(storage, name, training_type, row.fleet_id) if origin.from_partial else None
    attempt = documents.begin_attempt(storage, name, row)
    _check_boot(storage, name)
    owner = Owner(host=attempt.host, instance_id=attempt.instance_id, fleet_id=attempt.fleet_id)
    # Its calls are pieces of work that end; those of the log and of the look for requests never do, and say nothing.
    told = reporting(storage, alive)
    lineage = claim(told, name, training_type, attempt.number, owner=owner)
    checkpoint = _newest(lineage, attempt, origin)
    if checkpoint is not None:
        step = checkpoint.step
        documents.change_attempt(storage, name, attempt.boot_id, first_step=step, last_step=step)
    documents.set_status(storage, name, "running", attempt=attempt.number)
    return _Claim(lineage, attempt, checkpoint, partial)


def _this_attempt(storage: Storage, name: str, origin: ResumePoint) -> documents.Attempt:
    """Return the row of attempts.json for this process; its number is given when it is added."""
    machine = machine_facts(Imds(), storage, name) if os.environ.get(ON_INSTANCE) else {}
    about = {"boot_id": uuid.uuid4().hex, "host": platform.node()[:300], "started_at": utc_now()}
    return documents.Attempt.model_validate({"number": 1, "at_step": origin.at_step, **about, **machine})


def _check_boot(storage: Storage, name: str) -> None:
    """Check, on an instance, whether it may train; raise RunAlreadyFinished or NoProgress if it may not."""
    if not os.environ.get(ON_INSTANCE):
        return
    check_image()
    decision = attempt_limit.at_start(storage, name)
    if decision.verdict == "over":
        raise RunAlreadyFinished(f"run {name}: {decision.reason}; this machine has nothing to do")
    if decision.verdict == "failed":
        next_step = (
            f"Look at its log, mend the cause, then launch it again: ./launch.py train --resume {name}"
        )
        raise NoProgress(f"run {name} has failed: {decision.reason}", next_step=next_step)


def _partial(storage: Storage, name: str, training_type: str, fleet_id: str) -> Checkpoint | None:
    """Return the partial save that continues a run's newest checkpoint; nothing is claimed if there is none.

    None if an earlier machine of this fleet, with the same command line, resumed from it and has saved since.
    """
    try:
        return load_partial(storage, name, training_type)
    except NoCheckpoint as error:
        if fleet_id and any(row.fleet_id == fleet_id for row in documents.read_attempts(storage, name)):
            return None
        next_step = (
            f"{error.next_step}\nLeave --from-partial out: the run continues from its newest checkpoint."
        )
        raise UsageError(error.message, next_step=next_step.strip()) from error


def _newest(lineage: RunWriter, attempt: documents.Attempt, origin: ResumePoint) -> Checkpoint | None:
    try:
        if origin.at_step is None or not attempt.fleet_id:
            return lineage.load(at_step=origin.at_step)
        newest = lineage.load()
        gone_back = _already_rewound(lineage, attempt, newest)
        return newest if gone_back else lineage.load(at_step=origin.at_step)
    except NoCheckpoint:
        return None


def _already_rewound(lineage: RunWriter, attempt: documents.Attempt, newest: Checkpoint) -> bool:
    """Tell whether an earlier machine of this fleet has resumed from the requested step and got further.

    Each machine of a fleet has the same command line: without this every relaunch would begin at --at again.
    """
    rows = documents.read_attempts(lineage.storage, lineage.run)
    before = next((row for row in rows if row.number == newest.manifest.attempt), None)
    return before is not None and (before.fleet_id, before.at_step) == (attempt.fleet_id, attempt.at_step)


def _unfinished(storage: Storage, experiment: Mapping[str, Any], store: str) -> str | None:
    """Return the newest run of this experiment that is not done, and that no process trains at the moment."""
    for name in reversed(runs_in(storage)):
        status = documents.read_status(storage, name)
        if status is None or status.state in {"done", "failed"} or not _is_of(storage, name, experiment):
            continue
        try:
            _lock(_local(store, name, here=True), name).close()
        except UsageError:
            continue
        return name
    return None


def _is_of(storage: Storage, name: str, experiment: Mapping[str, Any]) -> bool:
    """Tell whether a run is of the same experiment; one that another version wrote is not."""
    try:
        return config_of(storage, name).experiment == experiment
    except (ConfigurationError, DataError):
        return False


def _is_directory(store: str) -> bool:
    return "://" not in store or store.startswith("file://")


def _local(store: str, name: str, *, here: bool) -> Path:
    """Return the run's folder: in the store where that is a directory, else below the temporary files."""
    if here:
        return expand(store.removeprefix("file://")) / layout.run_prefix(name)
    root = os.environ.get("STATE_DIRECTORY") or tempfile.gettempdir()
    return Path(root) / layout.run_prefix(name)


def _lock(folder: Path, name: str) -> IO[str]:
    """Lock the run for this process; the kernel releases it when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / LOCK).open("a", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        msg = f"run {name} is being trained by another process on this computer"
        next_step = "Wait for it, stop it, or begin another run with --set training.run_name=NAME."
        raise UsageError(msg, next_step=next_step) from None
    return file
