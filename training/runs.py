"""A run in its store: found or begun, claimed, named, left or finished."""

from __future__ import annotations

import fcntl
import io
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from training import layout
from training.config import Config
from training.errors import UsageError
from training.store.checkpoint import claim, load
from training.store.fencing import read_pointer
from training.store.manifest import Owner
from training.store.opening import open_store
from training.store.restore import NoCheckpoint
from training.store.storage import NotFound, Storage

if TYPE_CHECKING:
    from training.store.checkpoint import Checkpoint, Lineage

LOCK = ".lock"


class Run(NamedTuple):
    """A claimed run."""

    name: str
    config: Config
    store: str
    storage: Storage
    lineage: Lineage
    checkpoint: Checkpoint | None  # to go on from
    local: Path  # the run's folder on this computer
    lock: IO[str] | None

    @property
    def greeting(self) -> str:
        """Say what begins or goes on, and where it lies."""
        place = self.local if self.lock else f"{self.store}/{layout.run_prefix(self.name)}"
        if self.checkpoint is None:
            return f"run {self.name} begins; everything goes to {place}"
        return f"run {self.name} goes on from step {self.checkpoint.step:,}; everything is in {place}"

    @property
    def how_to_continue(self) -> str:
        """Return the sentence that names the command which continues the run."""
        store = "" if self.store == "." else f" --store {self.store}"
        return f"Continue with: python -m training train --resume {self.name}{store} (or `make train` again)"

    def mark(self, state: str) -> None:
        """Write status.json: running, done, stopped or failed."""
        document = {"run": self.name, "state": state, "training_type": self.config.training.training_type}
        self.storage.put(layout.status_key(self.name), json.dumps(document).encode())


def open_run(config: Config, store: str, *, resume: str | None, at_step: int | None) -> Run:
    """Begin a run, or go on with one: the named one, or the newest unfinished one of the same settings.

    Raises UsageError where the named run does not exist, is finished, or is being trained by another process.
    """
    storage = open_store(store, config.aws)
    here = _is_directory(store)
    name = resume or _unfinished(storage, config, store) if here or resume else None
    if name is None:
        return _begin(config, storage, store, here)
    saved = _saved_config(storage, name)
    lock = _lock(_local(store, name, here), name) if here else None
    checkpoint = _checkpoint(storage, name, saved, at_step)
    run = _claimed(saved, storage, store, name, checkpoint, lock)
    run.mark("running")
    return run


def _begin(config: Config, storage: Storage, store: str, here: bool) -> Run:
    name = config.training.run_name or layout.new_run_id()
    if any(True for _ in storage.list(layout.run_prefix(name) + "/")):
        msg = f"a run named {name!r} exists in {store}"
        raise UsageError(msg, next_step=f"Continue it with --resume {name}, or choose another training.run_name.")
    storage.put(layout.config_key(name), json.dumps(config.to_json_dict(), indent=1).encode())
    lock = _lock(_local(store, name, here), name) if here else None
    run = _claimed(config, storage, store, name, None, lock)
    run.mark("running")
    return run


def _claimed(  # noqa: PLR0913 - the fields of a Run
    config: Config,
    storage: Storage,
    store: str,
    name: str,
    checkpoint: Checkpoint | None,
    lock: IO[str] | None,
) -> Run:
    kind = config.training.training_type
    before = read_pointer(storage, name, kind)
    attempt = 1 if before is None else before.pointer.claim.attempt + 1
    lineage = claim(storage, name, kind, attempt, owner=Owner(host=platform.node()[:300]))
    if checkpoint is not None:
        # Later commits continue the checkpoint that we go on from, not what was saved after it.
        checkpoint = lineage.load(at_step=checkpoint.step)
    local = _local(store, name, lock is not None)
    return Run(name, config, store, storage, lineage, checkpoint, local, lock)


def _checkpoint(storage: Storage, name: str, config: Config, at_step: int | None) -> Checkpoint | None:
    try:
        return load(storage, name, config.training.training_type, at_step=at_step, verify=False)
    except NoCheckpoint:
        return None


def _saved_config(storage: Storage, name: str) -> Config:
    try:
        data = storage.get(layout.config_key(name), max_bytes=1 << 20).data
    except NotFound:
        msg = f"there is no run {name!r} in the store; it holds: {', '.join(names(storage)) or 'no runs'}"
        raise UsageError(msg, next_step="Give one of these to --resume, or leave it out to begin anew.") from None
    return Config.from_json_dict(json.loads(data), layout.config_key(name))


def names(storage: Storage) -> list[str]:
    """Return the names of the runs in a store, oldest first."""
    keys = (entry.key for entry in storage.list(f"{layout.RUNS}/"))
    return sorted({layout.parse_run(key) for key in keys if key.endswith("/config.json")})


def state_of(storage: Storage, name: str) -> str:
    """Return the state in a run's status.json, "unknown" where there is none."""
    try:
        document: dict[str, Any] = json.loads(storage.get(layout.status_key(name), max_bytes=1 << 20).data)
    except (NotFound, ValueError):
        return "unknown"
    return str(document.get("state", "unknown"))


def _unfinished(storage: Storage, config: Config, store: str) -> str | None:
    """Return the newest run that has these settings, is not done, and that nobody trains at the moment."""
    if not config.training.resume_unfinished or config.training.run_name is not None:
        return None
    wanted = config.to_json_dict()
    for name in reversed(names(storage)):
        if state_of(storage, name) in {"done", "failed"}:
            continue
        if json.loads(storage.get(layout.config_key(name), max_bytes=1 << 20).data) != wanted:
            continue
        try:
            lock = _lock(_local(store, name, here=True), name)
        except UsageError:
            continue
        lock.close()
        return name
    return None


def _is_directory(store: str) -> bool:
    return "://" not in store or store.startswith("file://")


def _local(store: str, name: str, here: bool) -> Path:
    """Return the run's folder: in the store where that is a directory, else below the temporary files."""
    if here:
        return Path(store.removeprefix("file://")).expanduser() / layout.run_prefix(name)
    root = os.environ.get("STATE_DIRECTORY") or tempfile.gettempdir()
    return Path(root) / layout.run_prefix(name)


def _lock(folder: Path, name: str) -> IO[str]:
    """Take the run for this process; the kernel lets go of it when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / LOCK).open("a", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        msg = f"run {name} is being trained by another process on this computer"
        raise UsageError(msg, next_step="Wait for it, stop it, or begin another run with --set training.run_name=…") from None
    return file
