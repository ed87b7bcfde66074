"""The commands `up` and `train`: what they ask, do and print. Answers go to stdout, news to stderr."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ...store.storage import Storage
from ..console.output import OutputOptions, answer, ask, ask_again, say, show
from ..context import CommandContext
from . import follow, launch, own_maps, setup
from .arguments import Options
from .basis import Basis, read_basis
from .settings_checks import check_new
from .steps import SetupStep, check


def up(context: CommandContext, output: OutputOptions, *, use_existing_bucket: bool = False) -> None:
    """Make what is missing, after asking."""
    steps = setup.plan(context.cloud, context.project, use_existing_bucket=use_existing_bucket)
    if output.dry_run:
        show(_requests(steps))
        check(steps)
        return
    _apply(steps, output)
    if output.json:
        show({"store": context.project.store, "region": context.project.region, "steps": _requests(steps)})
    else:
        answer(
            f"up: {context.project.store} in {context.project.region}. Next: make ami, then ./launch.py train"
        )


def _requests(steps: list[SetupStep]) -> list[dict[str, object]]:
    return [step.to_json_dict() for step in steps]


def _apply(steps: list[SetupStep], output: OutputOptions) -> None:
    changes = [step for step in steps if step.action != "keep"]
    for step in steps:
        if step.action != "keep" or step.notes:
            for line in step.lines():
                say(line)
    check(steps)
    if changes:
        ask("Do this? It costs nothing while it is empty.", output)
    setup.apply(steps, say)


def train(  # noqa: PLR0913 - the options of the command
    context: CommandContext,
    options: Options,
    root: Path,
    output: OutputOptions,
    *,
    up_first: bool,
    detach: bool,
) -> int:
    """Plan, ask, start, follow; a launch that cannot work is refused before `up_first` creates anything."""
    with tempfile.TemporaryDirectory(prefix="f1tenth-maps-") as folder:
        maps = own_maps.pack_for_launch(
            context.config.tracks_by_setting, options.overrides,
            resume=options.resume, root=root, folder=Path(folder), say=say,
        )  # fmt: skip
        context = context._replace(config=context.config.with_tracks(own_maps.new_names(maps)))
        tracks = context.config.tracks_by_setting
        overrides = own_maps.renamed_overrides(options.overrides, tracks, maps)
        options = options._replace(overrides=overrides, maps=maps)
        basis = _basis(context, options, root, output, up_first=up_first)
        if basis is None:
            return 0
        storage = context.storage
        plan = launch.make_plan(context, storage, options, basis)
        return _start(context, storage, plan, output, detach=detach)


def _basis(
    context: CommandContext, options: Options, root: Path, output: OutputOptions, *, up_first: bool
) -> Basis | None:
    """Check the settings, read what the launch depends on, run `up`; None where a dry run shows what `up` would do."""
    if not options.resume:  # a run that is continued brings its own settings
        check_new(context.config, {one.name: one.length_m for one in options.maps.values()})
    if not up_first:
        context.storage  # noqa: B018 - "set up first" comes before "bake an image"
    if up_first:
        launch.check_run(context, options)
    basis = read_basis(context, options.market, root)
    if up_first:
        steps = setup.plan(context.cloud, context.project)
        if output.dry_run and any(step.action == "make" for step in steps):
            show({"up": _requests(steps), "plan": ["The launch is planned when that is there."]})
            return None
        if not output.dry_run:
            _apply(steps, output)
    return basis


def _start(
    context: CommandContext, storage: Storage, plan: launch.LaunchPlan, output: OutputOptions, *, detach: bool
) -> int:
    """Show the plan, ask, start and follow it; return the exit code."""
    lines = launch.describe(plan)
    if output.dry_run:
        show({"plan": lines, **launch.requests(context, plan)})
        return 0
    for line in lines:
        say(line)
    _confirm(plan, output)
    run = plan.launch.run
    fleet = launch.start(context, storage, plan, say)
    state = "pending" if detach else follow.follow(context.cloud, context.project, storage, run, say)
    if output.json:
        until = plan.launch.valid_until.isoformat()
        show(
            {
                "run": run,
                "fleet_id": fleet,
                "cap_usd": plan.cap_usd,
                "valid_until": until,
                "state": state,
            }
        )
    else:
        answer(f"run {run} is {state}. Watch: ./launch.py logs -f {run}. Stop: ./launch.py stop {run}")
    return 1 if state == "failed" else 0


def _confirm(plan: launch.LaunchPlan, output: OutputOptions) -> None:
    """Continue if the user agrees to the launch; UsageError if consent was given in advance to one sure to fail."""
    if plan.failure is not None and plan.failure.is_certain:
        question = f"Run {plan.launch.run} would fail again. Launch it all the same?"
        ask_again(question, plan.failure.next_step)
    else:
        ask("Launch?", output)
