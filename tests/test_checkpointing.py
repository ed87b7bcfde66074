"""Saving while the store is away, full or slow; partial saves; what stays on this computer."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.training_sessions import Session, begin, settings, several
from training import layout
from training.agents import replay_segments
from training.agents.codec import decode, encode
from training.errors import DataError
from training.run.checkpointing import SavedParts, Saver
from training.store.checkpoint import CheckpointData, claim, load, load_partial
from training.store.directory import DirectoryStorage
from training.store.restore import NoCheckpoint
from training.store.storage import ALWAYS, Body, Condition, OutOfSpace

RUN, TYPE = "exact", "sac"
# Segments of 128 timesteps, a ring of 1000; random driving, but where a test asks for updates.
SMALL = {"sac.buffer_size": 1000, "evaluation.frequency": 0, "sac.learning_starts": 100_000}
LEARNING = {"sac.learning_starts": 200, "sac.gradient_steps": 1}


class MoodyStorage(DirectoryStorage):
    """A directory that is full while told to, or whose writes of members hang."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.full = False
        self.hanging = False
        self.gate = threading.Event()

    def put(self, key: str, body: Body, *, condition: Condition = ALWAYS, sha256: str | None = None) -> str:
        if self.full:
            raise OutOfSpace(f"write {key}: no space left on the device")
        if self.hanging and "replay_tail" in key:
            self.gate.wait(30)
        return super().put(key, body, condition=condition, sha256=sha256)


def session(
    root: Path, *, attempt: int = 1, learning: bool = False, agents: int = 1
) -> tuple[Session, MoodyStorage, list[str]]:
    """Build a session of a small ring, and so of short segments, in a moody store."""
    changes = {**SMALL, **(LEARNING if learning else {})}
    config = settings(4, **changes) if agents == 1 else several(agents, "independent", **changes)
    made = begin(config, root / f"unused-{attempt}")
    made.saver.close()
    store, said = MoodyStorage(root / "store"), []
    lineage = claim(store, RUN, TYPE, attempt=attempt)
    saver = Saver(SavedParts(*made.parts), lineage, config.training, said.append)
    return Session(made.parts, saver, made.episodes), store, said


@pytest.mark.slow
def test_a_full_disk_stops_no_step_and_is_said_once(tmp_path):
    """Training goes on for longer than the ring remembers; with room again the next save is whole."""
    run, store, said = session(tmp_path)
    run.train_to(40)
    run.saver.finish({})
    store.full = True
    run.train_to(2600)
    for _ in range(3):
        run.saver.start({})
        if run.saver._running is not None:
            run.saver._running.exception()
        run.saver.poll()
    assert [line for line in said if "no space left" in line] == said[:1]
    assert "training continues" in said[0]
    assert run.saver.durable.step == 40
    store.full = False
    run.saver.finish({})
    again, *_ = session(tmp_path, attempt=2)
    again.saver.restore(load(store, RUN, TYPE))
    replay, restored = (s.parts.learner.agents[0].replay_buffer for s in (run, again))
    rows = replay.steps - replay.size(), replay.steps - 1
    for name, array in replay_segments.cut(replay, *rows).items():
        np.testing.assert_array_equal(array, replay_segments.cut(restored, *rows)[name], err_msg=name)


@pytest.mark.slow
def test_ctrl_c_on_a_full_disk_says_so_at_once(tmp_path):
    """Without a deadline the error of the store comes up; nobody waits minutes for a disk to grow."""
    run, store, _ = session(tmp_path)
    run.train_to(40)
    run.saver.finish({})
    store.full = True
    run.train_to(1600)
    began = time.monotonic()
    with pytest.raises(OutOfSpace):
        run.saver.finish({})
    assert time.monotonic() - began < 60
    assert load(store, RUN, TYPE).step == 40


@pytest.mark.parametrize("agents", [1, 2])
def test_weights_go_up_as_a_partial_while_a_save_hangs(tmp_path, monkeypatch, agents):
    """A notice comes while the store hangs: the last seconds go to all agents' weights and optimizers."""
    monkeypatch.setattr("training.run.checkpointing.PARTIAL_S", 20.0)
    run, store, said = session(tmp_path, agents=agents)
    run.train_to(240)
    run.saver.finish({})
    store.hanging = True
    run.train_to(320)
    assert run.saver.start({"laps": 1})
    run.train_to(400)
    assert run.saver.finish({"laps": 2}, not_after=time.monotonic() + 20.5) is False
    assert "cannot be saved in time" in said[-1]
    partial = load_partial(store, RUN, TYPE)
    assert (partial.step, partial.meta["laps"]) == (400, 2)
    learners = {layout.learner_member(number) for number in range(agents)}
    assert {name for name in partial.manifest.members if name.endswith("learner")} == learners
    assert load(store, RUN, TYPE).step == 240, "a partial save never replaces the pointer"
    store.gate.set()
    run.saver._running.exception()
    assert load(store, RUN, TYPE).step == 320
    with pytest.raises(NoCheckpoint):  # overtaken by a whole checkpoint, if an older one
        load_partial(store, RUN, TYPE)


