"""The command line, `python -m training COMMAND`: the only place that decides the exit codes.

Each command imports what does its work when it is called, so `--help` and a wrong option answer at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from .process import program

try:
    import typer
except ModuleNotFoundError:  # a wheel without the extra `train`
    program.leave_without_packages()

from .errors import (
    ConfigurationError,
    DataError,
    Interrupted,
    RunAlreadyFinished,
    TrainingError,
    UsageError,
)
from .process.buffered_output import outlast_output, write_error
from .process.help import WIDE, Commands
from .process.terminal import adapt_output, columns

if TYPE_CHECKING:
    from .config import Config  # pydantic would triple the time of --help


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if columns() >= WIDE else None,  # boxes need room
    help="Train, watch and race F1TENTH cars.",
    epilog="--debug, anywhere, shows the traceback of an explained error too.",
)

Run = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, as `train` prints it.")]
ConfigFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings; without it config.yaml, where there is one.")
]
Store = Annotated[str, typer.Option(metavar="DIR|s3://BUCKET", help="Where runs are kept, below runs/.")]


@app.command()
def train(
    *,
    config: ConfigFile = None,
    store: Store = ".",
    preset: Annotated[Literal["local", "cloud"] | None, typer.Option(help="Settings to start from.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Continue this run.")] = None,
    at: Annotated[
        int | None,
        typer.Option(metavar="STEP", min=0, help="Resume from the checkpoint at STEP (with --resume)."),
    ] = None,
    from_partial: Annotated[
        bool,
        typer.Option(
            "--from-partial",
            help="With --resume: the newest partial save. It has no replay; what was collected since the "
            "checkpoint is lost.",
        ),
    ] = False,
    init_from: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Begin with this run's networks; settings may differ from its own."),
    ] = None,
    fork: Annotated[
        str | None,
        typer.Option(
            metavar="RUN[@STEP]",
            help="Begin with this run's checkpoint, replay buffer and optimizers too; --set changes how it learns.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="RUN", help="Name of the new run.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
) -> None:
    """Train, evaluate the best policy, and print where the results are."""
    if at is not None and resume is None:
        raise UsageError(
            "--at names a checkpoint of a run to resume", next_step=f"Add --resume RUN to --at {at}."
        )
    if from_partial and (resume is None or at is not None):
        raise UsageError(
            "--from-partial names the partial save after a run's newest checkpoint",
            next_step="Write --resume RUN --from-partial, without --at.",
        )
    if init_from is not None:
        if resume is not None:
            raise UsageError(
                "--init-from begins a run, --resume continues one",
                next_step=f"Leave one of them out: --init-from {init_from} or --resume {resume}.",
            )
        overrides = [*(overrides or ()), f"training.init_from={init_from}"]
    if name is not None:
        if resume is not None:
            raise UsageError("--resume RUN has a name already", next_step="Leave --name out.")
        overrides = [*(overrides or ()), f"training.run_name={name}"]
    if fork is not None:
        raise typer.Exit(_fork(fork, config, store, preset, tuple(overrides or ()), resume or init_from))
    settings = _settings(config, overrides or (), preset)

    from .config import settings_file
    from .run import runner
    from .run.claimed_run import ResumePoint

    raise typer.Exit(
        runner.train(
            settings,
            store=store,
            resume=resume,
            origin=ResumePoint(at_step=at, from_partial=from_partial),
            overrides=tuple(overrides or ()),
            settings_file=settings_file(config),
        )
    )


def _fork(  # noqa: PLR0917 - options of `train`
    spec: str,
    file: Path | None,
    store: str,
    preset: str | None,
    overrides: tuple[str, ...],
    other: str | None,
) -> int:
    """Make a run from another's checkpoint and train it; the settings are the other run's, with `overrides`."""
    if other is not None or preset is not None:
        raise UsageError(
            "--fork RUN brings its own settings, networks and steps",
            next_step="Leave --resume, --init-from, --at, --from-partial and --preset out; --set changes settings.",
        )
    from . import layout
    from .config import settings_file
    from .run import runner
    from .store.open import open_store
    from .stored_runs.fork import make_fork, plan_fork

    settings = _settings(file)
    storage = open_store(store, settings.aws)
    plan = plan_fork(storage, spec, overrides)
    name = plan.config.training.run_name or layout.new_run_id()
    make_fork(storage, plan, name, print)
    return runner.train(settings, store=store, resume=name, settings_file=settings_file(file))


@app.command()
def evaluate(
    run: Run,
    *,
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRACK", help="A name, generated-SEED or a map yaml; may be repeated. Default: the run's."
        ),
    ] = None,
    laps: Annotated[
        int, typer.Option(min=1, max=1000, help="Laps on each track, each from a start of its own.")
    ] = 10,
    randomisation: Annotated[
        Literal["none", "mild", "robust"],
        typer.Option(
            help="Draw the car of each lap from this preset of env.randomisation; none: the car as it is."
        ),
    ] = "none",
    store: Store = ".",
    config: ConfigFile = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Drive laps with the kept policy: completion, lap times, collisions, speeds."""
    from .report import commands

    aws = _settings(config).aws
    tracks = tuple(track or ())
    raise typer.Exit(
        commands.evaluate(
            run, store=store, aws=aws, tracks=tracks, laps=laps, preset=randomisation, as_json=json
        )
    )


