"""A run from its first to its last step; this file only names the steps in order."""

from __future__ import annotations

import contextlib
import platform
import time
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from training import layout, rng
from training.agents.multi_agent import MultiAgentSAC
from training.agents.update import Backend, compile_update
from training.config.checks import learns_nothing
from training.config.memory import check_memory
from training.config.resume import SettingsFile
from training.envs.batch import RaceBatch
from training.envs.drivers.registry import make_driver
from training.envs.race import Race
from training.errors import Fenced, Interrupted
from training.evaluation import promotion
from training.evaluation.policy_selection import BestPolicyTracker, all_or_nothing
from training.instance.log_upload import logged
from training.metrics import Metrics
from training.process.systemd_notify import Left, alive, leaving, ready
from training.run import divergence, warm_start
from training.run import maps as run_maps
from training.run.checkpointing import Parts as SavedParts
from training.run.checkpointing import Saver
from training.run.progress_display import Display
from training.run.results import make_results
from training.run.session import LATEST, ResumePoint, Run, open_run
from training.run.step_hooks import Episodes, Parts, StepHook
from training.run.stop_request import StopRequest, interruptible_setup, watch
from training.sim import Track, World
from training.sim.world import PARALLEL_FROM
from training.store.storage import StoreError
from training.stored_runs import maps as stored_maps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from training.agents.policy import SelectedPolicy
    from training.config import Config, EnvSettings


# A warm cache answers in a second or two.
SLOW_WARM_UP_S = 5.0


class Setup(NamedTuple):
    """All that a run is made of."""

    run: Run
    parts: Parts
    boundary: StepHook
    maps: Mapping[str, str]  # digests, by name


def train(  # noqa: PLR0913 - the options of the command
    config: Config,
    *,
    store: str,
    resume: str | None = None,
    origin: ResumePoint = LATEST,
    overrides: Sequence[str] = (),
    settings_file: Path | None = None,
) -> int:
    """Train, or go on training, until the run's end; return the exit code.

    store: directory or s3://bucket. resume: a run's name, which brings its own settings; origin: which of its
    checkpoints; overrides: what to change of its settings (`a.b=value`); settings_file: where the others come from;
    what of it a named run does not take is said. Raises a TrackError for a track that cannot be driven on, a
    ConfigurationError for one that does not hold the cars, before anything is made, and a TrainingError whose exit code
    says what became of the run.
    """
    rng.set_threads(config.sac.torch_threads)
    device = _device_of(config)
    file = None if settings_file is None else SettingsFile.read(settings_file)
    with interruptible_setup("Continue with the same command."):
        tracks: Mapping[str, Track] = {}
        if (
            resume is None
        ):  # a map that is missing, broken, too narrow or too short is told before a folder is made
            tracks = run_maps.load_for_new_run(config)
            check_memory(config)
        if file is not None and resume is None:  # of a run with the same settings that is not done yet
            overrides = [*file.limits(config), *overrides]
        run = open_run(config, store, resume=resume, origin=origin, overrides=overrides)
    if file is not None and resume is not None:
        run = run._replace(note=file.left_aside(config, run.config))
    if run.lock is not None:
        with run.lock:  # given back when the run is left, also where the process goes on
            return carry_on(run, device, tracks)
    with logged(run.storage, run.name, run.attempt.number):
        return carry_on(run, device, tracks)


def carry_on(run: Run, device: Any, tracks: Mapping[str, Track]) -> int:  # noqa: ANN401 - torch.device; torch stays in its layers
    """Train a claimed run to its end, and write down how this attempt ended if it did not get there.

    tracks: those that are loaded already, by name.
    """
    with Display() as display:
        try:
            try:
                with interruptible_setup(run.how_to_continue):
                    display.say("\n".join(filter(None, (run.greeting, learns_nothing(run.config)))))
                    setup = prepare(run, display, device, tracks)
                    ready()
                    setup.parts.stop.install_signal_handlers()
                    setup.boundary.stopwatch.install_signal_handlers()
            except Interrupted as early:
                run.record_failure(early)
                raise
            try:
                with divergence.explained(setup.parts.learner, run):
                    learn(setup)
                return close(setup)
            except KeyboardInterrupt as second:
                at_once = interrupted_twice(setup)
                run.record_failure(at_once)
                raise at_once from second
            finally:
                setup.parts.metrics.flush()
        except (Interrupted, Fenced):
            raise  # written down already, or not ours to write
        except BaseException as error:
            run.record_failure(error)
            raise


