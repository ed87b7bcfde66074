"""Settings of what learns and from whom: the groups sac, guide and multi_agent."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from training.config.fields import FACTORS, Entropy, FactorSpan, Section, Share, Sizes, Texts, setting

# training.envs.drivers.follow_the_gap says why; settings are read without loading the simulator.
GAP_BEAMS = 20


class SacSettings(Section):
    """Soft actor-critic, by the names of stable-baselines3."""

    learning_rate: float = setting(1e-3, "step size of Adam, for actor, critics and entropy", gt=0, le=1)
    learning_rate_end: float | None = setting(
        None, "step size at the end of a linear decay; null: it stays", gt=0, le=1
    )
    learning_rate_from: int = setting(0, "timesteps before that decay begins", ge=0, le=100_000_000_000)
    learning_rate_timesteps: int = setting(3_000_000, "timesteps of that decay", ge=1, le=100_000_000_000)
    buffer_size: int = setting(
        1_000_000, "transitions that the replay buffer holds", ge=1_000, le=100_000_000
    )
    batch_size: int = setting(128, "transitions in one update", ge=1, le=65_536)
    gamma: float = setting(0.98, "discount per decision", ge=0, le=1)
    tau: float = setting(0.01, "share of the critics that their targets take over per update", gt=0, le=1)
    net_arch: Sizes = setting(
        (256, 256), "units of each hidden layer, actor and critics", min_length=1, max_length=8
    )
    learning_starts: int = setting(
        4_000,
        "timesteps before the first update: random driving, or the guide's with noise",
        ge=0,
        le=100_000_000,
    )
    train_freq: int = setting(1, "steps of all environments between rounds of updates", ge=1, le=10_000)
    gradient_steps: int = setting(8, "updates in a round", ge=1, le=10_000)
    ent_coef: Literal["auto"] | Entropy = setting("auto", "weight of the entropy; auto learns it")
    target_entropy: Literal["auto"] | Entropy = setting(
        -4.0, "entropy that ent_coef auto aims at; auto: -2, minus the number of actions"
    )
    average_tau: float = setting(
        0.005, "share of the newest policy in the averaged one, per update; that one is kept", gt=0, le=1
    )
    torch_threads: int = setting(
        1, "threads of torch on a CPU; the compiled update takes every core", ge=1, le=256
    )


class GuideSettings(Section):
    """A driver that knows the map and shows the policy the way at first; none: learn by trial and error alone."""

    driver: Literal["none", "pure_pursuit", "racing_line"] = setting("racing_line", "who shows the way")
    weight: float = setting(
        100.0, "of the squared distance from the guide's action in the actor's loss, at first", gt=0, le=1e6
    )
    timesteps: int = setting(40_000, "timesteps over which that weight falls to 0", ge=1, le=10_000_000_000)
    noise: float = setting(
        0.2, "standard deviation around the guide's actions before sac.learning_starts", ge=0, le=2
    )


class LeagueSettings(Section):
    """Who drives the cars that their agents leave to others; drawn by these shares at the start of each race."""

    live: Share = setting(0.25, "share of the agents themselves")
    pool: Share = setting(0.5, "share of frozen policies: earlier selves, and those of checkpoints")
    pure_pursuit: Share = setting(0.125, "share of pure pursuit, which sees no other car")
    follow_the_gap: Share = setting(0.125, "share of follow-the-gap, which needs env.beams of 20 or more")
    speed_factor: FactorSpan = setting(
        (1.0, 1.0), "times the speed that those others ask for: slower cars can be passed", legal=FACTORS
    )
    one_agent: bool = setting(False, "one agent is live in all cars, instead of one for each")
    champions: bool = setting(
        False,
        "the pool takes in only what beats its newest member in races; that champion is kept in the end",
    )
    champions_from: int = setting(
        0,
        "timesteps before which nobody becomes champion: who has just learnt to lap gives way to nobody",
        ge=0,
        le=100_000_000_000,
    )
    interval: int = setting(
        10_000,
        "timesteps between freezings of all agents, at first; or between challenges",
        ge=1,
        le=1_000_000_000,
    )
    pool_size: int = setting(
        8,
        "freezings kept, of more every second one goes and the interval doubles; or an agent's champions",
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
        if self.live + self.pool + self.pure_pursuit + self.follow_the_gap == 0:
            raise ValueError("live, pool, pure_pursuit and follow_the_gap are all 0: one must be more")
        return self


class MultiAgentSettings(Section):
    """How several cars learn; used where training_type is sac_multiagent."""

    mode: Literal["independent", "shared", "league"] = setting(
        "independent", "an agent for each car, one agent for all cars (self-play), or a league of opponents"
    )
    league: LeagueSettings = LeagueSettings()