Racer = (
    "RUN (of several agents the one that laps best), RUN:AGENT, RUN@STEP (the first), RUN@STEP:AGENT, "
    "or a driver: pure_pursuit, follow_the_gap, racing_line."
)


@app.command()
def race(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help=Racer)],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="The same.")],
    *,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="TRACK", help="A name, generated-SEED or a map yaml. Default: one RUN_A has not seen."
        ),
    ] = None,
    races: Annotated[int, typer.Option(min=1, max=10_000, help="Races; the starting places alternate.")] = 20,
    laps: Annotated[int, typer.Option(min=1, max=100, help="Laps of each race.")] = 2,
    grid: Annotated[
        Literal["single_file", "side_by_side", "either"] | None,
        typer.Option(help="One behind the other, side by side, or by turns. Default: as RUN_A learnt."),
    ] = None,
    store: Store = ".",
    config: ConfigFile = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Race two policies, or a policy and a driver: wins, overtakes, collisions at fault, laps."""
    from .report import commands

    aws = _settings(config).aws
    raise typer.Exit(
        commands.race(
            (run_a, run_b),
            store=store,
            aws=aws,
            track=track,
            races=races,
            laps=laps,
            grid=grid,
            as_json=json,
        )
    )


@app.command()
def benchmark(
    table: Annotated[
        Literal["f1tenth_benchmarks", "rpl4f110"], typer.Argument(metavar="TABLE", help="Published table.")
    ],
    run: Run,
    *,
    maps: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder maps/ of f1tenth_benchmarks, fetched.")
    ] = None,
    store: Store = ".",
    config: ConfigFile = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Drive the kept policy under the conditions of a published table, and print both side by side."""
    from .report import published_tables

    aws = _settings(config).aws
    raise typer.Exit(published_tables.benchmark(table, run, store=store, aws=aws, maps=maps, as_json=json))


@app.command()
def report(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Name of a run; the newest without it.")
    ] = None,
    *,
    store: Store = ".",
    config: ConfigFile = None,
) -> None:
    """Write the report of a run: one HTML page with curves, laps, pictures, and a video."""
    from .report import commands

    raise typer.Exit(commands.report(run, store=store, aws=_settings(config).aws))


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
def tracks(context: typer.Context) -> None:
    """List, make, draw and check tracks; `tracks --help` tells more."""
    from .track_commands import app as tracks_app

    tracks_app(context.args, prog_name=f"{program.PROG_NAME} tracks")


@app.command()
def prune(
    run: Run,
    *,
    keep: Annotated[int, typer.Option(min=2, max=1000, help="Newest checkpoints to keep.")] = 2,
    delete: Annotated[bool, typer.Option("--delete", help="Actually delete (default: dry run).")] = False,
    store: Store = ".",
    config: ConfigFile = None,
) -> None:
    """Delete checkpoints that are no longer needed (dry run without --delete)."""
    from .store.prune import prune as prune_run

    aws = _settings(config).aws
    raise typer.Exit(prune_run(run, store=store, keep=keep, dry_run=not delete, aws=aws))


