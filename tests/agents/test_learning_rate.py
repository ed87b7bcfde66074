"""The step size: as set, or in a linear decay to its end; every optimizer takes it."""

from __future__ import annotations

import pytest
import torch

from training.agents.multi_agent import MultiAgentSAC
from training.config import load_config
from training.envs.batch import RaceBatch
from training.sim import Track


def begin(**changes: object) -> MultiAgentSAC:
    overrides = {
        "env.tracks": "[generated-1]",
        "env.num_envs": 8,
        "sac.net_arch": "[16, 16]",
        "sac.learning_starts": 80,
        "sac.learning_rate": 0.01,
        **changes,
    }
    config = load_config(None, [f"{key}={value}" for key, value in overrides.items()])
    tracks = [Track.load(name) for name in config.env.tracks]
    return MultiAgentSAC(RaceBatch(config.env, tracks, config.num_cars), config, device="cpu")


def used_by(learner: MultiAgentSAC) -> list[float]:
    """Return the step sizes that the three optimizers took in the last round."""
    optimizers = learner.team.update.optimizers.values()
    return [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]


def test_it_stays_where_no_end_is_set() -> None:
    learner = begin(**{"sac.learning_rate_end": "null", "sac.lr_decay_start": 0})
    for steps in (160, 800):
        learner.learn(steps)
        assert used_by(learner) == [0.01] * 3


def test_it_decays_linearly_and_stays_at_its_end() -> None:
    """Half-way it is the mean of both, whatever the run's length; beyond the end it falls no further."""
    learner = begin(
        **{"sac.learning_rate_end": 0.002, "sac.lr_decay_start": 0, "sac.lr_decay_timesteps": 800}
    )
    assert learner.learning_rate() == 0.01
    for steps, expected in ((400, 0.006), (800, 0.002), (960, 0.002)):
        learner.learn(steps)
        assert learner.learning_rate() == pytest.approx(expected)
        assert used_by(learner) == pytest.approx([expected] * 3)


@pytest.mark.slow
def test_the_decay_may_begin_later() -> None:
    """Until then the step size stays as set."""
    learner = begin(
        **{"sac.learning_rate_end": 0.002, "sac.lr_decay_start": 400, "sac.lr_decay_timesteps": 400}
    )
    for steps, expected in ((400, 0.01), (600, 0.006), (800, 0.002), (960, 0.002)):
        learner.learn(steps)
        assert learner.learning_rate() == pytest.approx(expected)
        assert used_by(learner) == pytest.approx([expected] * 3)


def test_networks_move_by_it() -> None:
    """Where it has decayed to next to nothing they stay where they are."""
    learner = begin(
        **{"sac.learning_rate_end": 1e-12, "sac.lr_decay_start": 0, "sac.lr_decay_timesteps": 400}
    )
    update, moved = learner.team.update, []
    for steps in (200, 400, 600):
        before = [update.actor.flat.clone(), update.critic.flat.clone()]
        learner.learn(steps)
        moved.append(
            max(
                float((a - b).abs().max())
                for a, b in zip(before, (update.actor.flat, update.critic.flat), strict=True)
            )
        )
    assert moved[0] > 1e-2
    assert moved[1] > 1e-3
    assert moved[2] < 1e-6
    assert torch.isfinite(update.actor.flat).all()
