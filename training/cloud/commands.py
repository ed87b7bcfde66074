"""The launcher's commands: their work and output; launch.py holds the options. Answers go to stdout, news to stderr."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

from .. import layout
from ..errors import UsageError
from ..store.prune import make_plan, sweep
from . import doctor
from .aws import iam_policies, inventory, people_policies, prices
from .aws.aws_errors import CloudError
from .aws.client import Cloud
from .cleanup.stop import When, stop_run
from .console.output import OutputOptions, answer, pass_on, say, show, table
from .context import CommandContext
from .launch import training_price
from .launch_record import check_place, is_here
from .watch import connect, log, lost_machines, run_status, system_log
from .watch.fetch_run import fetch_results


# --- setting up ---
def examine(cloud: Cloud, root: Path, output: OutputOptions) -> int:
    """Print what `doctor` finds."""
    findings = []
    for finding in doctor.examine(cloud, root):
        findings.append(finding)
        if not output.json:
            answer(f"{'ok' if finding.ok else 'NO'}  {finding.what:16} {finding.detail}")
            if not finding.ok:
                answer(f"    → {finding.next_step}")
    missing = doctor.missing(findings)
    if output.json:
        place = {"project": cloud.aws.project_name, "region": cloud.aws.region}
        rows = [{"ok": one.ok, **one._asdict()} for one in findings]
        show({**place, "findings": rows, "missing": missing})
    elif missing:
        answer(f"\nMissing: {', '.join(missing['actions'])}")
        answer("Who may change IAM in your account gives them so:")
        for line in missing["commands"]:
            answer(f"  {line}")
        answer(people_policies.CONSOLE)
    return 0 if all(finding.ok for finding in findings) else 1


def show_policies(context: CommandContext, out: Path | None, output: OutputOptions) -> None:
    """Print the policies that a person needs, or write them to files and print how they are given."""
    project = context.project
    if out is not None:
        files = people_policies.write(project, out)
        give = {
            kind: people_policies.how_to_give(project, kind, out) for kind in people_policies.all_of(project)
        }
        if output.json:
            show({"files": files, "commands": give})
            return
        for path in files:
            say(f"  written {path}")
        for lines in give.values():
            for line in lines:
                answer(line)
        say(people_policies.CONSOLE)
        return
    machines = {"aws.instance_profile": iam_policies.instance_policy(project)} if project.machine_role else {}
    show({**people_policies.all_of(project), **machines})


# --- runs ---
def statuses(context: CommandContext, output: OutputOptions) -> None:
    """Print all runs, newest first."""
    storage, now = context.storage, context.cloud.now()
    found = [
        run_status.read_run_status(storage, run, now)
        for run in inventory.run_names(context.cloud, context.project)
    ]
    found.sort(key=lambda one: one.begun_at.timestamp() if one.begun_at else 0.0, reverse=True)
    if output.json:
        show([one.to_json_dict() for one in found])
        return
    rows = [
        [
            one.run,
            one.state
            if one.intent is None or is_here(one.intent, context.project)
            else f"{one.state} in {one.intent.region}",
            f"{one.steps:,}",
            str(len(one.attempts)),
            f"${one.cost_usd:.2f}",
            "" if one.hours_left is None else f"{one.hours_left:.1f} h",
        ]
        for one in found
    ]
    table(
        f"{len(found)} run{'' if len(found) == 1 else 's'}",
        ["run", "state", "steps", "attempts", "cost", "time left"],
        rows,
    )


def status(context: CommandContext, run: str, output: OutputOptions) -> None:
    """Print one run in detail, and why it waits if it has no machine."""
    one = _known(context, run)
    machines = inventory.machines(context.cloud, context.project, run)
    lost = (
        lost_machines.lost_of(context.cloud, context.project, one)
        if one.state in {"pending", "running"}
        else []
    )
    if output.json:
        ids = {
            "machines": [machine["InstanceId"] for machine in machines],
            "lost_machines": [machine.id for machine in lost],
        }
        show({**one.to_json_dict(), **ids})
        return
    for line in run_status.describe(one):
        answer(line)
    for machine in machines:
        answer(f"machine     {machine['InstanceId']}, {machine['InstanceType']}, {machine['State']['Name']}")
    for line in lost_machines.explain(context.cloud, lost):
        answer(f"lost        {line}")
    if one.state in {"pending", "running"} and not machines:
        answer(f"waiting     {run_status.why_waiting(context.cloud, context.project, run)}")


def logs(context: CommandContext, run: str, output: OutputOptions, *, follow: bool, system: bool) -> None:
    """Print a run's log, or its machines'; as JSON one object a line."""
    _known(context, run)
    if system:

        def write_line(line: system_log.LogLine) -> None:
            text = json.dumps({"run": run, **line.to_json_dict()}) if output.json else line.text
            pass_on(f"{text}\n")

        system_log.follow(context, context.storage, run, write_line, until_end=follow)
        return
    lines = log.Lines(
        lambda attempt, line: pass_on(json.dumps({"run": run, "attempt": attempt, "line": line}) + "\n")
    )

    def write(attempt: int, text: str) -> None:
        if output.json:
            lines.write(attempt, text)
        else:
            pass_on(text)

    try:
        log.follow_log(context, context.storage, run, write, until_end=follow)
    finally:
        lines.close()


def stop(context: CommandContext, run: str, output: OutputOptions, *, when: When, wait: bool) -> None:
    """Stop a run."""
    _known(context, run)
    state = stop_run(context, context.storage, run, when=when, wait=wait)
    if output.json:
        show({"run": run, "state": state})
        return
    if state == "stopping":
        answer(f"run {run} is stopping. How far: ./launch.py status {run}")
        return
    again = "" if state == "done" else f". Continue: ./launch.py train --resume {run}"
    answer(f"run {run} is {state}{again}")


def fetch(context: CommandContext, run: str, out: Path, output: OutputOptions, *, latest: bool) -> None:
    """Copy a run's model and report here, and print the files."""
    _known(context, run)
    files = fetch_results(context.storage, run, out, say, latest=latest)
    if output.json:
        show({"run": run, "files": files})
    else:
        pass_on("".join(f"{path}\n" for path in files))