@pytest.mark.slow
@pytest.mark.parametrize("agents", [1, 2, 4])
def test_a_partial_save_goes_on_with_its_weights_and_the_replay_of_the_checkpoint(tmp_path, agents):
    """All but what the replays took in since comes back; no transition leads from the one moment to the other."""
    run, store, _ = session(tmp_path, learning=True, agents=agents)
    run.train_to(512)  # the last row fills a segment, which must be cut again
    run.saver.finish({})
    run.train_to(800)
    snapshot = run.saver._state({"laps": 7})
    learners = [layout.learner_member(number) for number in range(agents)]
    members = {name: snapshot.members[name]() for name in (layout.WORLD_MEMBER, *learners)}
    run.saver._lineage.commit_partial(800, CheckpointData(members, (), snapshot.meta))
    again, _, _ = session(tmp_path, attempt=2, learning=True, agents=agents)
    checkpoint, partial = load(store, RUN, TYPE), load_partial(store, RUN, TYPE)
    assert again.saver.restore(checkpoint, partial)["laps"] == 7
    ours, theirs = again.parts.learner, run.parts.learner
    assert ours.num_timesteps == 800
    np.testing.assert_array_equal(ours.team.update.actor.flat.numpy(), theirs.team.update.actor.flat.numpy())
    noises = [[agent.noise.get_state().numpy() for agent in learner.agents] for learner in (ours, theirs)]
    np.testing.assert_array_equal(*noises)
    np.testing.assert_array_equal(ours.observations, theirs.observations)
    assert [agent.replay_buffer.steps for agent in ours.agents] == [512 // 4] * agents
    replay = ours.agents[-1].replay_buffer
    newest = replay.observations[replay.steps % replay.rows].copy()
    again.train_to(812)
    row = np.full(4, (512 // 4 - 1) % replay.rows)
    np.testing.assert_array_equal(
        replay.at(row, np.arange(4)).next_observations[
            replay.final_number[row[0]] >= replay.episode_ends - 8
        ],
        newest[replay.final_number[row[0]] >= replay.episode_ends - 8],
    )
    again.saver.finish({})
    third, *_ = session(tmp_path, attempt=3, learning=True, agents=agents)
    third.saver.restore(load(store, RUN, TYPE))
    rows = replay.steps - replay.size(), replay.steps - 1
    for name, array in replay_segments.cut(replay, *rows).items():
        np.testing.assert_array_equal(
            array,
            replay_segments.cut(third.parts.learner.agents[-1].replay_buffer, *rows)[name],
            err_msg=name,
        )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"replay_steps": 10**14}, "rows"),
        ({"replay_steps": -5}, "rows"),
        ({"replay_steps": "many"}, "does not hold what this run needs"),
        ({"num_timesteps": None}, "does not hold what"),
        ({"generators": {}}, "does not hold what"),
    ],
)
def test_a_checkpoint_that_is_whole_but_not_ours_is_refused_in_words(tmp_path, change, told):
    """Hashes vouch for bytes, not for sense: wrong types and counts end in an error that says what to do."""
    run, store, _ = session(tmp_path)
    run.train_to(240)
    snapshot = run.saver._snapshot({})
    agent = snapshot.meta["agents"][0]
    agent["learner"].update({name: value for name, value in change.items() if name in agent["learner"]})
    world = {name: value for name, value in change.items() if name in snapshot.meta["world"]}
    meta = {**snapshot.meta, "world": {**snapshot.meta["world"], **world}}
    members = {name: make() for name, make in snapshot.members.items()}
    run.saver._lineage.commit(240, CheckpointData(members, snapshot.segments, meta))
    again, *_ = session(tmp_path, attempt=2)
    with pytest.raises(DataError, match=told):
        again.saver.restore(load(store, RUN, TYPE))


@pytest.mark.parametrize(
    ("member", "name", "array"),
    [
        (layout.WORLD_MEMBER, "last_observations", np.zeros((4, 3), dtype=np.float64)),
        (layout.learner_member(0), "actor", np.zeros(5, dtype=np.float32)),
        (layout.learner_member(0), "log_alpha", np.zeros(1, dtype=np.int64)),
    ],
)
def test_arrays_of_another_type_or_shape_are_refused_by_name(tmp_path, member, name, array):
    """The error names the array, what was found and what was expected."""
    run, store, _ = session(tmp_path)
    run.train_to(240)
    snapshot = run.saver._snapshot({})
    arrays = decode(snapshot.members[member](), what=member) | {name: array}
    members = {name: make() for name, make in snapshot.members.items()} | {member: encode(arrays)}
    run.saver._lineage.commit(240, CheckpointData(members, snapshot.segments, snapshot.meta))
    again, *_ = session(tmp_path, attempt=2)
    with pytest.raises(DataError, match=f"{name}.*expected"):
        again.saver.restore(load(store, RUN, TYPE))


def test_a_member_that_would_unpack_to_gigabytes_is_not_unpacked(tmp_path):
    """A few kilobytes that announce two gigabytes are refused before memory is taken."""
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(100 << 20))
    run, store, _ = session(tmp_path)
    run.train_to(240)
    snapshot = run.saver._snapshot({})
    members = {name: make() for name, make in snapshot.members.items()} | {layout.tail_member(0): bomb}
    run.saver._lineage.commit(240, CheckpointData(members, snapshot.segments, snapshot.meta))
    again, *_ = session(tmp_path, attempt=2)
    with pytest.raises(DataError, match="would unpack to"):
        again.saver.restore(load(store, RUN, TYPE))


def test_milestones_are_marked_as_often_as_asked_for(tmp_path):
    """training.milestone_frequency: the first checkpoint from each multiple on is kept for good."""
    run, *_ = session(tmp_path)
    run.saver._milestones = 100
    for step in (40, 104, 160, 240):
        run.train_to(step)
        run.saver.finish({})
    lineage = run.saver._lineage
    assert [ref.step for ref in lineage.pointer.milestones] == [240, 104]
