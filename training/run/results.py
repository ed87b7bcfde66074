"""The results of a run, after its last step and the last save: models, laps, report, the networks' graph."""

from __future__ import annotations

import shlex
import traceback
from typing import TYPE_CHECKING

from .. import layout
from ..agents.export import model_zip
from ..evaluation.load_run import policy_of
from ..evaluation.policy_selection import figures
from ..process.systemd_notify import alive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..agents.policy import SelectedPolicy
    from .claimed_run import Run
    from .step_hooks import RunParts


def make_results(run: Run, parts: RunParts) -> None:
    """Export the models, drive their laps, write the report, draw the networks; done again, it writes the same."""
    kept = [keeper.best for keeper in parts.keepers if keeper.best is not None]
    if len(kept) < len(parts.keepers):
        parts.display.say("no policy was kept: the run ended before its first evaluation")
    else:
        put_models(run, parts, kept)
        show_laps(run, parts)
    draw_networks(parts)


def put_models(run: Run, parts: RunParts, kept: Sequence[SelectedPolicy]) -> None:
    """Put each agent's kept policy into the store as a model for people."""
    for number, (agent, best) in enumerate(zip(parts.learner.agents, kept, strict=True)):
        folder = number if len(kept) > 1 else None
        key = layout.model_key(run.name, run.config.training.training_type, best.step, folder)
        run.storage.put(key, model_zip(agent, best.policy, best.step))
        alive()


def show_laps(run: Run, parts: RunParts) -> None:
    """Drive the kept policy's laps, print them, write the report; a fault there must not undo a finished run."""
    say = parts.display.say
    try:
        from ..report import final_report  # noqa: PLC0415 - a second of matplotlib, after training

        loaded = policy_of(run.storage, run.name)
        driven = final_report.drive_laps(loaded, run.storage, say)
        parts.metrics.record_hyperparameters(
            run.config.to_json_dict(), figures(final_report.policy_drives(loaded, driven))
        )
        parts.metrics.flush()
        run.publish(parts.metrics.event_file, layout.metrics_prefix(run.name))
        final_report.show(loaded, driven, say)
        if run.config.training.report:
            page = final_report.report(loaded, run.storage, run.local / "report", driven, say)
            if page is not None:
                run.publish(page, layout.report_prefix(run.name))
                curves = f".venv/bin/tensorboard --logdir {shlex.quote(str(run.local))}"
                say(f"The report is in {run.place}/report/{page.name}; watch the curves with: {curves}")
    except Exception as error:  # noqa: BLE001 - the run itself is trained and saved
        traceback.print_exc()
        say(f"laps and report failed ({error!r}); the run is saved. Try: make report RUN={run.name}")


def draw_networks(parts: RunParts) -> None:
    """Record the networks' graph; at the end, because torch takes 2 s for it, which would delay the first step."""
    first = parts.learner.agents[0]
    try:
        (width,) = first.observation_space.shape or ()
        parts.metrics.record_graph(first.actor, first.critic, width)
    except Exception as error:  # noqa: BLE001 - a picture; the run itself is trained and saved
        traceback.print_exc()
        parts.display.say(f"the networks' graph was not drawn ({error!r}); the run is saved")
