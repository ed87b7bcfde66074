#!/usr/bin/env python3
"""Train on AWS spot capacity: the command line. What the commands do is in training/cloud/commands.py."""

# Python 3.6 must be able to read this whole file, and to run it down to the line, so that it can say what is missing.
import os
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"


def in_environment() -> bool:
    """Tell whether this is the Python of the project's own environment."""
    return Path(sys.prefix).resolve() == VENV.resolve()


def enter_environment() -> None:
    """Continue in the project's own environment, so that ./launch.py works without activating anything."""
    python = str(VENV / "bin" / "python")
    if os.path.exists(python) and not in_environment():  # noqa: PTH110 - a link to nowhere is no error
        try:
            os.execve(python, [python, *sys.argv], {**os.environ, "F1TENTH_LAUNCHER": "1"})  # noqa: S606 - ourselves
        except OSError as error:  # made for another processor
            leave(f"{python} does not run: {error.strerror}")


def leave(why: str) -> None:
    """Say that the project is not installed here, and the command that installs it; exit with 2."""
    wanted = re.search(
        r"requires-python = .>=3[.](\d+),<3[.](\d+)", (ROOT / "pyproject.toml").read_text("utf-8")
    )
    lowest, above = wanted.groups() if wanted else ("10", "14")
    words = ["make"] if os.environ.get("PWD") == str(ROOT) else ["make", "-C", str(ROOT)]
    remove = f"rm -r {shlex.quote(str(VENV))} && " if VENV.exists() and not in_environment() else ""
    sys.stderr.write(
        f"error: {why}\n"
        f"Install what it needs, with Python 3.{lowest} to 3.{int(above) - 1}: "
        f"{remove}{' '.join(shlex.quote(word) for word in [*words, 'setup'])}\n"
    )
    sys.exit(2)


if __name__ == "__main__":
    if "F1TENTH_LAUNCHER" not in os.environ:
        enter_environment()
    if sys.version_info < (3, 10):  # noqa: UP036 - that is what an old one is told
        leave(f"this is Python {sys.version.split()[0]}, too old for ./launch.py")
try:
    import typer
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    leave(f"the module {error.name} is not installed")
# --- the line ---

from typing import TYPE_CHECKING, Annotated, Literal

from training.cloud.console.next_commands import remember
from training.cloud.console.option_types import ConfigFile, Delete, DryRun, Dump, Json, Print, Run, Sets, Yes
from training.cloud.console.output import OutputOptions, say
from training.errors import ConfigurationError, TrainingError, UsageError
from training.process.help import Commands
from training.process.terminal import adapt_output

if TYPE_CHECKING:
    from training.cloud.context import CommandContext


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes and colours would take longer than all the rest of a help text
    context_settings={"max_content_width": 110},
    help="Train on AWS spot capacity: one command, a budget that holds, and nothing left behind.",
    epilog="Every command may be repeated. Exit codes: 0 done, 1 AWS error or failed run, "
    "2 usage or configuration error, 130 Ctrl-C.",
)
INTERRUPTED = 130


def context_of(config: Path | None, sets: list[str] | None, limits: tuple[str, ...] = ()) -> "CommandContext":
    """Read the settings and find out who we are; `limits` are further overrides, which no next command repeats."""
    from training.cloud.context import open_context

    remember(config, tuple(sets or ()), ROOT)
    return open_context(config, [*(sets or ()), *limits], say)


def searched_context(config: Path | None, sets: list[str] | None) -> "CommandContext":
    """Do what `context_of` does, and say where is looked: nothing found there may be somewhere else."""
    from training.cloud.context import settings_path, where

    context = context_of(config, sets)
    say(where(context.config.aws, settings_path(config), context.project.account))
    return context


