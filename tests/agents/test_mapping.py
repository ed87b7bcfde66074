"""Which car's experience an agent learns from, and whose car it drives: held against what the environment did."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from training.agents.multi_agent import MultiAgentSAC
from training.agents.replay import IDLE
from training.config import load_config
from training.envs.batch import RaceBatch, Step
from training.sim import Track

CARS, ENVS, STEPS = 3, 4, 60


class Made(NamedTuple):
    """One step of the environments as these saw it."""

    seen: NDArray[np.float32]  # (E, N, D) before it
    actions: NDArray[np.float32]  # (E, N, 2)
    step: Step


def learner_of(mode: str) -> MultiAgentSAC:
    overrides: dict[str, object] = {
        "training.training_type": "sac_multiagent",
        "training.num_agents": CARS,
        "multi_agent.mode": mode.removeprefix("one "),
        "multi_agent.league.shared_policy": mode == "one league",
        "env.tracks": "[generated-1]",
        "env.num_envs": ENVS,
        "env.max_episode_s": 1.2,
        "sac.net_arch": "[8, 8]",
        "sac.buffer_size": 1000,
        "imitation.expert": "none",
    }
    config = load_config(None, [f"{key}={value}" for key, value in overrides.items()])
    return MultiAgentSAC(RaceBatch(config.env, [Track.load("generated-1")], CARS), config, device="cpu")


def driven(
    learner: MultiAgentSAC, monkeypatch: pytest.MonkeyPatch, live: list[NDArray[np.bool_]]
) -> list[Made]:
    """Let the learner drive at random; return what its environments were told and answered.

    live: takes in which cars (E, N) agents drove in each step.
    """
    made: list[Made] = []
    honest, before = learner.env.step, [learner.env.reset().copy()]
    learner.observations = before[0].copy()
    if learner.league is not None:
        learner.league.redraw(np.ones(ENVS, dtype=np.bool_))

    def step(actions: NDArray[np.float32]) -> Step:
        told = np.array(actions)
        league = learner.league
        live.append(np.ones((ENVS, CARS), dtype=np.bool_) if league is None else league.live.copy())
        found = honest(actions)
        copied = [np.array(part) if isinstance(part, np.ndarray) else part for part in found]
        made.append(Made(before[0], told, found._replace(**dict(zip(found._fields, copied, strict=True)))))
        before[0] = found.observations.copy()
        return found

    monkeypatch.setattr(learner.env, "step", step)
    for _ in range(STEPS):
        learner._step()
    return made


@pytest.mark.parametrize(
    ("mode", "agents"), [("independent", CARS), ("shared", 1), ("league", CARS), ("one league", 1)]
)
def test_an_agent_learns_from_what_its_cars_met_and_did(
    mode: str, agents: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Car n is agent n's, or all are the only agent's, side by side in each environment; in a league, while live."""
    learner = learner_of(mode)
    live: list[NDArray[np.bool_]] = []
    made = driven(learner, monkeypatch, live)
    assert len(learner.agents) == agents
    compared = terminated = truncated = driven_by_others = 0
    for t, (seen, actions, step) in enumerate(made):
        for e, n in zip(*np.nonzero(step.active), strict=True):
            agent, slot = (n, e) if agents == CARS else (0, e * CARS + n)
            replay = learner.agents[agent].replay_buffer
            if not live[t][e, n]:
                assert replay.final_number[t, slot] == IDLE, "what another drove is learnt from"
                driven_by_others += 1
                continue
            assert replay.final_number[t, slot] != IDLE
            kept = replay.at(np.array([t]), np.array([slot]))
            np.testing.assert_array_equal(kept.observations[0], seen[e, n])
            np.testing.assert_array_equal(kept.actions[0], actions[e, n])
            np.testing.assert_array_equal(kept.next_observations[0], step.next_observations[e, n])
            assert kept.rewards[0] == np.float32(step.rewards[e, n])
            assert (kept.discounts[0] == 0.0) == step.terminated[e, n]
            compared += 1
            terminated += int(step.terminated[e, n])
            truncated += int(step.truncated[e, n])
    assert compared + driven_by_others > STEPS * ENVS
    assert (driven_by_others > 0) == ("league" in mode)
    assert terminated > 0, "crashes are compared too"
    assert truncated > 0, "and ends that are no termination"


@pytest.mark.parametrize("mode", ["independent", "shared", "league", "one league"])
def test_an_episode_is_told_of_the_agent_whose_car_it_was(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of car n go to agent n, or to the only one; those of cars that others drove to nobody."""
    learner = learner_of(mode)
    live: list[NDArray[np.bool_]] = []
    told: list[tuple[int, float]] = []
    learner.on_episode = lambda agent, figures: told.append((agent, figures["r"]))
    made = driven(learner, monkeypatch, live)
    expected = [
        (n if mode in ("independent", "league") else 0, figures["r"])
        for one, driving in zip(made, live, strict=True)
        for e, n, figures in one.step.episodes
        if driving[e, n]
    ]
    assert told == expected
    assert len(told) > ENVS
