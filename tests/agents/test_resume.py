"""A run that was interrupted ends in the same bits as one that was not, with one agent and with several."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from tests.support.devices import DEVICES
from tests.support.training_sessions import RUN, assert_same, begin, settings, several
from training import layout
from training.agents import snapshot
from training.agents.codec import decode
from training.agents.league import POOL
from training.config import Config
from training.errors import DataError
from training.store.checkpoint import claim
from training.store.open import open_store

MODES = ("independent", "shared", "league")


class Kind(NamedTuple):
    """A kind of run, with its number of updates a timestep in its name."""

    num_envs: int
    train_freq: int
    gradient_steps: int
    total: int

    @property
    def config(self) -> Config:
        changes = {"sac.train_freq": self.train_freq, "sac.gradient_steps": self.gradient_steps}
        return settings(self.num_envs, **changes, **{"sac.buffer_size": 1000})


KINDS = {
    "1 environment, 1 update": Kind(1, 1, 1, 500),
    "1 environment, 1/4 update": Kind(1, 4, 1, 1200),
    "16 environments, 1 update": Kind(16, 1, 16, 640),
    "16 environments, 1/24 update": Kind(16, 3, 2, 2400),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[Kind, dict[str, Any]]:
    """Return where each kind of run ends if nobody interrupts it; filled as it is needed."""

    class Ends(dict[Kind, dict[str, Any]]):
        def __missing__(self, kind: Kind) -> dict[str, Any]:
            whole = begin(kind.config, tmp_path_factory.mktemp("whole"))
            whole.train_to(kind.total)
            self[kind] = whole.everything()
            return self[kind]

    return Ends()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("part", [0.2, pytest.param(0.75, marks=pytest.mark.slow)])
def test_resumed_equals_uninterrupted(tmp_path, uninterrupted, kind, part):
    """Before and after learning starts, with a ring that has wrapped, every array is the same to the last bit.

    The save goes up in the background while training goes on, and what is trained after it is lost.
    """
    first = begin(kind.config, tmp_path)
    first.train_to(int(kind.total * part))
    saved = first.everything()
    assert first.saver.start(first.meta())
    first.train_to(int(kind.total * (part + 0.1)))
    first.saver._running.result()
    second = begin(kind.config, tmp_path, resume=True)
    assert_same(saved, second.everything())
    second.train_to(kind.total)
    assert_same(uninterrupted[kind], second.everything())


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("agents", "mode"),
    [
        *((2, mode) for mode in MODES),
        *(pytest.param(4, mode, marks=pytest.mark.slow) for mode in MODES),
    ],
)
def test_several_agents_resume_exactly(tmp_path, agents, mode, device):
    """Networks, replay and generators of every agent, the pool and who drives what: all as without the break."""
    config = several(agents, mode, **{"multi_agent.league.checkpoints": "[other]"})
    total = 1400 if mode != "shared" else 1400 * agents
    whole = begin(config, tmp_path / "whole", device=device)
    whole.train_to(total)
    first = begin(config, tmp_path / "cut", device=device)
    first.train_to(int(0.6 * total))
    first.save()
    second = begin(config, tmp_path / "cut", resume=True, device=device)
    assert_same(first.everything(), second.everything())
    second.train_to(total)
    assert_same(whole.everything(), second.everything())
    if mode == "league":
        assert [one.name for one in second.parts.learner.league.external] == ["other"]
        assert len(whole.parts.learner.league.pool) > agents
        assert whole.parts.learner.league.interval > 200, "the pool has never been thinned out"


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shared_policy", [False, True])
def test_a_league_of_champions_resumes_exactly(tmp_path, shared_policy, device):
    """Each agent's line, and what is kept: the newest champion; rewards hang on who is ahead."""
    changes = {"champions": True, "shared_policy": shared_policy}
    config = several(
        2,
        "league",
        **{f"multi_agent.league.{key}": value for key, value in changes.items()},
        **{"evaluation.frequency": 200, "env.reward.lead": 0.2},
    )
    whole = begin(config, tmp_path / "whole", device=device)
    whole.train_to(1700)
    first = begin(config, tmp_path / "cut", device=device)
    first.train_to(900)
    first.save()
    assert (first.parts.learner.league.driver >= POOL).any(), "no champion drives when it is saved"
    second = begin(config, tmp_path / "cut", resume=True, device=device)
    assert_same(first.everything(), second.everything())
    second.train_to(1700)
    assert_same(whole.everything(), second.everything())
    assert len(second.parts.learner.agents) == (1 if shared_policy else 2)
    for line, keeper in zip(second.parts.learner.league.champions, second.parts.keepers, strict=True):
        assert [one.step // 200 for one in line] == [5, 7], "of four champions the pool holds two"
        assert keeper.best.step == line[-1].step


def test_a_checkpoint_of_another_number_of_agents_is_refused(tmp_path):
    """What does not belong to this run's agents is an error that names both numbers."""
    first = begin(several(2, "independent"), tmp_path)
    first.train_to(100)
    first.save()
    with pytest.raises(DataError, match="holds 2 agents, the settings ask for 3"):
        begin(several(3, "independent"), tmp_path, resume=True)


def test_agents_that_were_not_saved_together_are_refused(tmp_path):
    """The optimizers' counters of steps are one for all agents; the error tells both numbers and a way out."""
    first = begin(several(2, "independent"), tmp_path / "first")
    first.train_to(200)
    early = snapshot.agent_state_dict(first.parts.learner, 0)
    first.train_to(300)
    late = snapshot.agent_state_dict(first.parts.learner, 1)
    made, more = (int(one.arrays["adam.actor.step"]) for one in (early, late))
    assert 0 < made < more
    learner = begin(several(2, "independent"), tmp_path / "second").parts.learner
    snapshot.load_agent_state_dict(learner, 0, early)
    with pytest.raises(
        DataError, match=f"agent 1 has made {more} updates, those before it {made}"
    ) as refused:
        snapshot.load_agent_state_dict(learner, 1, late)
    assert "--at STEP" in refused.value.next_step


def test_the_checkpoint_holds_no_pickle(tmp_path, monkeypatch):
    """A resume never unpickles: every such call raises here."""
    config = settings(4)
    first = begin(config, tmp_path)
    first.train_to(700)
    first.save()
    import pickle

    def refuse(*_args: object, **_kwargs: object) -> None:
        pytest.fail("something was unpickled")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    second = begin(config, tmp_path, resume=True)
    assert second.parts.learner.num_timesteps == first.parts.learner.num_timesteps


def test_other_settings_are_refused_by_name(tmp_path):
    """A checkpoint of another network is an error that names the array, not a run that learns nonsense."""
    first = begin(settings(4), tmp_path)
    first.train_to(300)
    first.save()
    with pytest.raises(Exception, match="actor"):
        begin(settings(4, **{"sac.net_arch": "[16, 16]"}), tmp_path, resume=True)


def test_members_hold_what_their_names_say(tmp_path):
    """The stored arrays decode by themselves and name networks, optimizers, generators and the simulator."""
    first = begin(several(2, "independent"), tmp_path)
    first.train_to(300)
    first.save()
    checkpoint = claim(open_store(str(tmp_path)), RUN, "sac_multiagent", attempt=2).load()
    assert {segment.agent for segment in checkpoint.manifest.segments} <= {"agent0", "agent1"}
    for number in range(2):
        member = layout.learner_member(number)
        arrays = decode(checkpoint.read(member), what=member)
        for name in ("actor", "critic", "target", "average", "log_alpha", "adam.critic.exp_avg_sq"):
            assert name in arrays
    world = decode(checkpoint.read(layout.WORLD_MEMBER), what="world")
    assert "world.states" in world
