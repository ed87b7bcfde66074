"""The work between two rounds of training, in order, and the messages about it.

`StepHook` is called where no work is half done: before each round, and within a long one (`pause`). It never changes
what is learnt: a run makes the same steps with and without saves, evaluations and displays.
"""

from __future__ import annotations

import platform
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import layout, rng
from ..agents import soundness
from ..evaluation.policy_selection import all_or_nothing
from ..process import systemd_notify
from ..process.systemd_notify import Left
from .progress_display import AgentProgress, Progress
from .run_maps import META
from .stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..agents.multi_agent import MultiAgentSAC
    from ..agents.policy import SelectedPolicy
    from ..config import TrainingSettings
    from ..evaluation.policy_selection import BestPolicyTracker
    from ..metrics import Metrics
    from .checkpointing import Saver
    from .progress_display import Display
    from .stop_request import StopRequest

RECENT_EPISODES = 100
# Within a round this much time passes between two looks; most rounds are over long before.
PAUSE_S = 1.0


class Episodes:
    """Collect what an agent's finished episodes report, and every lap."""

    def __init__(self) -> None:
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT_EPISODES)
        self.laps = 0
        self.best_lap_s = float("nan")

    def note(self, episode: dict[str, Any]) -> None:
        """Add the environment's figures of an episode."""
        self.recent.append(episode)
        self.laps += episode["laps"]
        self.best_lap_s = float(np.fmin(self.best_lap_s, episode["best_lap_s"]))

    @property
    def lap_share(self) -> float:
        """Give the mean progress of the recent episodes, of a lap; NaN if there are none.

        Those of a checkpoint from before this figure are left out.
        """
        return _mean(e["lap_share"] for e in self.recent if "lap_share" in e)

    def state_dict(self) -> dict[str, Any]:
        """Return JSON data that `load_state_dict` restores."""
        return {"recent": list(self.recent), "laps": self.laps, "best_lap_s": self.best_lap_s}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.recent = deque(state["recent"], maxlen=RECENT_EPISODES)
        self.laps, self.best_lap_s = int(state["laps"]), float(state["best_lap_s"])

    def figures(self) -> dict[str, float]:
        """Return the means over the recent episodes by the names they are logged under."""
        if not self.recent:
            return {}
        result = {
            "rollout/reward": _mean(e["r"] for e in self.recent),
            "rollout/episode_s": _mean(e["t"] for e in self.recent),
            "rollout/progress_m": _mean(e["progress_m"] for e in self.recent),
            "rollout/lap_share": self.lap_share,
            "rollout/speed_mps": _mean(e["progress_m"] / max(e["t"], 1e-9) for e in self.recent),
            "rollout/crash_rate": _mean(e["collided"] for e in self.recent),
            "rollout/laps": float(self.laps),
            "rollout/best_lap_s": self.best_lap_s,
        }
        for name in self.recent[-1]["terms"]:
            result[f"rollout/terms/{name}"] = _mean(e["terms"].get(name, 0.0) for e in self.recent)
        for name in self.recent[-1].get("race", {}):
            result[f"rollout/race/{name}"] = _mean(e["race"][name] for e in self.recent if "race" in e)
        return result


# How the figures of several agents are combined into one; figures that are not named here are averaged.
_COMBINED: Mapping[str, Callable[[list[float]], float]] = {
    "rollout/laps": sum,
    "league/champion_step": max,
    "rollout/best_lap_s": lambda values: float(np.nanmin(values)) if np.isfinite(values).any() else np.nan,
}


