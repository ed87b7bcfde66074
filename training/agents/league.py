"""The opponents of a league: earlier policies of the agents, policies of other runs, drivers that do not learn.

In each race one car, a different one each time, is driven by its own agent. For every other car the league draws the
driver with the probabilities in the settings: its agent (live), a policy snapshot of the pool, pure pursuit or
follow-the-gap. It also draws a factor on the speed of the drivers that do not learn.

The pool holds either snapshots of the whole training, or a line of champions for each agent: policies each of which
has beaten the one before it in races.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from ..envs.drivers.registry import driver_of
from ..errors import DataError
from ..process.systemd_notify import leaving
from .codec import SavedState, copy_into
from .policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ..config import LeagueSettings
    from ..envs.batch import RaceBatch
    from .batched_agents import BatchedAgents

# The driver of a car; values from POOL on are the number of a policy in the pool.
LIVE, PURE_PURSUIT, FOLLOW_THE_GAP, POOL = 0, 1, 2, 3
_DRIVERS = {PURE_PURSUIT: "pure_pursuit", FOLLOW_THE_GAP: "follow_the_gap"}


class PolicySnapshot(NamedTuple):
    """A copy of a policy, which learns no more."""

    name: str  # for people: which agent, of which step or run
    policy: Policy
    step: int = 0  # of this run


class PromotionResult(NamedTuple):
    """The result of a challenge."""

    promoted: bool
    won_share: float = math.nan  # of the decided races against the newest champion; nan if there was none


class PromotionTest(Protocol):
    """Decide whether a policy becomes its agent's champion."""

    def __call__(self, challenger: Policy, champions: Sequence[Policy], step: int) -> PromotionResult:
        """Race it against those before it, newest last; the same for the same arguments."""


def _nobody(_challenger: Policy, _champions: Sequence[Policy], _step: int) -> PromotionResult:
    return PromotionResult(promoted=False)