def prune(context: CommandContext, run: str, output: OutputOptions, *, keep: int, delete: bool) -> None:
    """Prune a run's store, or say what would go."""
    _known(context, run)
    storage = context.storage
    plan = make_plan(storage, run, keep, read_all=False)
    if delete:
        sweep(storage, plan)
    if output.json:
        show(
            {
                "run": run,
                "kept_steps": sorted(ref.step for ref in plan.kept),
                "objects": [entry.key for entry in plan.doomed],
                "bytes": sum(entry.size for entry in plan.doomed),
                "notes": plan.notes,
                "removed": delete,
            }
        )
        return
    for line in plan.describe():
        answer(line)
    if plan.doomed:
        again = f"./launch.py prune {run} --keep {keep} --delete"
        answer("removed" if delete else f"nothing was removed. Do it: {again}")


# --- reaching a machine ---
def ssh(context: CommandContext, run: str, output: OutputOptions) -> int:
    """Open a shell on a run's machine."""
    machine = _machine(context, run)
    way = {"run": run, "instance_id": machine["InstanceId"]}
    return _connect(way, connect.shell_command(context.cloud, machine), output)


def tensorboard(context: CommandContext, run: str, port: int, output: OutputOptions) -> int:
    """Bring a run's TensorBoard to this computer."""
    machine = _machine(context, run)
    url = f"http://127.0.0.1:{port}"
    if not output.json:
        say(f"TensorBoard: {url} (Ctrl-C ends the connection, not the run)")
    way = {"run": run, "instance_id": machine["InstanceId"], "url": url, "local_port": port}
    return _connect(way, connect.tensorboard_command(context.cloud, machine, port), output)


def _machine(context: CommandContext, run: str) -> dict[str, Any]:
    try:
        return connect.machine_of(context.cloud, context.project, layout.check_run_name(run))
    except CloudError:
        _known(context, run)  # a run that does not exist is another answer
        raise


def _connect(way: dict[str, object], command: list[str], output: OutputOptions) -> int:
    if output.json:
        show({**way, "command": command})
        return 0
    if output.dry_run:
        pass_on(f"{shlex.join(command)}\n")
        return 0
    connect.check_tools(command)
    return subprocess.call(command)  # noqa: S603 - a command of ours


# --- money ---
def compare_prices(context: CommandContext, output: OutputOptions) -> None:
    """Print prices by type and zone, of an hour and of a million timesteps."""
    kinds = context.config.aws.instance_types
    rows = prices.compare(prices.read_prices(context.cloud, kinds))
    speeds = training_price.speeds(context, kinds)
    for row in rows:
        speed = speeds[row["type"]]
        row["usd_per_million_timesteps"] = round(speed.usd_per_million(row["spot"]), 4)
        row["speed"] = speed.source
    if output.json:
        show(rows)
        return
    heads = ["type", "zone", "spot $/h", "on demand $/h", "saved", "$/M timesteps", "source"]
    cells = [
        [
            row["type"],
            row["zone"],
            f"{row['spot']:.3f}",
            f"{row['on_demand']:.3f}",
            f"{row['saved']:.0%}",
            f"{row['usd_per_million_timesteps']:.2g}",
            row["source"],
        ]
        for row in rows
    ]
    table(f"{context.project.region}, cheapest first", heads, cells)
    for source in dict.fromkeys(speeds[row["type"]].source for row in rows):
        types = ", ".join(kind for kind, speed in speeds.items() if speed.source == source)
        answer(
            f"$/M timesteps on spot, while it trains: {types} by {source.removeprefix('an estimate, by ')}"
        )


def cost(context: CommandContext, run: str, output: OutputOptions) -> None:
    """Print what a run has cost."""
    figures = run_status.cost_figures(context.cloud, context.project, context.storage, _known(context, run))
    if output.json:
        show(figures)
        return
    for key, value in figures.items():
        text = "not yet" if value is None else f"{value:.4g}" if isinstance(value, float) else value
        answer(f"{key.replace('_', ' '):26} {text}")


def _known(context: CommandContext, run: str) -> run_status.RunStatus:
    """Return what is known of a run. UsageError if there is none of that name."""
    one = run_status.read_run_status(context.storage, layout.check_run_name(run), context.cloud.now())
    if one.status is None and one.intent is None:
        raise UsageError(
            f"there is no run {run} in {context.project.store}", next_step="List them: ./launch.py list"
        )
    check_place(one.intent, context.project)
    return one