def prepare(run: Run, display: Display, device: Any, loaded: Mapping[str, Track]) -> Setup:  # noqa: ANN401 - torch.device
    """Build environment, learner and what watches them; restore the checkpoint, if there is one to go on from."""
    config = run.config
    rng.seed_everything(config.training.seed)
    stored_maps.bring(run.storage, run.name, config, needed=config.env.tracks)
    named = run_maps.load(config.env.tracks, loaded)
    maps = run_maps.digests(config, {**loaded, **named})
    if run.checkpoint is not None:
        saved: Any = (run.partial or run.checkpoint).meta.get(run_maps.META) or {}
        told = run_maps.check_unchanged(run.name, config, maps, saved)
        if told:
            display.say(told)
    tracks = [named[name] for name in config.env.tracks]
    check_memory(config)  # a run that is continued may have come from a larger computer
    warm_up(config.env, tracks[0], display.say)
    alive()
    warm_up_update(device, display.say, config.sac.update_backend)
    alive()
    learner = MultiAgentSAC(
        RaceBatch(config.env, tracks, config.num_cars, config.training.seed),
        config,
        device=device,
        contest=promotion.PromotionRaces(config, tracks),
    )
    alive()
    keepers = [BestPolicyTracker(config, tracks, number) for number in range(config.num_agents)]
    saver = Saver(SavedParts(learner, keepers), run.lineage, config, display.say)
    if run.checkpoint is None:
        warm_start.load_initial_policies(learner, config, run.storage, run.name, display.say)
        meta = {}
    else:
        with divergence.explained(learner, run):
            meta = saver.restore(run.checkpoint, run.partial)
    run.fetch_curves(run.local / "metrics", display.say)
    metrics = Metrics(
        config, run.name, run.local / "metrics", resumed_step=learner.num_timesteps,
        wandb_id=meta.get("wandb_id"), say=display.say,
    )  # fmt: skip

    def after_commit(step: int) -> None:
        run.saved(step)
        run.publish(metrics.event_file, layout.metrics_prefix(run.name))

    saver.after_commit = after_commit
    episodes, stop = [Episodes() for _ in learner.agents], StopRequest()
    for own, saved in zip(episodes, meta.get("episodes", ()), strict=False):
        own.load_state(saved)
    learner.on_episode = lambda number, figures: episodes[number].note(figures)
    if learner.league is not None:
        learner.league.on_champion = lambda champion, verdict: display.say(
            promotion.in_words(champion, verdict)
        )
        learner.league.asked = lambda: stop.reason is not None
    parts = Parts(learner, keepers, saver, metrics, display, episodes, stop)
    boundary = StepHook(
        parts, config, elapsed_s=meta.get("elapsed_s", 0.0), meta=lambda: _meta(parts, boundary, maps)
    )
    return Setup(run, parts, boundary, maps)


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


def _device_of(config: Config) -> Any:  # noqa: ANN401 - torch.device
    """Return the device to train on; the compiled update is for a processor, also where auto would find a GPU."""
    wanted = config.training.device
    compiled = config.sac.update_backend == "compiled"
    return rng.choose_device("cpu" if compiled and wanted == "auto" else wanted)


def warm_up_update(
    device: Any,  # noqa: ANN401 - torch.device
    say: Callable[[str], None],
    backend: Backend = "auto",
) -> None:
    """Make one update of throw-away networks, where the processor does the updates."""
    began = time.monotonic()
    compile_update(device, backend)
    took_s = time.monotonic() - began
    if took_s > SLOW_WARM_UP_S:
        say(f"compiled the update in {took_s:.0f} s; the next run finds it in the cache")


def compile_ahead(config: Config, say: Callable[[str], None]) -> None:
    """Call every compiled function once, with the types of a run: what an image keeps for its instances."""
    track = Track.generate(seed=0)
    warm_up(config.env, track, say)
    warm_up_update(rng.CPU, say)
    batch = RaceBatch(config.env, [track], 2)
    batch.reset()
    for name in ("racing_line", "follow_the_gap"):
        driver = make_driver(name, config.env.speed_cap_mps)
        batch.step(batch.race.actions_of(driver.act(batch.race.world)).astype(np.float32))
    few, there = np.zeros((2, 2, 3)), np.ones((2, 2), dtype=np.bool_)
    for profile in ("training", "f1tenth_gym"):
        world = World(track, num_envs=2, num_cars=2, profile=profile)
        world.reset(few)
        world.step(few[..., :2])
        world.place(few, there)


