#!/usr/bin/env python3
"""Train on AWS spot capacity: one command, a budget that holds, and nothing left behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
_VENV = ROOT / ".venv" / "bin" / "python"
if __name__ == "__main__" and _VENV.exists() and Path(sys.prefix) != _VENV.parent.parent.resolve():
    # So that ./launch.py works without activating anything.
    if Path(sys.prefix).resolve() != _VENV.parent.parent.resolve() and "F1TENTH_LAUNCHER" not in os.environ:
        os.execve(_VENV, [str(_VENV), *sys.argv], {**os.environ, "F1TENTH_LAUNCHER": "1"})  # noqa: S606 - ourselves

import json as jsonlib
import subprocess
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from training.errors import ConfigurationError, TrainingError, UsageError

if TYPE_CHECKING:
    from training.cloud.api import Cloud
    from training.cloud.scope import Scope
    from training.config import Config
    from training.store.storage import Storage

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train on AWS spot capacity: one command, a budget that holds, and nothing left behind.",
    epilog="Every command may be repeated. Exit codes: 0 done, 1 AWS or a run says no, 2 a wrong word or setting.",
)

Run = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, as `train` and `list` print it.")]
ConfigFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings; without it config.yaml, where there is one.")
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the exact requests and do nothing.")]


class Context(NamedTuple):
    """What a command works with."""

    config: Config
    cloud: Cloud
    scope: Scope

    @property
    def storage(self) -> Storage:
        """Open the store; CloudError where there is no bucket yet."""
        from training.cloud import look
        from training.cloud.problems import CloudError
        from training.store.opening import open_store

        if not look.bucket_exists(self.cloud, self.scope):
            raise CloudError(
                f"there is no bucket {self.scope.bucket}", next_step="Set up, free of charge: ./launch.py up"
            )
        return open_store(self.scope.store, self.config.aws)


def settings(
    config: Path | None, overrides: list[str] | None, preset: Literal["cloud"] | None = None
) -> Config:
    """Read the settings as the trainer does."""
    from training.config import load_config

    default = Path("config.yaml")
    path = config if config is not None else default if default.exists() else None
    return load_config(path, overrides or (), preset)


def connect(
    config: Path | None, overrides: list[str] | None = None, preset: Literal["cloud"] | None = None
) -> Context:
    """Read the settings and find out who we are."""
    from training.cloud.api import Cloud
    from training.cloud.scope import read_scope

    chosen = settings(config, overrides, preset)
    cloud = Cloud(chosen.aws, say)
    return Context(chosen, cloud, read_scope(cloud))


def say(line: str) -> None:
    """Tell a person something, past what a script reads."""
    print(line, file=sys.stderr, flush=True)


def show(data: object) -> None:
    """Print data as JSON."""
    print(jsonlib.dumps(data, indent=2, default=str))


def table(title: str, heads: list[str], rows: list[list[str]]) -> None:
    """Print a table that fits the terminal."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(*heads, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        drawn.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 110).print(drawn)


def ask(question: str, *, yes: bool) -> None:
    """Go on only if the user agrees."""
    if not yes and not (sys.stdin.isatty() or os.environ.get("F1TENTH_ASK")):
        raise UsageError(f"{question} Nobody is here to answer", next_step="Add --yes.")
    if not yes and not typer.confirm(question, err=True):
        raise UsageError("nothing was done")


# --- setting up ---
@app.command()
def doctor(
    *,
    config: ConfigFile = None,
    overrides: Sets = None,
    policy: Annotated[
        bool, typer.Option("--policy", help="Print the policies for your IAM user and end.")
    ] = False,
    json: Json = False,
) -> None:
    """Look at credentials, quota, image, network; each line says ok or the next command."""
    from training.cloud import doctor as doctor_, policies
    from training.cloud.api import Cloud
    from training.cloud.scope import read_scope

    chosen = settings(config, overrides)
    cloud = Cloud(chosen.aws, say)
    if policy:
        scope = read_scope(cloud)
        show({"train": policies.daily_policy(scope), "up and down": policies.setup_policy(scope)})
        return
    findings = []
    for finding in doctor_.examine(cloud, ROOT):
        findings.append(finding)
        if not json:
            print(f"{'ok ' if finding.ok else 'NO '} {finding.what:16} {finding.detail}", flush=True)
            if not finding.ok and finding.next_step:
                print(f"    → {finding.next_step}")
    missing = doctor_.missing_policy(findings)
    if json:
        show({"findings": [finding._asdict() for finding in findings], "missing_policy": missing})
    elif missing:
        print(
            "\nPaste this policy in the IAM console (Users → you → Add permissions → Create inline policy):"
        )
        show(missing)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command()