def aggregate(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the figures of all agents: each under its agent's name, and their mean or sum under the plain one.

    Those of a single agent come back as they are.
    """
    if len(figures) == 1:
        return dict(figures[0])
    result = {
        f"{layout.agent_name(number)}/{name}": value
        for number, own in enumerate(figures)
        for name, value in own.items()
    }
    for name in dict.fromkeys(name for own in figures for name in own):
        values = [own[name] for own in figures if name in own]
        combine: Callable[[list[float]], float] = _COMBINED.get(name, _mean)
        result[name] = combine(values)
    return result


class RunParts(NamedTuple):
    """The objects that the boundary works with."""

    learner: MultiAgentSAC
    keepers: Sequence[BestPolicyTracker]  # of each agent
    saver: Saver
    metrics: Metrics
    display: Display
    episodes: Sequence[Episodes]  # of each agent
    stop: StopRequest

    @property
    def best_agent(self) -> int:
        """Return the number of the agent whose kept policy laps best; 0 as long as none is kept."""
        scores = [(-1.0, 0.0, 0.0) if k.best is None else k.best.alone for k in self.keepers]
        return max(range(len(scores)), key=scores.__getitem__)


class StepHook:
    """Decide between two rounds: log, evaluate, save, or stop. Returns whether to continue."""

    def __init__(
        self,
        parts: RunParts,
        settings: TrainingSettings,
        *,
        log_interval_s: float,
        elapsed_s: float,
        maps: Mapping[str, str],
    ) -> None:
        """Begin to count; elapsed_s: time of training of earlier attempts; maps: digests of the maps, by name."""
        self._parts, self._settings, self._maps = parts, settings, maps
        self._log_interval_s = log_interval_s
        self._before_s, self.stopwatch = elapsed_s, Stopwatch()
        self._looked_at = self._logged_at = self._rated_at = time.monotonic()
        self._rated_step = parts.learner.num_timesteps
        self._rate = self._notified_at = 0.0

    @property
    def elapsed_s(self) -> float:
        """Time of training so far, all attempts together, s."""
        return self._before_s + self.stopwatch.read()

    @property
    def finished(self) -> bool:
        """Tell whether the run has reached its end, by steps or by time."""
        return self._late or self._parts.learner.num_timesteps >= self._settings.total_timesteps

    @property
    def _late(self) -> bool:
        limit = self._settings.max_minutes
        return limit is not None and self.elapsed_s >= limit * 60.0

    def __call__(self) -> bool:
        """Do what is due before a round; return False to end training."""
        if self._parts.stop.reason is None:
            self._evaluate()
        self._look()
        return self._parts.stop.reason is None and not self.finished

    def meta(self) -> dict[str, Any]:
        """Return what a checkpoint says of the run besides the learner's own state."""
        parts = self._parts
        return {
            "elapsed_s": self.elapsed_s,
            "laps": sum(own.laps for own in parts.episodes),
            "episodes": [own.state_dict() for own in parts.episodes],
            "wandb_id": parts.metrics.wandb_id,
            "machine": rng.machine_class(),
            "host": platform.node(),
            "kept": [None if keeper.best is None else _described(keeper.best) for keeper in parts.keepers],
            "best_agent": parts.best_agent,
            META: dict(self._maps),
        }

    def pause_due(self) -> bool:
        """Tell whether it is time for `pause`; asked after each step and each update."""
        return self._parts.stop.reason is not None or time.monotonic() - self._looked_at >= PAUSE_S

    def pause(self) -> bool:
        """Do what is due within a round, evaluations aside, which belong between two; return False to end training."""
        self._look()
        return self._parts.stop.reason is None and not self._late

    def _evaluate(self) -> None:
        learner, keepers, *_ = self._parts
        stop = self._parts.stop
        if not keepers[0].due(learner.num_timesteps):
            return
        # If this is interrupted, the resumed run does it first: a notice leaves no time for it.
        try:
            with all_or_nothing(keepers, lambda: stop.reason is not None):
                judged = [keeper.evaluate(learner) for keeper in keepers]
        except Left:
            return
        self._parts.metrics.record(learner.num_timesteps, aggregate(judged))

    def _look(self) -> None:
        """Save and log what is due, and show the progress."""
        saver, stop = self._parts.saver, self._parts.stop
        self._looked_at = time.monotonic()
        saver.collect()
        saver.poll()
        due = saver.due() or stop.save_now.is_set()
        if due and stop.stop_after_save:
            stop.request_stop("a request to stop after a checkpoint", "stopped")
        # The end of training, for whatever reason, has a save of its own.
        ends = self.finished or stop.reason is not None
        if due and not ends and saver.start(self.meta()):
            stop.save_now.clear()
        now = time.monotonic()
        if now - self._logged_at >= self._log_interval_s:
            self._log(now)
        self.show()

    def show(self) -> None:
        """Bring the display up to date, and tell systemd that we live."""
        progress = self._progress(time.monotonic())
        self._parts.display.update(progress)
        if time.monotonic() - self._notified_at >= systemd_notify.INTERVAL_S:
            self._notified_at = time.monotonic()
            kept = "; ".join(agent.kept for agent in progress.agents)
            systemd_notify.notify(
                "WATCHDOG=1",
                f"STATUS=step {progress.step:,}, {progress.steps_per_s:.0f} steps/s, kept {kept}",
            )

    def _log(self, now: float) -> None:
        self._logged_at = now
        learner, _, _, metrics, *_ = self._parts
        soundness.check(learner)
        own = [
            {
                **episodes.figures(),
                **{f"train/{name}": value for name, value in agent.losses.items()},
                **learner.league_figures(number),
            }
            for number, (episodes, agent) in enumerate(zip(self._parts.episodes, learner.agents, strict=True))
        ]
        figures = {
            **aggregate(own),
            "train/learning_rate": learner.learning_rate(),
            "time/steps_per_s": self._rate,
            **metrics.sample_system(),
        }
        metrics.record(learner.num_timesteps, figures)

    def _progress(self, now: float) -> Progress:
        step = self._parts.learner.num_timesteps
        if now - self._rated_at >= 1.0:
            self._rate = (step - self._rated_step) / (now - self._rated_at)
            self._rated_at, self._rated_step = now, step
        durable = self._parts.saver.durable
        limit = self._settings.max_minutes
        return Progress(
            step=step,
            total_steps=self._settings.total_timesteps,
            elapsed_s=self.elapsed_s,
            limit_s=None if limit is None else limit * 60.0,
            steps_per_s=self._rate,
            checkpoint_step=None if durable is None else durable.step,
            checkpoint_age_s=0.0 if durable is None else now - durable.at,
            agents=tuple(
                _agent_progress(episodes, keeper.best)
                for episodes, keeper in zip(self._parts.episodes, self._parts.keepers, strict=True)
            ),
        )


def _agent_progress(episodes: Episodes, best: SelectedPolicy | None) -> AgentProgress:
    return AgentProgress(
        reward=_mean(e["r"] for e in episodes.recent),
        laps=episodes.laps,
        best_lap_s=episodes.best_lap_s,
        crash_rate=_mean(e["collided"] for e in episodes.recent),
        progress_m=_mean(e["progress_m"] for e in episodes.recent),
        lap_share=episodes.lap_share,
        kept="none yet" if best is None else str(best),
    )


def _mean(values: Any) -> float:  # noqa: ANN401 - any iterable of numbers
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else float("nan")


def _described(kept: SelectedPolicy) -> dict[str, Any]:
    return {name: value for name, value in kept._asdict().items() if name != "policy"}