class League:
    """Decide who drives each car of every race, and drive those that no agent drives.

    external: policies of other runs, in the pool from the start and for good. Every `snapshot_interval` timesteps the
    pool takes snapshots of the EMA policies of all agents. When it holds more than `pool_size` of them, every second
    one is dropped and the interval doubles, so that the pool spans the whole training.

    champions: with `multi_agent.league.champions` the pool instead has, of each agent, the policies that passed its
    promotion test, newest last, at most `pool_size`. Every `snapshot_interval` timesteps, from `champions_start` on,
    each agent's EMA policy challenges the newest.
    """

    def __init__(
        self,
        settings: LeagueSettings,
        env: RaceBatch,
        team: BatchedAgents,
        seed: int,
        contest: PromotionTest | None = None,
    ) -> None:
        self._settings, self._env, self._sizes = settings, env, tuple(team.average.sizes)
        self._drivers = {kind: driver_of(name, env.race.settings) for kind, name in _DRIVERS.items()}
        self.driver = np.zeros((env.num_envs, env.num_cars), dtype=np.int64)
        self.speed_factor = np.ones((env.num_envs, env.num_cars))  # of the cars that no agent drives
        self.races = np.zeros(env.num_envs, dtype=np.int64)
        self.rng = np.random.default_rng([seed, 2])
        self.external: list[PolicySnapshot] = []
        self.snapshots: list[list[PolicySnapshot]] = []
        self.champions: list[list[PolicySnapshot]] = [[] for _ in team.agents]
        if self._settings.champions and contest is None:
            raise ValueError("multi_agent.league.champions needs a contest")
        self._contest = contest or _nobody
        self._won_shares = [math.nan] * len(team.agents)  # in the last challenge, for people
        self.asked: Callable[[], bool] = lambda: False  # whether a stop is, which a challenge need not delay
        self.on_champion: Callable[[PolicySnapshot, PromotionResult], None] = lambda _champion, _verdict: None
        self.interval = self._settings.snapshot_interval
        first = self._settings.champions_start if self._settings.champions else 0
        self.next_step = max(self.interval, first)

    @property
    def live(self) -> NDArray[np.bool_]:
        """Tell which cars (E, N) are driven by their agents."""
        return self.driver == LIVE

    @property
    def pool(self) -> list[PolicySnapshot]:
        """Return all policy snapshots, in the order of their numbers."""
        return [*self.external, *(one for row in (*self.snapshots, *self.champions) for one in row)]

    def add(self, name: str, policy: Policy) -> None:
        """Take another run's policy, of this run's shape, into the pool."""
        self.external.append(PolicySnapshot(name, policy))

    def drive(self, observations: NDArray[np.float32], actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the actions (E, N, 2) of all cars, those of opponents put in place of the agents'."""
        actions = actions.copy()
        race = self._env.race
        for kind, driver in self._drivers.items():
            where = self.driver == kind
            if where.any():
                actions[where] = race.actions_of(driver.act(race.world))[where]
        pool = self.pool
        for number in np.unique(self.driver[self.driver >= POOL]):
            where = self.driver == number
            actions[where] = pool[number - POOL].policy.act(observations[where])
        scaled = ~self.live & (self.speed_factor != 1.0)
        if scaled.any():
            commands = race.commands_of(actions)
            commands[..., 1] *= self.speed_factor
            actions[scaled] = race.actions_of(commands)[scaled]
        return actions

    def after_step(self, restarted: NDArray[np.bool_], step: int, team: BatchedAgents) -> None:
        """Draw the drivers of races that have begun, and add a snapshot of each agent when one is due.

        Raises Left if a challenge was interrupted: call it again with the same arguments before the next step.
        """
        if step >= self.next_step:
            if self._settings.champions:
                self._challenge(step, team)
            else:
                self._freeze(step, team)
        if restarted.any():
            self.redraw(restarted)

    def redraw(self, where: NDArray[np.bool_]) -> None:
        """Draw the drivers in the chosen environments (E,), and the speed factors of those that are no agents."""
        shares = self._shares()
        cars, pool = self._env.num_cars, self.pool
        for e in np.flatnonzero(where):
            kinds = self.rng.choice(len(shares), size=cars, p=shares)
            members = self._members(len(pool), cars)
            self.driver[e] = np.where(kinds == POOL, POOL + members, kinds)
            self.speed_factor[e] = self.rng.uniform(*self._settings.speed_factor, size=cars)
            self.driver[e, (e + self.races[e]) % cars] = LIVE
            self.races[e] += 1
        # A race is over when the cars of the agents are out.
        self._env.counted[...] = self.live

    def figures(self, agent: int) -> dict[str, float]:
        """Return how an agent's last challenger fared, and of which step its newest champion is, to log."""
        found = {"league/won_share": self._won_shares[agent]}
        if self.champions[agent]:
            found["league/champion_step"] = float(self.champions[agent][-1].step)
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def state_dict(self) -> SavedState:
        """Return what a resume needs: arrays, and JSON data."""
        arrays = {f"league.pool.{i}": one.policy.stack.flat.numpy().copy() for i, one in enumerate(self.pool)}
        arrays |= {
            "league.driver": self.driver.copy(),
            "league.races": self.races.copy(),
            "league.speed_factor": self.speed_factor.copy(),
        }
        meta = {
            "given": [one.name for one in self.external],
            "generations": [[one.name for one in generation] for generation in self.snapshots],
            "champions": [[[one.name, one.step] for one in line] for line in self.champions],
            "interval": self.interval,
            "next_step": self.next_step,
            "generator": self.rng.bit_generator.state,
        }
        return SavedState(arrays, meta)

    def load_state_dict(self, state: SavedState) -> None:
        """Restore what `state_dict` returned; raise KeyError or DataError if it does not fit."""
        arrays, meta = state
        numbers = iter(range(10**6))

        def frozen(name: str, step: int = 0) -> PolicySnapshot:
            policy = Policy(self._sizes)
            copy_into(policy.stack.flat.numpy(), arrays, f"league.pool.{next(numbers)}", what="checkpoint")
            return PolicySnapshot(name, policy, step)

        self.external = [frozen(name) for name in meta["given"]]
        self.snapshots = [[frozen(name) for name in names] for names in meta["generations"]]
        lines = meta.get("champions", [[] for _ in self.champions])  # not in checkpoints from before them
        self.champions = [[frozen(name, step) for name, step in line] for line in lines]
        copy_into(self.driver, arrays, "league.driver", what="checkpoint")
        if self.driver.max() >= POOL + len(self.pool):
            number = int(self.driver.max()) - POOL
            raise DataError(f"checkpoint: league.driver names policy {number}, the pool has {len(self.pool)}")
        copy_into(self.races, arrays, "league.races", what="checkpoint")
        if "league.speed_factor" in arrays:  # not in checkpoints from before there was one
            copy_into(self.speed_factor, arrays, "league.speed_factor", what="checkpoint")
        self.interval, self.next_step = int(meta["interval"]), int(meta["next_step"])
        self.rng.bit_generator.state = meta["generator"]

    def _shares(self) -> NDArray[np.float64]:
        """Return the chances of LIVE, PURE_PURSUIT, FOLLOW_THE_GAP, POOL; an empty pool's share is live."""
        s = self._settings
        shares = np.array([s.self_fraction, s.pure_pursuit, s.follow_the_gap, s.snapshot_fraction])
        if not self.pool:
            shares[LIVE] += shares[POOL]
            shares[POOL] = 0.0
        return shares / shares.sum()

    def _members(self, count: int, cars: int) -> NDArray[np.int64]:
        """Draw numbers of the pool: of a sample any alike; of champions a line, and the newer the likelier."""
        if not self._settings.champions or count == 0:
            return self.rng.integers(0, max(count, 1), size=cars)
        lines = [1] * len(self.external) + [len(line) for line in self.champions if line]
        chances = [np.exp2(np.arange(length)) / (2.0**length - 1.0) for length in lines]
        return self.rng.choice(count, size=cars, p=np.concatenate(chances) / len(lines))

    def _challenge(self, step: int, team: BatchedAgents) -> None:
        """Let every agent's EMA policy race for a place at the end of its line of champions.

        Raises Left if a stop is requested before all have raced: then no agent is promoted.
        """
        challengers = [team.average_policy(a) for a in range(len(self.champions))]
        with leaving(self.asked):
            verdicts = [
                self._contest(challenger, [one.policy for one in line], step)
                for challenger, line in zip(challengers, self.champions, strict=True)
            ]
        for a, (challenger, verdict) in enumerate(zip(challengers, verdicts, strict=True)):
            self._won_shares[a] = verdict.won_share
            if verdict.promoted:
                champion = PolicySnapshot(f"agent{a} of step {step:,}", challenger, step)
                self._crown(a, champion)
                self.on_champion(champion, verdict)
        self.next_step += self.interval

    def _crown(self, agent: int, champion: PolicySnapshot) -> None:
        """Append a champion to its line; cars driven by a dropped champion get the oldest one that stays."""
        before, line = self.pool, self.champions[agent]
        line.append(champion)
        dropped = line.pop(0) if len(line) > self._settings.pool_size else None
        places = {id(one): number for number, one in enumerate(self.pool)}
        if dropped is not None:
            places[id(dropped)] = places[id(line[0])]
        moved = np.array([places[id(one)] for one in before], dtype=np.int64)
        own = self.driver >= POOL
        self.driver[own] = POOL + moved[self.driver[own] - POOL]

    def _freeze(self, step: int, team: BatchedAgents) -> None:
        count = len(team.agents)
        self.snapshots.append(
            [PolicySnapshot(f"agent{a} of step {step:,}", team.average_policy(a)) for a in range(count)]
        )
        if len(self.snapshots) > self._settings.pool_size:
            self.snapshots = self.snapshots[::2]
            self.interval *= 2
            first = POOL + len(self.external)
            own = self.driver >= first
            generation, agent = np.divmod(self.driver[own] - first, count)
            self.driver[own] = first + generation // 2 * count + agent
        self.next_step += self.interval
