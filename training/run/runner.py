"""A run from its first to its last step; this file only names the steps in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import layout, rng
from ..config.checks import check_packages, learns_nothing
from ..config.memory import check_memory
from ..config.resume import SettingsFile
from ..errors import Fenced, Interrupted
from ..instance.log_upload import logged
from ..process.systemd_notify import Left, leaving, ready
from ..sim import Track
from . import divergence, run_maps
from .assemble import Setup, device_of, prepare
from .claimed_run import LATEST, ResumePoint, Run, open_run
from .ending import Saved, choose, interrupted, interrupted_twice, save_at_end
from .progress_display import Display
from .results import make_results
from .stop_request import interruptible_setup, keep_exit_code, watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..config import Config


def train(  # noqa: PLR0913 - the options of the command
    config: Config,
    *,
    store: str,
    resume: str | None = None,
    origin: ResumePoint = LATEST,
    overrides: Sequence[str] = (),
    settings_file: Path | None = None,
) -> int:
    """Train, or resume training, until the run's end; return the exit code.

    store: directory or s3://bucket. resume: the name of a run, which has its own settings; origin: which of its
    checkpoints; overrides: changes of its settings (`a.b=value`); settings_file: the file of all other settings; a
    message names those of its settings that a resumed run ignores. Raises a TrackError for a track that cannot be
    driven on, a ConfigurationError for one with too little room for the cars, both before anything is created, and a
    TrainingError whose exit code says how the run ended.
    """
    rng.set_threads(config.sac.torch_threads)
    device = device_of(config.training.device, config.sac.update_backend)
    file = None if settings_file is None else SettingsFile.read(settings_file)
    with interruptible_setup("Continue with the same command."):
        tracks: Mapping[str, Track] = {}
        if (
            resume is None
        ):  # a map that is missing, broken, too narrow or too short is told before a folder is made
            tracks = run_maps.load_for_new_run(config.env, config.evaluation.tracks, config.num_cars)
            check_memory(config)
            check_packages(report=config.training.report)
        if file is not None and resume is None:  # of a run with the same settings that is not done yet
            overrides = [*file.limits(config), *overrides]
        run = open_run(config, store, resume=resume, origin=origin, overrides=overrides)
    if file is not None and resume is not None:
        run = run._replace(note=file.left_aside(config, run.config))
    if run.lock is not None:
        with run.lock:  # released when the run is left, also if the process continues
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
                keep_exit_code()
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


def learn(setup: Setup) -> None:
    """Train until the end or until a stop is requested, then save.

    Raises Interrupted after an early stop: saved, to be continued.
    """
    run, parts, boundary = setup
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


def close(setup: Setup) -> int:
    """Make the results after the last step, and then mark the run done; return the exit code.

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