# --- setting up ---
@app.command()
def doctor(
    *,
    policy: Annotated[
        bool, typer.Option("--policy", help="Print the policies for your IAM user and end.")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask EC2 by dry runs what you may do (free).")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="With --policy: write files.")] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Check account, permissions, quotas and image. Each line says ok or the next command."""
    from training.cloud import commands
    from training.cloud.aws.client import Cloud
    from training.cloud.context import read_settings, settings_path, where

    if out is not None and not policy:
        raise UsageError("--out needs --policy")
    if policy:
        commands.show_policies(context_of(config, sets), out, OutputOptions(json=json))
        return
    if probe:
        from training.cloud import doctor

        raise typer.Exit(doctor.probe(context_of(config, sets), OutputOptions(json=json)))
    remember(config, tuple(sets or ()), ROOT)
    cloud = Cloud(read_settings(config, sets or ()).aws, say)
    say(where(cloud.aws, settings_path(config)))
    raise typer.Exit(commands.examine(cloud, ROOT, OutputOptions(json=json)))


@app.command()
def up(
    *,
    use_existing_bucket: Annotated[
        bool,
        typer.Option(
            "--use-existing-bucket",
            help="Use an existing bucket; its other objects stay unchanged.",
        ),
    ] = False,
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Create what training needs: bucket, policy, security group, log group (free while empty)."""
    from training.cloud.launch import up_and_train

    output = OutputOptions(json=json, yes=yes, dry_run=dry_run)
    up_and_train.up(context_of(config, sets), output, use_existing_bucket=use_existing_bucket)


@app.command()
def down(
    *,
    data: Annotated[bool, typer.Option("--data", help="Delete the bucket too, with all runs.")] = False,
    images: Annotated[bool, typer.Option("--images", help="Remove the images of `make ami` too.")] = False,
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be deleted.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Delete everything that `up` and `train` created; report what remains and costs money."""
    from training.cloud.cleanup import down

    output = OutputOptions(json=json, yes=yes, dry_run=dry_run)
    down.down(searched_context(config, sets), output, data=data, images=images)


@app.command()
def gc(
    *,
    delete: Delete = False,
    all_regions: Annotated[
        bool, typer.Option("--all-regions", help="Look in every enabled region of the account.")
    ] = False,
    config: ConfigFile = None,
    sets: Sets = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """List leaked or incomplete resources (--delete removes them)."""
    from training.cloud.cleanup import collect

    if all_regions and delete:
        raise UsageError(
            "--all-regions only looks: these settings may not name the buckets of other regions",
            next_step="Look first: ./launch.py gc --all-regions. It names the command for each region.",
        )
    context, output = searched_context(config, sets), OutputOptions(json=json, yes=yes)
    if all_regions:
        raise typer.Exit(collect.gc_everywhere(context, output))
    collect.gc(context, output, delete=delete)


# --- runs ---
@app.command()
def train(
    *,
    name: Annotated[str | None, typer.Option(metavar="RUN", help="Run name (default: timestamp).")] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Continue this run.")] = None,
    at: Annotated[
        int | None, typer.Option(metavar="STEP", min=0, help="Resume from the checkpoint at STEP.")
    ] = None,
    from_partial: Annotated[
        bool, typer.Option("--from-partial", help="Resume from the partial save after the checkpoint.")
    ] = False,
    market: Annotated[Literal["spot", "on-demand"], typer.Option(help="Purchase option; same cap.")] = "spot",
    no_relaunch: Annotated[bool, typer.Option("--no-relaunch", help="Do not replace machines.")] = False,
    max_hours: Annotated[float | None, typer.Option(metavar="H", help="Terminate after H hours.")] = None,
    max_cost_usd: Annotated[
        float | None, typer.Option(metavar="USD", help="Terminate before it costs USD.")
    ] = None,
    keep_on_failure: Annotated[
        str, typer.Option(metavar="TIME", help="Keep a failed machine running: 30m, 2h.")
    ] = "0m",
    trial: Annotated[
        bool, typer.Option("--trial", help="Test the whole path: 20 minutes, at most $0.05.")
    ] = False,
    up_first: Annotated[bool, typer.Option("--up", help="Run `up` first.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the first step.")] = False,
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Launch a run. Shows price and hard cap, asks, starts, follows it to its first steps."""
    from training.cloud.context import settings_path
    from training.cloud.launch import arguments, up_and_train
    from training.cloud.launch.arguments import Options

    if at is not None and resume is None:
        raise UsageError("--at needs --resume RUN")
    if from_partial and (resume is None or at is not None):
        raise UsageError("--from-partial needs --resume RUN, without --at")
    if resume is not None and name is not None:
        raise UsageError("--resume RUN has a name already: leave --name out")
    if trial:
        from training.cloud.launch import trial as trials

        trials.check_words(resume, name, max_hours, max_cost_usd)
        context = context_of(config, sets, trials.SETTINGS)
        raise typer.Exit(trials.try_out(context, ROOT, OutputOptions(json=json, yes=yes, dry_run=dry_run)))
    limits = {"max_hours": max_hours, "max_cost_usd": max_cost_usd}
    given = tuple(f"aws.{key}={value}" for key, value in limits.items() if value is not None)
    keep_s = arguments.seconds(keep_on_failure)
    context = context_of(config, sets, given)
    run = arguments.run_name(resume, name, context.config.training.run_name)
    origin = (run, resume is not None, at, from_partial)
    options = Options(*origin, market, not no_relaunch, keep_s, tuple(sets or ()), settings_path(config))
    output = OutputOptions(json=json, yes=yes, dry_run=dry_run)
    raise typer.Exit(up_and_train.train(context, options, ROOT, output, up_first=up_first, detach=detach))


@app.command()
def status(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="One run in detail; all without it.")
    ] = None,
    *,
    config: ConfigFile = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Show the status of runs: phase, attempts, speed, last checkpoint, cost, time left."""
    from training.cloud import commands

    context, output = searched_context(config, sets), OutputOptions(json=json)
    if run is None:
        commands.statuses(context, output)
    else:
        commands.status(context, run, output)


@app.command(name="list")
def list_runs(*, config: ConfigFile = None, sets: Sets = None, json: Json = False) -> None:
    """List the runs of the project, newest first."""
    from training.cloud import commands

    commands.statuses(searched_context(config, sets), OutputOptions(json=json))


@app.command()
def logs(
    run: Run,
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Follow until the run ends.")] = False,
    system: Annotated[
        bool, typer.Option("--system", help="Print the machines' boot and system log instead (CloudWatch).")
    ] = False,
    config: ConfigFile = None,
    sets: Sets = None,
    json: Annotated[bool, typer.Option("--json", help="Print each line as a JSON object.")] = False,
) -> None:
    """Print a run's log, across relaunches."""
    from training.cloud import commands

    commands.logs(context_of(config, sets), run, OutputOptions(json=json), follow=follow, system=system)


@app.command()
def stop(
    run: Run,
    *,
    now: Annotated[bool, typer.Option("--now", help="End the fleet at once, without a checkpoint.")] = False,
    after_checkpoint: Annotated[
        bool, typer.Option("--after-checkpoint", help="Train until the next scheduled checkpoint, then stop.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the run has ended.")] = True,
    config: ConfigFile = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Stop a run. It saves a checkpoint, then ends; `train --resume` continues it."""
    from training.cloud import commands

    if now and after_checkpoint:
        raise UsageError(
            "--now takes the machine away, --after-checkpoint leaves it", next_step="Leave one of them out."
        )
    commands.stop(
        context_of(config, sets),
        run,
        OutputOptions(json=json),
        when="at_once" if now else "at_checkpoint" if after_checkpoint else "saved",
        wait=wait,
    )


@app.command()
def fetch(
    run: Run,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to put it, below runs/.")] = Path(),
    latest: Annotated[bool, typer.Option("--latest", help="The newest model instead of the best.")] = False,
    config: ConfigFile = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Copy a run's model and report to this computer."""
    from training.cloud import commands

    commands.fetch(context_of(config, sets), run, out, OutputOptions(json=json), latest=latest)


@app.command()
def prune(
    run: Run,
    *,
    keep: Annotated[int, typer.Option(min=2, max=1000, help="Newest checkpoints to keep.")] = 2,
    delete: Delete = False,
    config: ConfigFile = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Delete checkpoints that are no longer needed (dry run without --delete)."""
    from training.cloud import commands

    commands.prune(context_of(config, sets), run, OutputOptions(json=json), keep=keep, delete=delete)


# --- reaching a machine ---
@app.command()
def ssh(
    run: Run, *, only_print: Print = False, config: ConfigFile = None, sets: Sets = None, json: Dump = False
) -> None:
    """Open a shell on a run's machine, by Session Manager."""
    from training.cloud import commands

    output = OutputOptions(json=json, dry_run=only_print)
    raise typer.Exit(commands.ssh(context_of(config, sets), run, output))


@app.command()
def tensorboard(
    run: Run,
    *,
    port: Annotated[int, typer.Option(min=1024, max=65535, help="Port on this computer.")] = 6006,
    only_print: Print = False,
    config: ConfigFile = None,
    sets: Sets = None,
    json: Dump = False,
) -> None:
    """Forward a run's TensorBoard to this computer, by Session Manager."""
    from training.cloud import commands

    output = OutputOptions(json=json, dry_run=only_print)
    raise typer.Exit(commands.tensorboard(context_of(config, sets), run, port, output))


# --- money ---
@app.command()
def prices(*, config: ConfigFile = None, sets: Sets = None, json: Json = False) -> None:
    """Compare live prices by type and zone."""
    from training.cloud import commands

    commands.compare_prices(context_of(config, sets), OutputOptions(json=json))


@app.command()
def cost(run: Run, *, config: ConfigFile = None, sets: Sets = None, json: Json = False) -> None:
    """Show what a run has cost: per million steps, to its first clean lap, goodput."""
    from training.cloud import commands

    commands.cost(context_of(config, sets), run, OutputOptions(json=json))


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit code: 0 done, 1 the world's answer, 2 the user's words, 130 Ctrl-C."""
    adapt_output()
    remember(None, (), ROOT)
    try:
        app(sys.argv[1:] if arguments is None else arguments, prog_name="./launch.py")
    except SystemExit as exit_:
        if exit_.code == INTERRUPTED:  # typer makes this of a KeyboardInterrupt, without a word
            say("\ninterrupted. Runs continue; what is incomplete now: ./launch.py gc")
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "training":
            raise
        leave(f"the module {error.name} is not installed")
    except TrainingError as error:
        say(f"error: {error}")
        return 2 if _is_the_users(error) else 1
    return 0


def _is_the_users(error: TrainingError) -> bool:
    from training.store.storage import StoreError

    return isinstance(error, (UsageError, ConfigurationError)) and not isinstance(error, StoreError)


if __name__ == "__main__":
    sys.exit(main())
