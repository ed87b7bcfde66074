"""The guide: a driver that knows the map draws the policy to its actions at first, and is gone after a while."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.agents.compiled_update.phases import NO_GUIDE
from training.agents.multi_agent import MultiAgentSAC
from training.agents.networks import Batch
from training.agents.stacked_mlp import StackedMlp
from training.agents.update import SacUpdate
from training.config import Config, load_config
from training.envs.batch import RaceBatch, Step
from training.envs.drivers.registry import driver_of
from training.evaluation.lap_evaluation import evaluate
from training.rng import seed_everything
from training.sim import Track

WIDTH, ACTIONS, ROWS = 7, 2, 32


def settings(**changes: object) -> Config:
    overrides = {"env.tracks": "[generated-1, generated-2]", "env.num_envs": 8, **changes}
    return load_config(None, [f"{key}={value}" for key, value in overrides.items()])


def begin(config: Config) -> MultiAgentSAC:
    seed = config.training.seed
    seed_everything(seed)
    tracks = [Track.load(name) for name in config.env.tracks]
    return MultiAgentSAC(RaceBatch(config.env, tracks, config.num_cars, seed), config, device="cpu")


def train_to(learner: MultiAgentSAC, steps: int) -> None:
    learner.learn(steps)


def random_update(imitation_coef: float) -> SacUpdate:
    generator = torch.Generator().manual_seed(11)
    stacks = [
        StackedMlp(nets, sizes)
        for nets, sizes in (
            (1, [WIDTH, 12, 2 * ACTIONS]),
            (2, [WIDTH + ACTIONS, 12, 1]),
            (2, [WIDTH + ACTIONS, 12, 1]),
        )
    ]
    for stack in stacks:
        stack.flat.copy_(0.3 * torch.randn(stack.flat.shape, generator=generator))
    update = SacUpdate(*stacks, learning_rate=1e-3, tau=0.01, log_alpha=torch.zeros(1), target_entropy=-2.0)
    update.imitation_coef = imitation_coef
    return update


def random_batch() -> tuple[Batch, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn((1, ROWS, *shape), generator=generator)

    taken, guides = torch.tanh(normal(ACTIONS)), torch.tanh(normal(ACTIONS))
    batch = Batch(normal(WIDTH), taken, normal(WIDTH), normal(), torch.full((1, ROWS), 0.9), guides)
    return batch, normal(ACTIONS), normal(ACTIONS)


@pytest.mark.parametrize("untaught", [0, ROWS // 3])
@pytest.mark.parametrize("compiled", [True, False])
def test_the_guides_gradient_is_that_of_the_weighted_squared_distance(compiled, untaught):
    """What the guide adds to the actor's gradient is, by autograd, weight x mean |tanh(mean) - guide|^2.

    Rows without a guide's action, the first ones, add nothing.
    """
    plain, guided = random_update(0.0), random_update(3.0)
    batch, noise, next_noise = random_batch()
    batch.guides[:, :untaught] = NO_GUIDE
    first = guided.actor.weights[0].clone().requires_grad_()
    bias, last = guided.actor.biases[0].clone(), guided.actor.weights[1].clone()
    hidden = torch.relu(batch.observations @ first.transpose(1, 2) + bias)
    outputs = hidden @ last.transpose(1, 2) + guided.actor.biases[1]
    off = (torch.tanh(outputs[..., :ACTIONS]) - batch.guides)[:, untaught:]
    distance = off.square().sum() / ROWS
    (expected,) = torch.autograd.grad(3.0 * distance, first)
    gradients = []
    for update in (plain, guided):
        if not compiled:
            update._fused = None
        update.step(batch, noise, next_noise)
        (adam,) = update.actor_optimizer.state.values()
        gradients.append(
            adam["exp_avg"][: first.numel()].view(first.shape) / 0.1
        )  # after one step: 1 - beta1 of it
    torch.testing.assert_close(gradients[1] - gradients[0], expected, rtol=1e-4, atol=1e-6)


def test_without_weight_the_guides_actions_change_nothing():
    """A guide that has faded leaves plain SAC: the same weights with and without its actions."""
    one, other = random_update(0.0), random_update(0.0)
    batch, noise, next_noise = random_batch()
    one.step(batch, noise, next_noise)
    other.step(batch._replace(guides=None), noise, next_noise)
    assert torch.equal(one.actor.flat, other.actor.flat)


def test_the_guide_fades_and_is_then_not_asked_any_more(monkeypatch):
    """Its weight falls linearly to 0 at imitation.timesteps; from there on the driver is never called."""
    learner = begin(
        settings(**{"imitation.timesteps": 400, "imitation.coef": 10.0, "sac.learning_starts": 10_000})
    )
    assert learner.imitation_coef() == 10.0
    train_to(learner, 200)
    assert learner.imitation_coef() == pytest.approx(5.0)
    train_to(learner, 400)
    assert learner.imitation_coef() == 0.0
    monkeypatch.setattr(
        type(learner._driver), "act", lambda *_: pytest.fail("a guide that is gone was asked")
    )
    train_to(learner, 480)


@pytest.mark.parametrize("kind", ["sac", "sac_multiagent"])
def test_the_replay_holds_what_the_guide_would_have_done(kind):
    """Each transition's guide action is the driver's answer to the state in which it was taken, resets included."""
    config = settings(**{"env.max_episode_s": 1.0, "training.training_type": kind})
    learner = begin(config)
    env, driver, asked = learner.env, driver_of("racing_line", config.env), []
    honest = env.step

    def ask(actions: np.ndarray) -> Step:
        asked.append(env.race.actions_of(driver.act(env.race.world)).astype(np.float32))
        return honest(actions)

    env.step = ask
    train_to(learner, 240)
    assert len(asked) == 30
    for number, agent in enumerate(learner.agents):
        held = agent.replay_buffer.guides[: len(asked)]
        np.testing.assert_array_equal(held, np.stack(asked)[:, :, number])
        assert np.ptp(held[..., 0]) > 0.1


def test_a_warm_up_with_a_guide_drives_on_where_random_actions_crash():
    """Before sac.learning_starts the guide drives, with noise; without one the cars are driven at random."""
    reached = {}
    for driver in ("racing_line", "none"):
        learner = begin(settings(**{"imitation.expert": driver, "sac.learning_starts": 100_000}))
        train_to(learner, 8 * 60)
        reached[driver] = float(learner.env.race.world.progress_m.mean())
    assert reached["racing_line"] > 20.0 > reached["none"]


def test_on_a_track_that_it_does_not_lap_the_guide_teaches_nothing():
    """Linear tyres: the expert laps the first track and not the second; there the replay has no action of it.

    Before sac.learning_starts cars are driven at random there, so they do not get far.
    """
    tracks = "[generated-1, generated-23-w0.7-r0.7]"
    asked = {"env.tracks": tracks, "sac.learning_starts": 100_000, "env.tyres": "linear"}
    assert begin(settings(**asked)).try_expert() == (), "on linear tyres it is asked for"
    learner = begin(settings(**asked, **{"imitation.only_tracks_it_laps": True}))
    assert learner.try_expert() == ("generated-23-w0.7-r0.7",)
    train_to(learner, 8 * 60)
    guides = learner.agents[0].replay_buffer.guides[:60]
    assert (guides[:, 1::2] == NO_GUIDE).all()
    assert (np.abs(guides[:, ::2]) <= 1.0).all()
    progress = learner.env.race.world.progress_m[:, 0]
    assert progress[::2].max() > 25.0 > progress[1::2].max()


def test_a_guide_that_laps_every_track_teaches_as_in_runs_of_before():
    """The same run, to the bit, whether its laps are asked for or not; a run of before does not ask."""
    held = []
    for asked in (True, False):
        learner = begin(settings(**{"imitation.only_tracks_it_laps": asked, "sac.learning_starts": 200}))
        assert learner.try_expert() == ()
        train_to(learner, 400)
        held.append((learner.agents[0].replay_buffer.guides[:50].copy(), learner.team.average.flat.clone()))
    np.testing.assert_array_equal(held[0][0], held[1][0])
    assert torch.equal(held[0][1], held[1][1])
    before = settings().to_json_dict()
    del before["imitation"]["only_tracks_it_laps"]
    assert not Config.from_json_dict(before).imitation.only_tracks_it_laps


def test_a_guide_that_has_faded_is_not_tried():
    """A run that resumes after imitation.timesteps spends no time on laps."""
    learner = begin(settings(**{"env.tracks": "[generated-23-w0.7-r0.7]", "imitation.timesteps": 10}))
    learner.num_timesteps = 10
    assert learner.try_expert() == ()


def test_without_a_guide_the_replay_spends_no_memory_on_one():
    """imitation.expert = none: rows of no width."""
    learner = begin(settings(**{"imitation.expert": "none"}))
    assert learner.agents[0].replay_buffer.guides.nbytes == 0


def lapped(learner: MultiAgentSAC, config: Config, track: Track) -> tuple[int, float]:
    """Return how many of ten laps the EMA policy completes, and its mean speed, m/s."""
    drives = evaluate(learner.average_policy(), config.env, [track], starts=10, seed=1)
    return sum(one.completed for one in drives), float(np.mean([one.mean_speed_mps for one in drives]))


@pytest.mark.slow
def test_a_policy_laps_on_a_track_it_never_saw_after_some_seconds():
    """The default settings, on slipping tyres, 40,000 timesteps: at least 8 of 10 laps, above 6 m/s."""
    config = load_config(None)
    learner = begin(config)
    train_to(learner, 40_000)
    completed, speed_mps = lapped(learner, config, Track.load("generated-2001"))
    assert completed >= 8
    assert speed_mps > 6.0


@pytest.mark.slow
def test_one_small_track_is_learnt_to_certainty():
    """The same on a track of 60 m alone: 10 of 10 laps."""
    config = load_config(None, ["env.tracks=[generated-1-l60]"])
    learner = begin(config)
    train_to(learner, 40_000)
    completed, speed_mps = lapped(learner, config, Track.load("generated-1-l60"))
    assert completed == 10
    assert speed_mps > 5.0
