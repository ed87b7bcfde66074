"""What a run takes over from others is copied into it by the launcher: its machine reaches its own run alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from training import layout
from training.config import PolicySources, load_config
from training.errors import ConfigurationError
from training.store.checkpoint import CheckpointData, claim
from training.store.directory import DirectoryStorage
from training.store.manifest import Owner
from training.store.storage import ALWAYS, Body, Condition, Corrupt, ListedObject, Refused, Stored
from training.stored_runs import policy_sources

RUN = "new"
LEAGUE = (
    "training.training_type=sac_multiagent",
    "training.init_from=old",
    "multi_agent.mode=league",
    "multi_agent.league.checkpoints=[old, 'old:1', 'old@10:1']",
)


class OwnRun:
    """A store that shows a machine what its role lets it see: one run."""

    def __init__(self, inner: DirectoryStorage) -> None:
        self.inner, self.url = inner, inner.url

    def _check(self, key: str) -> None:
        if not key.startswith(f"runs/{RUN}/"):
            raise Refused(f"403: {key}")

    def get(self, key: str, *, max_bytes: int) -> Stored:
        self._check(key)
        return self.inner.get(key, max_bytes=max_bytes)

    def get_to_file(self, key: str, path: Path, *, max_bytes: int) -> None:
        self._check(key)
        self.inner.get_to_file(key, path, max_bytes=max_bytes)

    def put(self, key: str, body: Body, *, condition: Condition = ALWAYS, sha256: str | None = None) -> str:
        self._check(key)
        return self.inner.put(key, body, condition=condition, sha256=sha256)

    def list(self, prefix: str) -> Iterator[ListedObject]:
        self._check(prefix)
        return self.inner.list(prefix)

    def delete(self, keys: Sequence[str]) -> None:
        raise Refused(f"403: {keys}")


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStorage:
    """Give a store with a run of two agents that has a checkpoint and policies."""
    store = DirectoryStorage(tmp_path)
    theirs = load_config(None, ["training.training_type=sac_multiagent"])
    store.put(layout.config_key("old"), json.dumps(theirs.to_json_dict()).encode())
    members = {f"agent{n}.{kind}": f"{kind} {n}".encode() for n in range(2) for kind in ("learner", "kept")}
    lineage = claim(store, "old", "sac_multiagent", 1, owner=Owner())
    lineage.commit(10, CheckpointData({**members, "world": b"x" * 1000}, (), {"best_agent": 1}))
    store.put(layout.policy_key("old", 1, 10), b"policy 1 at 10")
    return store


def sources(*settings: str) -> PolicySources:
    return load_config(None, list(settings)).policy_sources


def taken(
    storage: DirectoryStorage | OwnRun, chosen: PolicySources
) -> tuple[list[bytes], list[tuple[str, bytes]]]:
    networks = policy_sources.networks_of(storage, RUN, chosen)
    assert networks is not None
    pool = [(name, one.data) for name, one in policy_sources.opponents_of(storage, RUN, chosen)]
    return networks.data, pool


def test_a_machine_reads_from_its_own_run_what_a_laptop_reads_from_the_others(
    store: DirectoryStorage,
) -> None:
    chosen = sources(*LEAGUE)
    before = taken(store, chosen)
    assert before == (
        [b"learner 0", b"learner 1"],
        [("old", b"kept 1"), ("old:1", b"kept 1"), ("old@10:1", b"policy 1 at 10")],
    )
    with pytest.raises(Refused, match="403: runs/old/"):
        taken(OwnRun(store), chosen)
    policy_sources.copy_into_run(store, RUN, chosen)
    assert taken(OwnRun(store), chosen) == before
    networks = policy_sources.networks_of(OwnRun(store), RUN, chosen)
    assert networks is not None
    assert (networks.step, networks.config.num_agents) == (10, 2)


def test_only_what_is_needed_is_copied(store: DirectoryStorage) -> None:
    policy_sources.copy_into_run(store, RUN, sources("training.init_from=old"))
    copied = sorted(entry.key for entry in store.list(f"runs/{RUN}/"))
    assert copied == [
        f"runs/{RUN}/sources/{name}" for name in ("agent0.learner", "agent1.learner", "sources.json")
    ]


def test_copies_stay_as_they_are_when_the_other_run_goes_on(store: DirectoryStorage) -> None:
    chosen = sources("training.init_from=old")
    policy_sources.copy_into_run(store, RUN, chosen)
    claim(store, "old", "sac_multiagent", 2, owner=Owner()).commit(
        20, CheckpointData({f"agent{n}.learner": b"later" for n in range(2)}, (), {})
    )
    policy_sources.copy_into_run(store, RUN, chosen)
    found = policy_sources.networks_of(store, RUN, chosen)
    assert found is not None
    assert (found.step, found.data) == (10, [b"learner 0", b"learner 1"])


def test_a_start_that_broke_off_and_other_settings_copy_again(store: DirectoryStorage) -> None:
    chosen = sources("training.init_from=old")
    policy_sources.copy_into_run(store, RUN, chosen)
    assert policy_sources.is_copied(store, RUN, chosen)
    assert not policy_sources.is_copied(store, RUN, sources(*LEAGUE))
    policy_sources.copy_into_run(store, RUN, sources(*LEAGUE))
    assert policy_sources.is_copied(store, RUN, sources(*LEAGUE))
    assert len(taken(OwnRun(store), sources(*LEAGUE))[1]) == 3


def test_a_copy_that_is_damaged_is_refused(store: DirectoryStorage) -> None:
    chosen = sources("training.init_from=old")
    policy_sources.copy_into_run(store, RUN, chosen)
    store.put(layout.source_networks_key(RUN, 1), b"learner X")
    with pytest.raises(Corrupt, match="damaged"):
        policy_sources.networks_of(store, RUN, chosen)


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(store: DirectoryStorage) -> None:
    lineage = claim(store, "old", "sac_multiagent", 2, owner=Owner())
    newer = lineage.commit(20, CheckpointData({f"agent{n}.learner": b"later" for n in range(2)}, (), {}))
    store.put(layout.member_key("old", newer.id, "agent1.learner"), b"spoil")
    found = policy_sources.read_networks(store, sources("training.init_from=old"))
    assert found is not None
    assert found.step == 10


def test_a_run_that_takes_nothing_over_has_no_copies(store: DirectoryStorage) -> None:
    policy_sources.copy_into_run(store, RUN, sources())
    assert list(store.list(f"runs/{RUN}/")) == []
    assert policy_sources.check(store, sources()) == ""
    told = policy_sources.check(store, sources(*LEAGUE))
    assert told == "the networks of 2 agents of run old, step 10, 3 opponents"


@pytest.mark.parametrize(
    ("setting", "says"),
    [("training.init_from=nobody", "there is no run called 'nobody'"), ("sac.net_arch=[8]", "layers of")],
)
def test_what_is_not_there_or_does_not_fit_is_refused(
    store: DirectoryStorage, setting: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        policy_sources.check(store, sources("training.init_from=old", setting))


def test_copies_name_the_sums_of_their_bytes(store: DirectoryStorage) -> None:
    policy_sources.copy_into_run(store, RUN, sources("training.init_from=old"))
    document = json.loads(store.get(layout.sources_key(RUN), max_bytes=1 << 20).data)
    sums = [file["sha256"] for file in document["networks"]["files"]]
    assert sums == [hashlib.sha256(f"learner {n}".encode()).hexdigest() for n in range(2)]