def learn(setup: Setup) -> None:
    """Train until the end or until somebody asks for a stop, then save.

    Raises Interrupted after an early stop: saved, to be continued.
    """
    run, parts, boundary, _ = setup
    config, learner, began = run.config, parts.learner, parts.learner.place
    watch(run.storage, run.name, parts.stop, parts.display.say, run.attempt.launch)
    learner.at_boundary, learner.pause_due, learner.at_pause = boundary, boundary.pause_due, boundary.pause
    learner.learn(config.training.total_timesteps)
    # An attempt that was killed after its last save, while it drove laps, left nothing to choose or save.
    is_all_done = all(keeper.chosen for keeper in parts.keepers) and learner.place == began
    if parts.stop.reason is None and not is_all_done:
        choose(parts)
    ended = parts.stop.reason is None
    if not ended:
        parts.display.say(f"{parts.stop.reason}: saving; another Ctrl-C ends at once, without")
    saved = Saved.ALL if ended and is_all_done else save_at_end(setup)
    parts.saver.close()
    boundary.show()
    parts.display.settle()
    if not ended or saved is not Saved.ALL:
        parts.metrics.close()
        raise interrupted(setup, saved)
    if not any(agent.has_learnt for agent in learner.agents):
        parts.display.say("nothing was learnt: the run ended before its first update")


def choose(parts: Parts) -> None:
    """Choose which policies to keep; where a stop is asked for meanwhile, the next attempt does it."""
    parts.display.say("training is over; choosing the policy to keep")
    with contextlib.suppress(Left), all_or_nothing(parts.keepers, lambda: parts.stop.reason is not None):
        for keeper in parts.keepers:
            keeper.judge(parts.learner)
            keeper.choose()


class Saved(Enum):
    """What was saved at the end."""

    ALL = "everything is saved"
    WITHOUT_RESULTS = "everything is saved, but laps and report are not made yet"
    PARTIAL = "weights and optimizers are saved, the newest whole checkpoint is that of step {step}"
    NOTHING = "nothing more could be saved, the newest checkpoint is that of step {step}"


def save_at_end(setup: Setup) -> Saved:
    """Save what can be saved until the machine goes; raises a StoreError where there is time, but no room."""
    parts = setup.parts
    try:
        whole = parts.saver.finish(_meta(parts, setup.boundary, setup.maps), not_after=parts.stop.deadline)
    except StoreError as error:
        if parts.stop.deadline is None:
            told = Saved.NOTHING.value.format(step=parts.saver.durable_step)
            raise type(error)(f"{error.message}\n{told}", next_step=setup.run.how_to_continue) from error
        parts.display.say(str(error))
        return Saved.NOTHING
    return Saved.ALL if whole else Saved.PARTIAL


def interrupted(setup: Setup, saved: Saved) -> Interrupted:
    """Write down that the attempt was stopped, and return the error that says so."""
    run, parts = setup.run, setup.parts
    durable, stop = parts.saver.durable_step, parts.stop
    # Where a notice came first, this is still the checkpoint that was to be the last.
    cause = "stopped" if stop.stop_after_save and saved is Saved.ALL else stop.cause
    run.end_attempt(cause, Interrupted.exit_code, durable)
    told = saved.value.format(step=f"{durable:,}")
    message = f"stopped by {stop.reason} at step {parts.learner.num_timesteps:,}; {told}"
    next_step = run.how_to_continue
    if saved is Saved.PARTIAL:
        next_step += "\nAdd --from-partial to go on from here, without what the replay took in since."
    return Interrupted(message, next_step=next_step, cause=cause)


def interrupted_twice(setup: Setup) -> Interrupted:
    """Return the error that says what a second Ctrl-C left."""
    durable = setup.parts.saver.durable_step
    message = f"stopped at once by a second Ctrl-C; the newest checkpoint is that of step {durable:,}"
    return Interrupted(message, next_step=setup.run.how_to_continue)


def close(setup: Setup) -> int:
    """Make what follows the last step, and last mark the run done; return the exit code.

    Killed or stopped in between, the run is not done yet, and the next attempt does what is missing. Raises Interrupted
    after a signal; a notice leaves two minutes, which suffice for most of it.
    """
    run, parts = setup.run, setup.parts
    try:
        with leaving(lambda: parts.stop.is_by_signal):
            make_results(run, parts)
    except Left:
        parts.metrics.close()
        raise interrupted(setup, Saved.WITHOUT_RESULTS) from None
    parts.metrics.close()
    run.publish(parts.metrics.event_file, layout.metrics_prefix(run.name))
    run.end_attempt("done", 0, parts.learner.num_timesteps)
    return 0


def _meta(parts: Parts, boundary: StepHook, maps: Mapping[str, str]) -> dict[str, Any]:
    """Return what a checkpoint says of the run beside the learner's own state."""
    return {
        "elapsed_s": boundary.elapsed_s,
        "laps": sum(own.laps for own in parts.episodes),
        "episodes": [own.state() for own in parts.episodes],
        "wandb_id": parts.metrics.wandb_id,
        "machine": rng.machine_class(),
        "host": platform.node(),
        "kept": [None if keeper.best is None else _described(keeper.best) for keeper in parts.keepers],
        "best_agent": parts.best_agent,
        run_maps.META: dict(maps),
    }


def _described(kept: SelectedPolicy) -> dict[str, Any]:
    return {name: value for name, value in kept._asdict().items() if name != "policy"}
