"""Select the policy to keep: drive the EMA policy on the training tracks during training, and keep the best one.

Training keeps changing a policy that already laps, often for the worse. The policy is selected by laps, not by the last
reward, and on the training tracks alone: the tracks of the report's "unseen" rows take no part in the selection. Of the
policies that complete all laps the steadiest is kept: the one that still completes them with its actions disturbed. If
cars race each other, the candidates of an agent race first, and the one that wins most is kept: alone all of them
complete laps, but one that runs into the rear of another car, or follows it off the track, loses. If a league has
champions (training.evaluation.promotion), many more races have already made the selection: an agent's newest champion
is kept.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ..agents.codec import SavedState
from ..agents.policy import Policy, SelectedPolicy
from ..process.systemd_notify import Left, leaving
from .lap_evaluation import Drive, evaluate
from .races import Entrant, pairings, race_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..agents.league import PolicySnapshot
    from ..agents.multi_agent import MultiAgentSAC
    from ..config import EnvSettings, EvaluationSettings
    from ..envs.race import Race
    from ..sim import Track
    from .lap_evaluation import Controller

# Candidates for the final choice; its starts are fresh, so luck in one evaluation does not decide. Those that reach it
# fail on none to eight of 800 unseen drives: only many starts tell them apart.
CANDIDATES, FINAL_FACTOR = 8, 4
# Of each two candidates on each of the first few tracks, either at each place of the grid in half of them: 168 races a
# candidate.
FINAL_RACES, RACE_TRACKS, RACE_LAPS = 6, 4, 2
# Starts per track in the first, quick evaluation; only a policy that completes all of them is evaluated in full.
QUICK_STARTS = 1
FINAL_SEED = 7_000_000
# Most policies near the speed cap complete a few dozen laps; noise on the actions shows their margin.
# Standard deviation, of actions in [-1, 1]: .03 rad of steering. Policies that complete 400 of 400 unseen drives still
# complete 91 to 100 % of them at .06, those that fail at 1 % 91 to 99 %; at .15 the good ones fail too.
DISTURBANCE = 0.08


@contextlib.contextmanager
def all_or_nothing(keepers: Sequence[BestPolicyTracker], asked: Callable[[], bool]) -> Iterator[None]:
    """Let keepers judge or choose until a stop is requested; then raise Left, and undo what they judged or chose.

    The work is still due: a resumed run does it, with the same result.
    """
    before = [keeper.memory for keeper in keepers]
    try:
        with leaving(asked):
            yield
    except Left:
        for keeper, memory in zip(keepers, before, strict=True):
            keeper.memory = memory
        raise


class BestPolicyTracker:
    """Judge the policies of one agent and keep the best few; each agent of a run has a keeper of its own."""

    def __init__(  # noqa: PLR0913 - whose policies, how they are driven, and where
        self,
        settings: EvaluationSettings,
        env: EnvSettings,
        tracks: Sequence[Track],
        *,
        sizes: Sequence[int],
        num_cars: int = 1,
        agent: int = 0,
    ) -> None:
        """Begin with no policy; sizes: widths of the policies' layers; num_cars: those that learn together."""
        self._settings, self._env, self._tracks = settings, env, list(tracks)
        self._sizes, self._num_cars, self._agent = tuple(sizes), num_cars, agent
        self.candidates: list[SelectedPolicy] = []  # best first
        self.chosen = False  # nothing was judged since the final choice
        self.next_step = settings.frequency or None

    @property
    def best(self) -> SelectedPolicy | None:
        """Return the best policy so far."""
        return self.candidates[0] if self.candidates else None

    @property
    def memory(self) -> tuple[list[SelectedPolicy], bool, int | None]:
        """Return all that judging and choosing change; set it to take them back."""
        return self.candidates, self.chosen, self.next_step

    @memory.setter
    def memory(self, before: tuple[list[SelectedPolicy], bool, int | None]) -> None:
        self.candidates, self.chosen, self.next_step = before

    def due(self, step: int) -> bool:
        """Tell whether it is time for an evaluation."""
        return self.next_step is not None and step >= self.next_step

    def evaluate(self, learner: MultiAgentSAC) -> dict[str, float]:
        """Drive the EMA policy and keep it if it is among the best; return figures to log."""
        step = learner.num_timesteps
        self.chosen = False
        frequency = self._settings.frequency
        if frequency:
            self.next_step = step - step % frequency + frequency
        champion = learner.champion(self._agent)
        if champion is not None:
            return self._keep(champion)
        policy = learner.average_policy(self._agent)
        drives = self._drive(policy, QUICK_STARTS, seed=step)
        if all(d.completed for d in drives):
            drives = self._drive(policy, self._starts(), seed=step + 1)
            disturbed = self._drive(disturb(policy, step), self._starts(), seed=step + 2)
            self._add_candidate(_rated(policy, step, drives, disturbed))
        else:
            self._add_candidate(_rated(policy, step, drives))
        return figures(drives)

    def select_final(self) -> SelectedPolicy | None:
        """Drive every candidate from many fresh starts and put the best first; call once, at the end of training.

        Only those that complete the most are driven again with their actions disturbed. Cars that learn together race.
        """
        starts = FINAL_FACTOR * self._settings.starts
        driven = [(kept, self._drive(kept.policy, starts, seed=FINAL_SEED)) for kept in self.candidates]
        most = max((sum(d.completed for d in drives) for _, drives in driven), default=0)
        rated = []
        for kept, drives in driven:
            among_best = sum(d.completed for d in drives) == most
            shaking = disturb(kept.policy, FINAL_SEED)
            disturbed = self._drive(shaking, starts, seed=FINAL_SEED + 1) if among_best else ()
            rated.append(_rated(kept.policy, kept.step, drives, disturbed))
        self.candidates = sorted(self._raced(rated), key=lambda kept: kept.score, reverse=True)
        self.chosen = True
        return self.best

    def state_dict(self) -> SavedState:
        """Return what a resume needs: arrays, and JSON data."""
        arrays = {
            f"kept.{i}": kept.policy.stack.flat.numpy().copy() for i, kept in enumerate(self.candidates)
        }
        rows = [{k: v for k, v in kept._asdict().items() if k != "policy"} for kept in self.candidates]
        return SavedState(arrays, {"next_step": self.next_step, "candidates": rows, "chosen": self.chosen})

    def load_state_dict(self, state: SavedState) -> None:
        """Restore what `state_dict` returned."""
        arrays, meta = state
        self.next_step = meta["next_step"]
        self.chosen = bool(meta.get("chosen", False))
        self.candidates = []
        for i, row in enumerate(meta["candidates"]):
            policy = Policy(self._sizes)
            policy.stack.flat.numpy()[...] = arrays[f"kept.{i}"]
            self.candidates.append(SelectedPolicy(policy=policy, **row))

    def _keep(self, champion: PolicySnapshot) -> dict[str, float]:
        """Keep only the given champion; return figures to log, none if it is kept already."""
        policy, step = champion.policy, champion.step
        if self.best is not None and self.best.step == step:
            return {}
        drives = self._drive(policy, self._starts(), seed=step + 1)
        self.candidates = [_rated(policy, step, drives)]
        return figures(drives)

    def _starts(self) -> int:
        return max(self._settings.starts // 3, QUICK_STARTS)

    def _drive(self, controller: Controller, starts: int, seed: int) -> list[Drive]:
        return evaluate(
            controller,
            self._env,
            self._tracks,
            starts=starts,
            laps=self._settings.laps,
            seed=seed,
        )

    def _raced(self, rated: list[SelectedPolicy]) -> list[SelectedPolicy]:
        """Return policies with the share of races that each won against the others; unchanged for a single car."""
        if self._num_cars < 2 or len(rated) < 2:
            return rated
        field = [Entrant(f"step {kept.step}", self._env, kept.policy) for kept in rated]
        fixtures = pairings(len(field), FINAL_RACES)
        won = np.zeros(len(field))
        tracks = self._tracks[:RACE_TRACKS]
        places = [track for track in tracks for _ in fixtures]
        for result in race_all(field, fixtures * len(tracks), places, laps=RACE_LAPS, seed=FINAL_SEED):
            for entry in result.entries:
                won[entry.contestant] += entry.won
        races = len(tracks) * FINAL_RACES * (len(field) - 1)
        return [kept._replace(raced=float(wins) / races) for kept, wins in zip(rated, won, strict=True)]

    def _add_candidate(self, kept: SelectedPolicy) -> None:
        # Races were of other candidates, with laps that newer ones have not driven: only the next choice counts them.
        known = [candidate._replace(raced=0.0) for candidate in self.candidates]
        self.candidates = sorted([*known, kept], key=lambda k: k.score, reverse=True)[:CANDIDATES]


def disturb(policy: Policy, seed: int) -> Controller:
    """Return the policy with a hand that shakes, the same way for the same seed."""
    rng = np.random.default_rng([seed, 2])

    def shaking(race: Race, observations: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        actions = policy(race, observations)
        return actions + DISTURBANCE * rng.standard_normal(actions.shape)

    return shaking


def _rated(
    policy: Policy, step: int, drives: Sequence[Drive], disturbed: Sequence[Drive] = ()
) -> SelectedPolicy:
    completed = [d for d in drives if d.completed]
    speed = float(np.mean([d.mean_speed_mps for d in completed])) if completed else 0.0
    steady = sum(d.completed for d in disturbed) / max(len(disturbed), 1)
    return SelectedPolicy(policy, step, len(completed), len(drives), speed, steady)


def figures(drives: Sequence[Drive]) -> dict[str, float]:
    """Return the figures of an evaluation by the names they are logged under."""
    completed = [d for d in drives if d.completed]
    return {
        "evaluation/completed": len(completed) / max(len(drives), 1),
        "evaluation/mean_speed_mps": float(np.mean([d.mean_speed_mps for d in completed]))
        if completed
        else 0.0,
        "evaluation/distance_m": float(np.mean([d.distance_m for d in drives])) if drives else 0.0,
    }
