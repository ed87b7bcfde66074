"""A run from its first to its last step; this file only names the steps in order."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from training import layout, rng
from training.agents.export import model_zip
from training.agents.sac import FastSAC
from training.callbacks import Boundary, Episodes, Parts
from training.display import Display
from training.envs.race import Race
from training.envs.vec_env import RaceVecEnv
from training.errors import Interrupted
from training.interruption import StopRequest, watch
from training.keeper import Keeper, figures
from training.metrics import Metrics
from training.notify import notify
from training.report import closing
from training.report.loading import policy_of
from training.runs import Run, open_run
from training.saver import Parts as SavedParts
from training.saver import Saver
from training.sim import Track
from training.sim.world import PARALLEL_FROM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from training.agents.policy import Kept
    from training.config import Config, EnvSettings


# A warm cache answers in a second or two.
SLOW_WARM_UP_S = 5.0


class Setup(NamedTuple):
    """All that a run is made of."""

    run: Run
    parts: Parts
    boundary: Boundary


def train(
    config: Config,
    *,
    store: str,
    resume: str | None = None,
    at_step: int | None = None,
    overrides: Sequence[str] = (),
) -> int:
    """Train, or go on training, until the run's end; return the exit code.

    store: directory or s3://bucket. resume: a run's name, which brings its own settings; at_step: one of its
    checkpoints; overrides: what to change of its settings (`a.b=value`). Raises a TrainingError whose exit code says
    what became of the run.
    """
    rng.set_threads(config.sac.torch_threads)
    device = rng.choose_device(config.training.device)
    run = open_run(config, store, resume=resume, at_step=at_step, overrides=overrides)
    with Display() as display:
        display.say(run.greeting)
        setup = prepare(run, display, device)
        notify("READY=1")
        try:
            learn(setup)
        finally:
            setup.parts.metrics.flush()
        return close(setup)


def prepare(run: Run, display: Display, device: Any) -> Setup:  # noqa: ANN401 - torch.device; torch stays in its layers
    """Build environment, learner and what watches them; restore the checkpoint, if there is one to go on from."""
    config = run.config
    rng.seed_everything(config.training.seed)
    tracks = [Track.load(name) for name in config.env.tracks]
    warm_up(config.env, tracks[0], display.say)
    env = RaceVecEnv(config.env, tracks, config.training.seed, config.guide.driver)
    learner = FastSAC(
        env,
        config.sac,
        seed=config.training.seed,
        device=device,
        mixed_precision=config.training.mixed_precision,
        guide=config.guide,
    )
    keeper = Keeper(config, tracks)
    saver = Saver(SavedParts(learner, env, keeper), run.lineage, config, display.say)
    meta = {} if run.checkpoint is None else saver.restore(run.checkpoint)
    metrics = Metrics(
        config, run.name, run.local / "metrics", resumed_step=learner.num_timesteps,
        wandb_id=meta.get("wandb_id"), say=display.say,
    )  # fmt: skip
    metrics.record_graph(learner.actor, learner.critic, learner.observation_space.shape[0])
    saver.after_commit = lambda: run.publish(metrics.event_file, layout.metrics_prefix(run.name))
    episodes, stop = Episodes(), StopRequest()
    episodes.laps, episodes.best_lap_s = meta.get("laps", 0), meta.get("best_lap_s") or float("nan")
    parts = Parts(learner, keeper, saver, metrics, display, episodes, stop)
    boundary = Boundary(
        parts, config, elapsed_s=meta.get("elapsed_s", 0.0), meta=lambda: _meta(parts, boundary)
    )
    return Setup(run, parts, boundary)


def warm_up(settings: EnvSettings, track: Track, say: Callable[[str], None]) -> None:
    """Step a throw-away race, so that compiling the simulator is not counted, or shown, as training."""
    if settings.backend != "native":
        return
    began = time.monotonic()
    race = Race(settings, [track], max(settings.num_envs, PARALLEL_FROM))
    race.reset()
    race.step(np.zeros((race.num_envs, 1, 2)))
    took_s = time.monotonic() - began
    if took_s > SLOW_WARM_UP_S:
        say(f"compiled the simulator in {took_s:.0f} s; the next run finds it in the cache")


def learn(setup: Setup) -> None:
    """Train until the end or until somebody asks for a stop, then save.

    Raises Interrupted after an early stop: saved, to be continued.
    """
    run, parts, boundary = setup
    config, learner = run.config, parts.learner
    parts.stop.listen()
    watch(run.storage, run.name, parts.stop, parts.display.say)
    learner.at_boundary = boundary
    if learner.num_timesteps < config.training.total_timesteps:
        learner.learn(
            config.training.total_timesteps - learner.num_timesteps,
            callback=parts.episodes,
            log_interval=None,
            # A checkpoint of step 0 has had its environments reset already.
            reset_num_timesteps=run.checkpoint is None,
        )
    ended = parts.stop.reason is None
    if ended:
        parts.keeper.judge(learner)
        parts.keeper.choose()
    parts.saver.finish(_meta(parts, boundary), not_after=parts.stop.deadline)
    parts.saver.close()
    boundary.show()
    parts.display.settle()
    if not ended:
        parts.metrics.close()
        run.end_attempt(parts.stop.cause, Interrupted.exit_code, learner.num_timesteps)
        message = f"stopped by {parts.stop.reason} at step {learner.num_timesteps:,}; everything is saved"
        raise Interrupted(message, next_step=run.how_to_continue, cause=parts.stop.cause)


def close(setup: Setup) -> int:
    """Mark the run done, export its model, drive its laps, write the report; return the exit code."""
    run, parts, _ = setup
    say, best = parts.display.say, parts.keeper.best
    run.end_attempt("done", 0, parts.learner.num_timesteps)
    if best is None:
        say("no policy was kept: the run ended before its first evaluation")
        parts.metrics.close()
        return 0
    key = layout.model_key(run.name, run.config.training.training_type, best.step)
    run.storage.put(key, model_zip(parts.learner, best.policy))
    loaded = policy_of(run.storage, run.name)
    driven = closing.drive_laps(loaded, say)
    parts.metrics.record_hyperparameters(run.config.to_json_dict(), figures(closing.policy_drives(driven)))
    parts.metrics.close()
    run.publish(parts.metrics.event_file, layout.metrics_prefix(run.name))
    closing.show(loaded, driven)
    if run.config.training.report:
        page = closing.report(loaded, run.storage, run.local / "report", driven, say)
        if page is not None:
            run.publish(page, layout.report_prefix(run.name))
            say(f"The report is in {page}; watch the curves with: .venv/bin/tensorboard --logdir {run.local}")
    return 0


def _meta(parts: Parts, boundary: Boundary) -> dict[str, Any]:
    """Return what a checkpoint says of the run beside the learner's own state."""
    return {
        "elapsed_s": boundary.elapsed_s,
        "laps": parts.episodes.laps,
        "best_lap_s": parts.episodes.best_lap_s,
        "wandb_id": parts.metrics.wandb_id,
        "machine": rng.machine_class(),
        "host": platform.node(),
        "kept": None if parts.keeper.best is None else _described(parts.keeper.best),
    }


def _described(kept: Kept) -> dict[str, Any]:
    return {name: value for name, value in kept._asdict().items() if name != "policy"}
