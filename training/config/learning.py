"""Settings of the learners and of their opponents and expert: the groups sac, imitation and multi_agent."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from .fields import FACTORS, Entropy, FactorSpan, Section, Share, Sizes, Texts, setting

# training.envs.drivers.follow_the_gap says why; settings are read without loading the simulator.
GAP_BEAMS = 20


class SacSettings(Section):
    """Soft actor-critic, by the names of stable-baselines3."""

    learning_rate: float = setting(1e-3, "step size of Adam, for actor, critics and entropy", gt=0, le=1)
    learning_rate_end: float | None = setting(
        1e-4,
        "step size at the end of a linear decay, a tenth of learning_rate where that alone is given; null: it stays",
        gt=0,
        le=1,
    )
    lr_decay_start: int = setting(
        300_000,
        "timestep at which that decay begins",
        formerly="learning_rate_from",
        ge=0,
        le=100_000_000_000,
    )
    lr_decay_timesteps: int = setting(
        1_400_000,
        "timesteps of that decay",
        formerly="learning_rate_timesteps",
        ge=1,
        le=100_000_000_000,
    )
    buffer_size: int = setting(
        1_000_000, "transitions that the replay buffer holds", ge=1_000, le=100_000_000
    )
    batch_size: int = setting(128, "transitions in one update", ge=1, le=65_536)
    gamma: float = setting(0.98, "discount per decision", ge=0, le=1)
    n_steps: int = setting(
        1, "decisions whose rewards are summed before the critics' estimate of what follows", ge=1, le=100
    )
    tau: float = setting(0.01, "share of the critics that their targets take over per update", gt=0, le=1)
    net_arch: Sizes = setting(
        (256, 256), "units of each hidden layer, actor and critics", min_length=1, max_length=8
    )
    learning_starts: int = setting(
        4_000,
        "timesteps before the first update: random actions, or the expert's with noise",
        ge=0,
        le=100_000_000,
    )
    train_freq: int = setting(1, "steps of all environments between rounds of updates", ge=1, le=10_000)
    gradient_steps: int = setting(8, "updates in a round", ge=1, le=10_000)
    ent_coef: Literal["auto"] | Entropy = setting("auto", "weight of the entropy; auto learns it")
    target_entropy: Literal["auto"] | Entropy = setting(
        -4.0, "entropy that ent_coef auto aims at; auto: -2, minus the number of actions"
    )
    policy_ema_tau: float = setting(
        0.005,
        "rate of the exponential moving average (EMA) of the policy, per update; the EMA policy is kept",
        formerly="average_tau",
        gt=0,
        le=1,
    )
    update_backend: Literal["auto", "compiled", "cuda_graph", "eager"] = setting(
        "auto",
        "how an update is computed: auto takes compiled on a CPU and cuda_graph on a GPU; eager runs "
        "training/agents/update.py itself, so an edit there has an effect",
    )
    torch_threads: int = setting(
        1, "threads of torch on a CPU; the compiled update takes every core", ge=1, le=256
    )


class ImitationSettings(Section):
    """The policy also imitates an expert that knows the map, at first; expert none: reinforcement learning alone."""

    expert: Literal["none", "pure_pursuit", "racing_line"] = setting(
        "racing_line", "driver whose actions are imitated", formerly="guide.driver"
    )
    only_tracks_it_laps: bool | None = setting(
        None,
        "true: the expert first drives a lap of each track of env.tracks, from four standing starts, and teaches "
        "nothing where it does not complete them; false: it teaches everywhere, as in runs of before; null: true with "
        "env.tyres = saturating, else false",
    )
    coef: float = setting(
        100.0,
        "initial coefficient of the imitation term (squared action error) in the actor loss",
        formerly="guide.weight",
        gt=0,
        le=1e6,
    )
    timesteps: int = setting(
        40_000,
        "timesteps over which that coefficient falls linearly to 0",
        formerly="guide.timesteps",
        ge=1,
        le=10_000_000_000,
    )
    noise: float = setting(
        0.2,
        "standard deviation of the noise on the expert's actions before sac.learning_starts",
        formerly="guide.noise",
        ge=0,
        le=2,
    )


class LeagueSettings(Section):
    """Which drivers the other cars have; drawn with these probabilities at the start of each race."""

    self_fraction: Share = setting(0.25, "probability of the car's own learning agent", formerly="live")
    snapshot_fraction: Share = setting(
        0.5,
        "probability of a policy snapshot: an earlier one of this run, or one of checkpoints",
        formerly="pool",
    )
    pure_pursuit: Share = setting(0.125, "probability of pure pursuit, which does not see other cars")
    follow_the_gap: Share = setting(
        0.125, "probability of follow-the-gap, which needs env.beams of 20 or more"
    )
    speed_factor: FactorSpan = setting(
        (1.0, 1.0), "factor on the speed of these drivers: slower cars can be overtaken", legal=FACTORS
    )
    shared_policy: bool = setting(
        False,
        "one agent learns in all cars (self-play), instead of one agent for each car",
        formerly="one_agent",
    )
    champions: bool = setting(
        False,
        "a snapshot enters the pool only if it beats the newest one in races; the run keeps the last champion",
    )
    champions_start: int = setting(
        0,
        "timestep before which no policy becomes champion: early policies crash too often to race",
        formerly="champions_from",
        ge=0,
        le=100_000_000_000,
    )
    snapshot_interval: int = setting(
        10_000,
        "timesteps between snapshots of all agents, at first; with champions between promotion tests",
        formerly="interval",
        ge=1,
        le=1_000_000_000,
    )
    pool_size: int = setting(
        8,
        "snapshots that the pool holds. When it is full, every second one is dropped and the interval doubles; "
        "with champions, the number of champions of each agent",
        ge=2,
        le=64,
    )
    checkpoints: Texts = setting(
        (),
        "policies of other runs in the pool from the start",
        legal="list of RUN, RUN@STEP, RUN:AGENT or RUN@STEP:AGENT",
    )

    @model_validator(mode="after")
    def _somebody_drives(self) -> LeagueSettings:
        if self.self_fraction + self.snapshot_fraction + self.pure_pursuit + self.follow_the_gap == 0:
            raise ValueError(
                "self_fraction, snapshot_fraction, pure_pursuit and follow_the_gap are all 0: one must be more"
            )
        return self


class MultiAgentSettings(Section):
    """How several cars learn; used where training_type is sac_multiagent."""

    mode: Literal["independent", "shared", "league"] = setting(
        "independent", "an agent for each car, one agent for all cars (self-play), or a league of opponents"
    )
    league: LeagueSettings = LeagueSettings()