@app.command()
def instance(
    what: Annotated[Literal["finish"], typer.Argument(help="finish: status, fleet, power-off.")],
) -> None:
    """Do what a unit of the image asks for; on an EC2 instance only."""
    from .instance import finish

    raise typer.Exit({"finish": finish.main}[what]())


@app.command()
def precompile() -> None:
    """Compile simulator and update ahead of the first run, as an image's bake does; a run does it by itself."""
    from .run.warm_up import precompile as compile_all

    compile_all(_settings(None).env, print)


def _settings(
    path: Path | None, overrides: Sequence[str] = (), preset: Literal["local", "cloud"] | None = None
) -> Config:
    from .config import load_config, settings_file

    return load_config(settings_file(path), overrides, preset)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code: the table of docs/architecture.md."""
    outlast_output()
    adapt_output()
    given = list(sys.argv[1:] if arguments is None else arguments)
    end = _with_output(given, _run(given))
    if (
        "F1TENTH_OUTCOME" in os.environ and _command(given) == "train"
    ):  # on an instance the finish unit reads it
        from .instance.exit_record import ExitRecord, write_exit_record

        write_exit_record(ExitRecord(**end._asdict()))
    return end.exit_code


class End(NamedTuple):
    """How a command ended."""

    exit_code: int
    cause: str = ""
    message: str = ""
    repeats: bool = False  # on every machine, until settings, code or image are others


def _run(given: list[str]) -> End:
    """Run a command; say what stood in its way."""
    debug = "--debug" in given
    try:
        app([argument for argument in given if argument != "--debug"], prog_name=program.PROG_NAME)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 0 if exit_.code is None else 1
        # 2 is what the option parser ends with
        return End(UsageError.exit_code if code == 2 else code)
    except Exception as error:  # noqa: BLE001 - the last line of defence; bugs are shown whole
        explained = _explained(error)
        if debug or explained is None:
            traceback.print_exc()
        if explained is None:
            print("This is a fault of the program. Please report it with the lines above.", file=sys.stderr)
            return End(1, message=repr(error)[:4000])
        told = (
            str(explained)
            if isinstance(explained, (Interrupted, RunAlreadyFinished))
            else f"error: {explained}"
        )
        print(told, file=sys.stderr)
        cause = explained.cause if isinstance(explained, Interrupted) else ""
        return End(explained.exit_code, cause, str(explained)[:4000], _repeats(explained))
    return End(0)


def _with_output(given: list[str], end: End) -> End:
    """Return how a command ended, once all is printed: but for a run, which has a store, the output is the result.

    A reader that has gone (`tracks list | head`) had what it wanted.
    """
    error = write_error()
    if end.exit_code or error is None or _command(given) == "train" or isinstance(error, BrokenPipeError):
        return end
    told = f"error: the output could not be written: {error.strerror}"
    print(told, file=sys.stderr)
    return End(1, message=told)


def _command(given: list[str]) -> str:
    return next((argument for argument in given if argument != "--debug"), "")


def _repeats(error: TrainingError) -> bool:
    """Tell whether only settings, code and image decide about an error; what a store says may be mended there."""
    from .store.storage import StoreError

    permanent = (ConfigurationError, DataError, UsageError)
    return isinstance(error, permanent) and not isinstance(error, StoreError)


def _explained(error: Exception) -> TrainingError | None:
    if isinstance(error, TrainingError):
        return error
    if isinstance(error, ModuleNotFoundError) and (command := program.install_command(error.name or "")):
        return UsageError(f"{error.name} is not installed", next_step=f"Install it: {command}")
    from .sim import TrackError  # the simulator knows nothing of the project, its errors neither

    return DataError(str(error)) if isinstance(error, TrackError) else None


if __name__ == "__main__":
    sys.exit(main())
