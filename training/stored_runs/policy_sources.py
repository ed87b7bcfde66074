"""Files that a new run takes over from other runs, as bytes: its agents' first networks, opponents of its league.

A machine on AWS reaches its own run alone, so the launcher copies these into the run (`copy_into_run`), and the
trainer looks there first. On one computer they are read where they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import Field

from .. import layout
from ..config import Config, EnvSettings, PolicySources
from ..config.checks import check_compatible, check_shape, differing_settings, other_physics
from ..errors import ConfigurationError, DataError, UsageError
from ..process.systemd_notify import alive
from ..store import documents
from ..store.manifest import Count, Document, Sha256, ShortText
from ..store.storage import Storage, check_bytes
from .read import StoredPolicy, StoredRun, config_of, parse, policy_named

MAX_NETWORKS_BYTES = 1 << 30
Size = Annotated[int, Field(ge=0, le=MAX_NETWORKS_BYTES)]
Read = TypeVar("Read")


class Networks(NamedTuple):
    """The networks that the agents begin with: those of a run's agents at a step."""

    config: Config
    step: int
    data: list[bytes]


class _File(Document):
    """One copied file, as it was when copied."""

    size: Size
    sha256: Sha256


class _CopiedNetworks(Document):
    config: dict[str, Any]
    step: Count
    files: tuple[_File, ...]


class _CopiedPolicy(Document):
    name: ShortText
    config: dict[str, Any]
    what: ShortText
    file: _File


class Copies(documents.Versioned):
    """The list of what was copied into a run; written last, so that every file it names is there."""

    init_from: ShortText | None = None
    networks: _CopiedNetworks | None = None
    policies: tuple[_CopiedPolicy, ...] = ()


# --- where they are ---
def read_networks(storage: Storage, sources: PolicySources) -> Networks | None:
    """Read the networks that `training.init_from` names, of this run's shape; None where it names none.

    Raises ConfigurationError, naming the setting, for a run that is missing, has no checkpoint or another shape.
    """
    run = sources.init_from
    if run is None:
        return None
    key = f"training.init_from = {run}"
    theirs = _explained(key, lambda: config_of(storage, run))
    check_shape(key, theirs.actor_sizes, sources.actor_sizes)
    return Networks(theirs, *_explained(key, StoredRun(storage, run, theirs).newest_networks))


def read_opponents(storage: Storage, sources: PolicySources) -> Iterator[tuple[str, StoredPolicy]]:
    """Read each policy that `multi_agent.league.checkpoints` names, where there is a league.

    Raises ConfigurationError, naming the setting, for one that is missing, or that cannot drive in this run.
    """
    for name in sources.opponents:
        key = f"multi_agent.league.checkpoints: {name}"
        found = _explained(key, lambda name=name: policy_named(storage, parse(name)))  # type: ignore[misc]
        check_compatible(key, found.config.env, sources.env)
        check_shape(key, found.config.actor_sizes, sources.actor_sizes)
        yield name, found


def check(storage: Storage, sources: PolicySources) -> str:
    """Read all that a run takes over, and return it for people; ConfigurationError as above."""
    networks = read_networks(storage, sources)
    found = {name: one.config.env for name, one in read_opponents(storage, sources)}
    begin = (
        f"the networks of {len(networks.data)} agents of run {sources.init_from}, step {networks.step:,}"
        if networks
        else ""
    )
    opponents = f"{len(found)} opponents" if found else ""
    if told := in_other_physics(found, sources.env):
        opponents += f" ({'; '.join(told)})"
    return ", ".join(filter(None, [begin, opponents]))


def in_other_physics(found: Mapping[str, EnvSettings], ours: EnvSettings) -> list[str]:
    """Say which policies learnt in other physics than a run's, those of the same ones together; by their names."""
    names: dict[str, list[str]] = {}
    for name, theirs in found.items():
        if other := other_physics(theirs, ours):
            names.setdefault(differing_settings(other), []).append(name)
    return [f"{', '.join(some)} learnt with {differing} as here" for differing, some in names.items()]


def _explained(key: str, read: Callable[[], Read]) -> Read:
    try:
        return read()
    except (UsageError, DataError) as error:
        raise ConfigurationError(f"{key}: {error.message}", next_step=error.next_step) from error


# --- copies in the run itself ---
def is_copied(storage: Storage, run: str, sources: PolicySources) -> bool:
    """Tell whether a run has copies of what its settings name."""
    copies = documents.read(storage, layout.sources_key(run), Copies)
    if copies is None:
        return False
    names = tuple(one.name for one in copies.policies)
    return (copies.init_from, names) == (sources.init_from, sources.opponents)


def copy_into_run(storage: Storage, run: str, sources: PolicySources) -> None:
    """Copy all that a run takes over into the run, unless it is there; may be repeated after an interruption."""
    if not sources.any or is_copied(storage, run, sources):
        return
    networks = read_networks(storage, sources)
    copied = None
    if networks is not None:
        files = tuple(
            _put(storage, layout.source_networks_key(run, number), data)
            for number, data in enumerate(networks.data)
        )
        copied = _CopiedNetworks(config=networks.config.to_json_dict(), step=networks.step, files=files)
    policies = tuple(
        _CopiedPolicy(
            name=name,
            config=found.config.to_json_dict(),
            what=found.what,
            file=_put(storage, layout.source_policy_key(run, number), found.data),
        )
        for number, (name, found) in enumerate(read_opponents(storage, sources))
    )
    copies = Copies(init_from=sources.init_from, networks=copied, policies=policies)
    documents.update(storage, layout.sources_key(run), Copies, lambda _: copies)


def networks_of(storage: Storage, run: str, sources: PolicySources) -> Networks | None:
    """Return the networks that a run's agents begin with: of the copies in the run, else where they are."""
    copies = documents.read(storage, layout.sources_key(run), Copies)
    if copies is None:
        return read_networks(storage, sources)
    copied = copies.networks
    if copied is None:
        return None
    data = [
        _get(storage, layout.source_networks_key(run, number), file)
        for number, file in enumerate(copied.files)
    ]
    return Networks(Config.from_json_dict(copied.config, layout.sources_key(run)), copied.step, data)


def opponents_of(storage: Storage, run: str, sources: PolicySources) -> Iterator[tuple[str, StoredPolicy]]:
    """Yield the policies of a run's pool: of the copies in the run, else where they are."""
    copies = documents.read(storage, layout.sources_key(run), Copies)
    if copies is None:
        yield from read_opponents(storage, sources)
        return
    for number, one in enumerate(copies.policies):
        theirs = Config.from_json_dict(one.config, layout.sources_key(run))
        data = _get(storage, layout.source_policy_key(run, number), one.file)
        yield one.name, StoredPolicy(theirs, data, one.what)


def _put(storage: Storage, key: str, data: bytes) -> _File:
    digest = hashlib.sha256(data).hexdigest()
    storage.put(key, data, sha256=digest)
    return _File(size=len(data), sha256=digest)


def _get(storage: Storage, key: str, file: _File) -> bytes:
    data = storage.get(key, max_bytes=file.size).data
    alive()
    return check_bytes(data, size=file.size, sha256=file.sha256, what=key)
