"""Assemble a run: its maps, its learner and its observers; restored from its checkpoint, if there is one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import layout, rng
from ..agents.multi_agent import MultiAgentSAC
from ..config.memory import check_memory
from ..envs.batch import RaceBatch
from ..evaluation import promotion
from ..evaluation.policy_selection import BestPolicyTracker
from ..metrics import Metrics
from ..process.systemd_notify import alive
from ..stored_runs import carried_maps
from . import divergence, run_maps, warm_start
from .checkpointing import SavedParts, Saver
from .step_hooks import Episodes, RunParts, StepHook
from .stop_request import StopRequest
from .warm_up import warm_up, warm_up_update

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..sim import Track
    from .claimed_run import Run
    from .progress_display import Display


class Setup(NamedTuple):
    """All parts of a run."""

    run: Run
    parts: RunParts
    boundary: StepHook


def prepare(run: Run, display: Display, device: Any, loaded: Mapping[str, Track]) -> Setup:  # noqa: ANN401 - torch.device
    """Build environment, learner and their observers; restore the checkpoint, if there is one to continue from.

    loaded: tracks that are loaded already, by name.
    """
    config = run.config
    rng.seed_everything(config.training.seed)
    tracks, digests = _maps(run, display, loaded)
    check_memory(config)  # a run that is continued may have come from a larger computer
    learner = _learner(run, tracks, device, display)
    selections = _selections(run, tracks)
    saver = Saver(SavedParts(learner, selections), run.lineage, config.training, display.say)
    meta = _restored(run, learner, saver, display)
    _try_expert(learner, config.imitation.expert, display)
    run.fetch_curves(run.local / "metrics", display.say)
    metrics = Metrics(
        config, run.name, run.local / "metrics", resumed_step=learner.num_timesteps,
        wandb_id=meta.get("wandb_id"), say=display.say,
    )  # fmt: skip
    saver.after_commit = functools.partial(_after_commit, run, metrics)
    episodes, stop = [Episodes() for _ in learner.agents], StopRequest()
    for own, saved in zip(episodes, meta.get("episodes", ()), strict=False):
        own.load_state_dict(saved)
    learner.on_episode = functools.partial(_note_episode, episodes)
    _connect_league(learner, display, stop)
    parts = RunParts(learner, selections, saver, metrics, display, episodes, stop)
    boundary = StepHook(
        parts, config.training, log_interval_s=config.tensorboard.interval_s,
        elapsed_s=meta.get("elapsed_s", 0.0), maps=digests,
    )  # fmt: skip
    return Setup(run, parts, boundary)


def device_of(wanted: str, update_backend: str) -> Any:  # noqa: ANN401 - torch.device
    """Return the device to train on; the compiled update is for a processor, also where auto would find a GPU."""
    compiled = update_backend == "compiled"
    return rng.choose_device("cpu" if compiled and wanted == "auto" else wanted)


def _maps(run: Run, display: Display, loaded: Mapping[str, Track]) -> tuple[list[Track], dict[str, str]]:
    """Return the tracks to learn on, and the digests of all maps by name; refuse maps that have changed."""
    config = run.config
    carried_maps.bring(run.storage, run.name, config.all_tracks, needed=config.env.tracks)
    named = run_maps.load(config.env.tracks, loaded)
    digests = run_maps.digests(config.env.tracks, config.evaluation.tracks, {**loaded, **named})
    if run.checkpoint is not None:
        saved: Any = (run.partial or run.checkpoint).meta.get(run_maps.META) or {}
        told = run_maps.check_unchanged(run.name, config.env.tracks, digests, saved)
        if told:
            display.say(told)
    return [named[name] for name in config.env.tracks], digests


def _learner(run: Run, tracks: Sequence[Track], device: Any, display: Display) -> MultiAgentSAC:  # noqa: ANN401
    """Return the learner in its environments, all of it compiled."""
    config = run.config
    warm_up(config.env, tracks[0], display.say)
    alive()
    warm_up_update(device, display.say, config.sac.update_backend)
    alive()
    batch = RaceBatch(config.env, tracks, config.num_cars, config.training.seed)
    learner = MultiAgentSAC(
        batch, config, device=device, contest=promotion.PromotionRaces(config.env, tracks)
    )
    alive()
    return learner


def _try_expert(learner: MultiAgentSAC, expert: str, display: Display) -> None:
    """Let the imitation term's expert drive its laps, and say where it teaches nothing."""
    untaught = learner.try_expert()
    alive()
    if untaught:
        display.say(
            f"the imitation expert {expert} does not complete a lap of {', '.join(untaught)}: it teaches nothing there"
        )


def _selections(run: Run, tracks: Sequence[Track]) -> list[BestPolicyTracker]:
    """Return a keeper of policies for each agent."""
    config = run.config
    return [
        BestPolicyTracker(
            config.evaluation, config.env, tracks,
            sizes=config.actor_sizes, num_cars=config.num_cars, agent=number,
        )
        for number in range(config.num_agents)
    ]  # fmt: skip


def _restored(run: Run, learner: MultiAgentSAC, saver: Saver, display: Display) -> Mapping[str, Any]:
    """Restore the run's checkpoint and return what it says; a new run takes over what its settings name."""
    if run.checkpoint is None:
        warm_start.load_initial_policies(
            learner, run.config.policy_sources, run.storage, run.name, display.say
        )
        return {}
    with divergence.explained(learner, run):
        return saver.restore(run.checkpoint, run.partial)


def _after_commit(run: Run, metrics: Metrics, step: int) -> None:
    run.saved(step)
    run.publish(metrics.event_file, layout.metrics_prefix(run.name))


def _note_episode(episodes: Sequence[Episodes], number: int, figures: Any) -> None:  # noqa: ANN401 - of an episode
    episodes[number].note(figures)


def _connect_league(learner: MultiAgentSAC, display: Display, stop: StopRequest) -> None:
    """Tell of each new champion, and let a promotion test end early if a stop is requested."""
    if learner.league is None:
        return
    learner.league.on_champion = lambda champion, result: display.say(promotion.in_words(champion, result))
    learner.league.asked = lambda: stop.reason is not None
