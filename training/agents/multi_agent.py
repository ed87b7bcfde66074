"""One or several agents that learn in the same races: act, step, store, update, for all of them at once.

Modes (setting `multi_agent.mode`):
    independent  agent n drives car n of every environment, and learns from what that car met
    shared       one agent drives all cars and learns from all: self-play
    league       as independent, or with `multi_agent.league.shared_policy` as shared, but in each race some cars are
                 driven by policy snapshots or by drivers without learning

A single car (training_type sac) is one agent that drives car 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..envs.drivers.registry import driver_of
from ..envs.drivers.trial_laps import completes_laps
from ..process.systemd_notify import Left, alive
from .batched_agents import BatchedAgents, Pause
from .compiled_update.phases import NO_GUIDE
from .league import League
from .replay import ReplayRow
from .sac import Agent, Spaces
from .soundness import check_losses

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..config import Config
    from ..envs.batch import RaceBatch, Step
    from .league import PolicySnapshot, PromotionTest
    from .policy import Policy


class Seen(NamedTuple):
    """The observations and actions of all agents in one step, arrays (A, K, ·)."""

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    guides: NDArray[np.float32] | None


class MultiAgentSAC:
    """Let A agents learn in E environments of N cars.

    A timestep is one decision of one agent; all agents make equally many: E in each step of the environments, E × N if
    one agent drives all cars. A round is `train_freq` steps and `gradient_steps` updates. `at_boundary` is called
    before each round, where a run evaluates and saves; returning False ends `learn`. A round may last for hours: within
    it `at_pause` is called between two steps or two updates once `pause_due` says so, and ends `learn` in the same way.
    In both places a checkpoint is exact.
    """

    def __init__(
        self,
        env: RaceBatch,
        config: Config,
        *,
        device: torch.device | str,
        contest: PromotionTest | None = None,
    ) -> None:
        self.env, self._settings = env, config.sac
        count = config.num_agents
        self._shared = count < env.num_cars
        spaces = Spaces(env.observation_space, env.action_space, env.num_envs * env.num_cars // count)
        seed = config.training.seed
        self._imitation = config.imitation
        self._driver = (
            None if config.imitation.expert == "none" else driver_of(config.imitation.expert, config.env)
        )
        self._taught: NDArray[np.bool_] | None = None  # (E,) where the expert teaches; None: not tried yet
        self.agents = [
            Agent(
                spaces,
                config.sac,
                seed=seed,
                device=device,
                number=number,
                guided=self._driver is not None,
            )
            for number in range(count)
        ]
        compute = torch.bfloat16 if config.training.mixed_precision else torch.float32
        self.team = BatchedAgents(self.agents, config.sac.policy_ema_tau, compute, config.sac.update_backend)
        self.league = (
            League(config.multi_agent.league, env, self.team, seed, contest) if config.has_league else None
        )
        self._learnt_before = config.training.init_from is not None
        self.at_boundary: Callable[[], bool] = lambda: True
        self.pause_due: Callable[[], bool] = lambda: False
        self.at_pause: Callable[[], bool] = lambda: True
        self.steps_in_round = self.updates_in_round = 0  # of the round that is under way
        # The environments (E,) that restarted in the last step, if the league's challenge in that step was interrupted.
        self.unended: NDArray[np.bool_] | None = None
        self.on_episode: Callable[[int, dict[str, Any]], None] = lambda _agent, _figures: None
        self.num_timesteps = 0  # decisions of each agent
        self.observations: NDArray[np.float32] | None = None  # (E, N, D); None before the first step

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the widths of the policies' layers."""
        return self.team.average.sizes

    @property
    def place(self) -> tuple[int, int, int]:
        """Return the progress of training: timesteps, and steps and updates of the current round."""
        return self.num_timesteps, self.steps_in_round, self.updates_in_round

    def average_policy(self, agent: int = 0) -> Policy:
        """Return a copy of an agent's EMA policy."""
        return self.team.average_policy(agent)

    def champion(self, agent: int) -> PolicySnapshot | None:
        """Return an agent's newest champion; None without a league of champions, or if there is none yet."""
        line = [] if self.league is None else self.league.champions[agent]
        return line[-1] if line else None

    def league_figures(self, agent: int) -> dict[str, float]:
        """Return how an agent's challengers fare, to log; nothing if there are no champions."""
        return {} if self.league is None else self.league.figures(agent)

    def learn(self, total_timesteps: int) -> None:
        """Train until each agent has made so many decisions, or the boundary says that it is time to stop.

        Raises Diverged if losses are no longer finite.
        """
        if self.observations is None:
            self.observations = self.env.reset()
            if self.league is not None:
                self.league.redraw(np.ones(self.env.num_envs, dtype=np.bool_))
        if self.unended is not None and not self._end_step(self.unended):
            return
        while self._is_short_of(total_timesteps):
            goes_on = self.at_pause() if self.steps_in_round else self.at_boundary()
            if not goes_on or not self._round(total_timesteps):
                return

    def _is_short_of(self, total_timesteps: int) -> bool:
        """Tell whether steps are missing, or the updates that follow the last of them."""
        return self.num_timesteps < total_timesteps or self.steps_in_round >= self._settings.train_freq

    def _round(self, total_timesteps: int) -> bool:
        """Finish the current round; return False if it was interrupted, so that a later call can continue it."""
        sac = self._settings
        while self.steps_in_round < sac.train_freq:
            if self.num_timesteps >= total_timesteps:
                return False
            is_ended = self._step()
            self.steps_in_round += 1
            alive()
            if (self.pause_due() and not self.at_pause()) or not is_ended:
                return False
        if self.num_timesteps > sac.learning_starts and self._all_can_learn() and not self._update():
            return False
        self.steps_in_round = self.updates_in_round = 0
        return True

    def _update(self) -> bool:
        sac, first = self._settings, self.updates_in_round
        self.team.update.set_learning_rate(self.learning_rate())
        pause = Pause(self.pause_due, self._pause_after)
        done = self.team.train(
            sac.gradient_steps, sac.batch_size, self.imitation_coef(), first=first, pause=pause
        )
        self.updates_in_round = done
        check_losses(self)
        return done >= sac.gradient_steps

    def _pause_after(self, updates: int) -> bool:
        self.updates_in_round = updates
        return self.at_pause()

    def _step(self) -> bool:
        """Make a step; return whether it came to its end."""
        seen = self._by_agent(self.observations)
        reference = self._reference()
        chosen = self._explore(seen, reference)
        actions = self._by_car(chosen)
        if self.league is not None:
            actions = self.league.drive(self.observations, actions)
        step = self.env.step(actions)
        self.num_timesteps += self.agents[0].n_envs
        self._store(Seen(seen, chosen, reference), step)
        self.observations = step.observations
        self._tell(step)
        return self._end_step(step.restarted)

    def _end_step(self, restarted: NDArray[np.bool_]) -> bool:
        """Run the league's part of a step; return False if a stop interrupted it: then run it before the next step."""
        self.unended = None
        if self.league is not None:
            try:
                self.league.after_step(restarted, self.num_timesteps, self.team)
            except Left:
                self.unended = restarted
        return self.unended is None

    def learning_rate(self) -> float:
        """Return the present step size of Adam; with an end, it decays over `sac.lr_decay_timesteps`."""
        sac = self._settings
        if sac.learning_rate_end is None:
            return sac.learning_rate
        gone = (self.num_timesteps - sac.lr_decay_start) / sac.lr_decay_timesteps
        return sac.learning_rate + min(1.0, max(0.0, gone)) * (sac.learning_rate_end - sac.learning_rate)

    def imitation_coef(self) -> float:
        """Return the coefficient of the imitation term now: it falls to 0 over `imitation.timesteps`."""
        if self._driver is None:
            return 0.0
        return self._imitation.coef * max(0.0, 1.0 - self.num_timesteps / self._imitation.timesteps)

    def try_expert(self) -> tuple[str, ...]:
        """Let the expert drive a lap of each track, if it still teaches; return those on which it teaches nothing.

        Each is a track that it does not complete from standing starts, where imitation.only_tracks_it_laps asks for it.
        """
        tracks = self.env.race.world.tracks
        if self.imitation_coef() == 0.0:
            return ()
        self._taught = np.ones(len(tracks), dtype=np.bool_)
        asked = self._imitation.only_tracks_it_laps
        if asked or (asked is None and self.env.race.settings.tyres == "saturating"):
            distinct = list({id(track): track for track in tracks}.values())
            laps = completes_laps(self._imitation.expert, self.env.race.settings, distinct)
            lapped = dict(zip(map(id, distinct), laps, strict=True))
            self._taught[:] = [lapped[id(track)] for track in tracks]
        return tuple(dict.fromkeys(tracks[e].name for e in np.flatnonzero(~self._taught)))

    def _reference(self) -> NDArray[np.float32] | None:
        """Return the expert's actions (A, K, 2) while the imitation coefficient is above 0; it knows the map.

        NO_GUIDE on tracks on which it teaches nothing.
        """
        if self._driver is None or self.imitation_coef() == 0.0:
            return None
        if self._taught is None:
            self.try_expert()
        race = self.env.race
        actions = race.actions_of(self._driver.act(race.world)).astype(np.float32)
        actions[~self._taught] = NO_GUIDE
        return self._by_agent(actions)

    def _explore(
        self, seen: NDArray[np.float32], reference: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Return actions (A, K, 2): random or the expert's with noise until learning starts, then of the policies.

        Policies that have learnt in another run drive from the first step on.
        """
        if self._learnt_before or self.num_timesteps >= self._settings.learning_starts:
            return self.team.explore(seen)
        size = (self.agents[0].n_envs, 2)
        if reference is None:
            return np.stack([a.rng.uniform(-1.0, 1.0, size=size).astype(np.float32) for a in self.agents])
        # Around the expert's path, not on it: the policy must learn to return to it, the critics which actions lead
        # away.
        noise = np.stack([self._imitation.noise * agent.rng.standard_normal(size) for agent in self.agents])
        chosen = np.clip(reference + noise, -1.0, 1.0).astype(np.float32)
        alone = reference == NO_GUIDE
        if alone.any():
            drawn = np.stack([a.rng.uniform(-1.0, 1.0, size=size) for a in self.agents]).astype(np.float32)
            chosen = np.where(alone, drawn, chosen)
        return chosen

    def _store(self, seen: Seen, step: Step) -> None:
        """Give each agent's replay the transitions of its cars; those of cars that are out are no transitions."""
        used = step.active if self.league is None else step.active & self.league.live
        ended = step.terminated | step.truncated
        rewards, next_observations, terminated, ended, masked = (
            self._by_agent(part)
            for part in (step.rewards, step.next_observations, step.terminated, ended, ~used)
        )
        some_idle = not used.all()
        for a, agent in enumerate(self.agents):
            row = ReplayRow(
                observations=seen.observations[a],
                actions=seen.actions[a],
                rewards=rewards[a],
                next_observations=next_observations[a],
                terminated=terminated[a],
                ended=ended[a],
                guides=None if seen.guides is None else seen.guides[a],
                masked=masked[a] if some_idle else None,
            )
            agent.replay_buffer.store(row)

    def _tell(self, step: Step) -> None:
        for e, n, figures in step.episodes:
            if self.league is None or self.league.live[e, n]:
                self.on_episode(0 if self._shared else n, figures)

    def _all_can_learn(self) -> bool:
        return all(agent.replay_buffer.can_sample() for agent in self.agents)

    def _by_agent(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return values of cars (E, N, ·) as those of agents (A, K, ·)."""
        if self._shared:
            return values.reshape(1, -1, *values.shape[2:])
        return np.ascontiguousarray(np.moveaxis(values, 1, 0))

    def _by_car(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return values of agents (A, K, ·) as those of cars (E, N, ·)."""
        if self._shared:
            return values.reshape(self.env.num_envs, self.env.num_cars, *values.shape[2:])
        return np.moveaxis(values, 0, 1)