def up(
    *, config: ConfigFile = None, overrides: Sets = None, dry_run: DryRun = False, yes: Yes = False
) -> None:
    """Make what training needs: bucket, policy, security group, log group. Costs nothing while empty."""
    from training.cloud import setup

    context = connect(config, overrides)
    steps = setup.plan(context.cloud, context.scope)
    if dry_run:
        show([{"what": step.what, "action": step.action, "request": step.request} for step in steps])
        return
    for step in steps:
        if step.action == "make":
            say(f"  make   {step.what}")
    if any(step.action == "make" for step in steps):
        ask("Make these? They cost nothing while they are empty.", yes=yes)
    setup.apply(steps, say)
    print(f"up: {context.scope.store} in {context.scope.region}. Next: make ami, then ./launch.py train")


@app.command()
def down(
    *,
    config: ConfigFile = None,
    overrides: Sets = None,
    data: Annotated[
        bool, typer.Option("--data", help="Delete the bucket too, with every run in it.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Remove all that `up` and `train` made; asks before it touches data. Images stay: they are `make ami`'s."""
    from training.cloud import ending, look

    context = connect(config, overrides)
    for fleet in look.fleets(context.cloud, context.scope):
        say(f"  running: fleet {fleet['FleetId']}; its machine will be terminated without a last checkpoint")
    exists = look.bucket_exists(context.cloud, context.scope)
    if exists:
        count, size = ending.bucket_size(context.cloud, context.scope)
        say(
            f"  bucket {context.scope.bucket}: {count} objects, {size / 1e9:.3f} GB: {'DELETED' if data else 'kept (--data deletes it)'}"
        )
    ask(f"Remove project {context.scope.project} from {context.scope.region}?", yes=yes)
    ending.down(context.cloud, context.scope, data=data, say=say)
    print(
        "down: nothing of the project is left"
        + ("" if data or not exists else f" but its bucket {context.scope.bucket}")
    )


# --- runs ---
@app.command()
def train(
    *,
    config: ConfigFile = None,
    overrides: Sets = None,
    name: Annotated[
        str | None, typer.Option(metavar="RUN", help="Name of the run; made from the time without it.")
    ] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Continue this run.")] = None,
    at: Annotated[
        int | None,
        typer.Option(metavar="STEP", min=0, help="With --resume: from its checkpoint at this step."),
    ] = None,
    market: Annotated[
        Literal["spot", "on-demand"], typer.Option(help="Which capacity; the cap is the same.")
    ] = "spot",
    no_relaunch: Annotated[
        bool, typer.Option("--no-relaunch", help="Do not replace an interrupted machine.")
    ] = False,
    max_hours: Annotated[
        float | None, typer.Option(metavar="H", help="The fleet ends after this; aws.max_hours.")
    ] = None,
    max_cost_usd: Annotated[
        float | None, typer.Option(metavar="USD", help="And before it can cost more; aws.max_cost_usd.")
    ] = None,
    keep_on_failure: Annotated[
        str, typer.Option(metavar="TIME", help="Keep a failed machine up for this long: 30m, 2h.")
    ] = "0m",
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow the start.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Launch a run: shows price and hard cap, asks, starts, follows it to its first step."""
    from training import layout
    from training.cloud import launching, watching

    if at is not None and resume is None:
        raise UsageError("--at needs --resume RUN")
    given = [
        *(overrides or []),
        *(
            f"aws.{key}={value}"
            for key, value in (("max_hours", max_hours), ("max_cost_usd", max_cost_usd))
            if value is not None
        ),
    ]
    context = connect(config, given, None if _names_preset(config, given) else "cloud")
    run = layout.check_run_name(resume or name or context.config.training.run_name or layout.new_run_id())
    options = launching.Options(
        run, resume is not None, at, market, not no_relaunch, _seconds(keep_on_failure)
    )
    storage = context.storage
    plan = launching.make_plan(context.cloud, context.scope, storage, context.config, options, ROOT)
    if dry_run:
        show({"plan": launching.describe(plan), **launching.requests(plan, context.scope, context.cloud)})
        return
    for line in launching.describe(plan):
        say(line)
    ask("Launch?", yes=yes)
    fleet = launching.start(context.cloud, context.scope, storage, context.config, plan, say)
    state = "pending"
    if not detach:
        state = watching.follow(context.cloud, context.scope, storage, run, say)
    if json:
        show(
            {
                "run": run,
                "fleet_id": fleet,
                "cap_usd": plan.cap_usd,
                "valid_until": plan.launch.valid_until,
                "state": state,
            }
        )
    else:
        print(f"run {run} is {state}. Watch: ./launch.py logs -f {run}. Stop: ./launch.py stop {run}")
    raise typer.Exit(1 if state == "failed" else 0)


@app.command()
def status(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="One run in detail; all without it.")
    ] = None,
    *,
    config: ConfigFile = None,
    overrides: Sets = None,
    json: Json = False,
) -> None:
    """Tell how the runs are: phase, attempts, speed, last checkpoint, cost, time left."""
    from training.cloud import facts, look

    context = connect(config, overrides)
    storage = context.storage
    names = look.run_names(context.cloud, context.scope)
    if run is None:
        found = [facts.read_facts(storage, one, context.cloud.clock.now()) for one in names]
        _show_runs(found, json=json)
        return
    _check_known(run, names, context.scope)
    one = facts.read_facts(storage, run, context.cloud.clock.now())
    machines = look.machines(context.cloud, context.scope, run)
    waiting = one.state in {"pending", "running"} and not machines
    if json:
        show({**one.to_json_dict(), "machines": [machine["InstanceId"] for machine in machines]})
        return
    for line in facts.describe(one):
        print(line)
    for machine in machines:
        print(f"machine     {machine['InstanceId']}, {machine['InstanceType']}, {machine['State']['Name']}")
    if waiting:
        print(f"waiting     {facts.why_waiting(context.cloud, context.scope, run)}")


@app.command(name="list")
def list_(*, config: ConfigFile = None, overrides: Sets = None, json: Json = False) -> None:
    """List the runs of the project."""
    status(None, config=config, overrides=overrides, json=json)


@app.command()
def logs(
    run: Run,
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run ends.")] = False,
    config: ConfigFile = None,
    overrides: Sets = None,
) -> None:
    """Print a run's log, through relaunches."""
    from training.cloud import watching

    context = connect(config, overrides)
    watching.follow_log(context.cloud, context.storage, run, sys.stdout.write, until_end=follow)


@app.command()
def stop(
    run: Run,
    *,
    now: Annotated[
        bool, typer.Option("--now", help="Delete the fleet at once, without a last checkpoint.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has ended.")] = True,
    config: ConfigFile = None,
    overrides: Sets = None,
) -> None:
    """Stop a run: it saves a checkpoint, then ends; `train --resume` continues it."""
    from training.cloud import stopping

    context = connect(config, overrides)
    state = stopping.stop(context.cloud, context.scope, context.storage, run, now=now, wait=wait)
    print(f"run {run} is {state}. Continue: ./launch.py train --resume {run}")


@app.command()
def fetch(
    run: Run,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to put it, below runs/.")] = Path(),
    latest: Annotated[bool, typer.Option("--latest", help="The newest model instead of the best.")] = False,
    config: ConfigFile = None,
    overrides: Sets = None,
) -> None:
    """Copy a run's model and report to this computer."""
    from training.cloud import look, stopping

    context = connect(config, overrides)
    _check_known(run, look.run_names(context.cloud, context.scope), context.scope)
    for path in stopping.fetch(context.storage, run, out, latest=latest, say=say):
        print(path)


@app.command()
def prune(
    run: Run,
    *,
    keep: Annotated[int, typer.Option(min=2, max=1000, help="Newest checkpoints to keep.")] = 2,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete; without it only said what would go.")
    ] = False,
    config: ConfigFile = None,
    overrides: Sets = None,
) -> None:
    """Remove what no kept checkpoint of a run needs."""
    from training.store.prune import prune as prune_run

    context = connect(config, overrides)
    raise typer.Exit(
        prune_run(run, store=context.scope.store, keep=keep, dry_run=not delete, aws=context.config.aws)
    )


# --- reaching a machine ---
@app.command()
def ssh(
    run: Run,
    *,
    show_command: Annotated[bool, typer.Option("--print", help="Print the command.")] = False,
    config: ConfigFile = None,
    overrides: Sets = None,
) -> None:
    """Open a shell on a run's machine, through Session Manager."""
    from training.cloud import reaching

    context = connect(config, overrides)
    machine = reaching.machine_of(context.cloud, context.scope, run)
    _reach(reaching.shell_command(context.cloud, machine), show_command=show_command)


@app.command()
def tensorboard(
    run: Run,
    *,
    port: Annotated[int, typer.Option(min=1024, max=65535, help="Port on this computer.")] = 6006,
    show_command: Annotated[bool, typer.Option("--print", help="Print the command.")] = False,
    config: ConfigFile = None,
    overrides: Sets = None,
) -> None:
    """Bring a run's TensorBoard to http://127.0.0.1:6006, through Session Manager."""
    from training.cloud import reaching

    context = connect(config, overrides)
    machine = reaching.machine_of(context.cloud, context.scope, run)
    say(f"TensorBoard: http://127.0.0.1:{port} (Ctrl-C ends the connection, not the run)")
    _reach(reaching.tensorboard_command(context.cloud, machine, port), show_command=show_command)


# --- money ---
@app.command()
def prices(*, config: ConfigFile = None, overrides: Sets = None, json: Json = False) -> None:
    """Compare live prices by type and zone, with what spot saves."""
    from training.cloud import prices as prices_

    context = connect(config, overrides)
    found = prices_.read_prices(context.cloud, context.config.aws.instance_types)
    rows = prices_.compare(found)
    if json:
        show(rows)
        return
    heads = ["type", "zone", "spot $/h", "on demand $/h", "saved", "source"]
    cells = [
        [
            row["type"],
            row["zone"],
            f"{row['spot']:.3f}",
            f"{row['on_demand']:.3f}",
            f"{row['saved']:.0%}",
            row["source"],
        ]
        for row in rows
    ]
    table(f"{context.scope.region}, cheapest first", heads, cells)


@app.command()
def cost(run: Run, *, config: ConfigFile = None, overrides: Sets = None, json: Json = False) -> None:
    """Tell what a run has cost: per million steps, per first clean lap, goodput."""
    from training.cloud import facts, look

    context = connect(config, overrides)
    _check_known(run, look.run_names(context.cloud, context.scope), context.scope)
    storage = context.storage
    one = facts.read_facts(storage, run, context.cloud.clock.now())
    figures = facts.cost_figures(storage, one)
    if json:
        show(figures)
        return
    for key, value in figures.items():
        print(
            f"{key.replace('_', ' '):28} {'not yet' if value is None else f'{value:.4g}' if isinstance(value, float) else value}"
        )


@app.command()
def gc(
    *,
    delete: Annotated[bool, typer.Option("--delete", help="End what is found.")] = False,
    config: ConfigFile = None,
    overrides: Sets = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Find leaked and half-made things of the project, and say how to end them."""
    from training.cloud import ending, look
    from training.store.documents import set_status
    from training.store.opening import open_store

    context = connect(config, overrides)
    exists = look.bucket_exists(context.cloud, context.scope)
    storage = open_store(context.scope.store, context.config.aws) if exists else None
    leaks = ending.find_leaks(context.cloud, context.scope, storage)
    if json:
        show([leak._asdict() for leak in leaks])
    else:
        for leak in leaks:
            print(leak.line)
        print(f"{len(leaks)} found" + (". End them: ./launch.py gc --delete" if leaks and not delete else ""))
    if delete and leaks:
        ask(f"End these {len(leaks)}?", yes=yes)
        for leak in leaks:
            ending.end_leak(
                context.cloud,
                context.scope,
                leak,
                lambda run: (
                    storage
                    and set_status(
                        storage, run, "stopped", only_from={"pending"}, reason="launch interrupted"
                    )
                ),
            )
            say(f"  gone   {leak.kind} {leak.id}")


# --- helpers ---
def _names_preset(config: Path | None, overrides: list[str]) -> bool:
    """Tell whether the user chose a preset; else a run in the cloud starts from the cloud's."""
    from training.config_text import read_settings_file

    path = config or (Path("config.yaml") if Path("config.yaml").exists() else None)
    group: Any = read_settings_file(path).get("training") if path else None
    return any(one.startswith("training.preset=") for one in overrides) or (
        isinstance(group, dict) and "preset" in group
    )


def _seconds(text: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600}
    if text[-1:] not in units or not text[:-1].isdigit() or int(text[:-1]) * units[text[-1]] > 4 * 3600:
        raise UsageError(f"--keep-on-failure {text!r} is no time up to 4h", next_step="Write 30m or 2h.")
    return int(text[:-1]) * units[text[-1]]


def _check_known(run: str, names: list[str], scope: Scope) -> None:
    if run not in names:
        raise UsageError(f"there is no run {run!r} in {scope.store}", next_step="List them: ./launch.py list")


def _show_runs(found: list[Any], *, json: bool) -> None:
    if json:
        show([one.to_json_dict() for one in found])
        return
    rows = [
        [
            one.run,
            one.state,
            f"{one.steps:,}",
            str(len(one.attempts)),
            f"${one.cost_usd:.2f}",
            "" if one.hours_left is None else f"{one.hours_left:.1f} h",
        ]
        for one in reversed(found)
    ]
    table(f"{len(found)} runs", ["run", "state", "steps", "attempts", "cost", "left"], rows)


def _reach(command: list[str], *, show_command: bool) -> None:
    from training.cloud import reaching

    if show_command:
        import shlex

        print(shlex.join(command))
        return
    reaching.check_tools(command)
    raise typer.Exit(subprocess.call(command))  # noqa: S603 - a command of ours


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit code: 0 done, 1 the world's answer, 2 the user's words."""
    from training.store.storage import StoreError

    try:
        app(sys.argv[1:] if arguments is None else arguments, prog_name="./launch.py")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 0 if exit_.code is None else 1
    except KeyboardInterrupt:
        print("\nstopped here; what is half-made shows: ./launch.py gc", file=sys.stderr)
        return 1
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        user = isinstance(error, (UsageError, ConfigurationError)) and not isinstance(error, StoreError)
        return 2 if user else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
