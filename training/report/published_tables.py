"""The command `benchmark`: a policy's lap times compared with published ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ..errors import DataError
from ..evaluation.load_run import policy_of
from ..evaluation.published import TABLES, check_driver, drive_table, load_tracks, table_data
from ..sim import TrackError
from ..store.open import open_store
from .tables import NOTHING, PLAIN_WIDTH, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..config import AwsSettings
    from ..evaluation.published import PublishedTable, TrackResult

# Of the table, and those of a car.
TYRES = ("linear", "saturating")


def benchmark(  # noqa: PLR0913 - the command line's options
    name: str, run: str, *, store: str, aws: AwsSettings, maps: Path | None, as_json: bool
) -> int:
    """Drive the kept policy of a run under the conditions of a published table; print both side by side.

    name: of TABLES. maps: folder of its maps, where they are no fetched circuits. Raises what `check_driver` and
    `load_tracks` raise, and UsageError for an unknown run.
    """
    table, loaded = TABLES[name], policy_of(open_store(store, aws), run)
    check_driver(table, loaded.config.env)
    try:
        tracks = load_tracks(table, maps)
    except TrackError as error:
        raise DataError(str(error)) from error
    results = {tyres: drive_table(table, loaded.policy, loaded.config.env, tracks, tyres) for tyres in TYRES}
    if as_json:
        typer.echo(json.dumps({"run": run, "kept_step": loaded.kept_step, **table_data(table, results)}))
    else:
        show(table, f"{run}, step {loaded.kept_step:,}", results)
    return 0


def show(table: PublishedTable, policy: str, results: Mapping[str, Sequence[TrackResult]]) -> None:
    """Print a table: a row for each track, our times and theirs; for slipping tyres there are no published ones."""
    typer.echo(f"\n{table.name}: mean lap times, s\nsource: {table.source}")
    typer.echo(f"theirs: {table.their_conditions}\nours: {table.our_conditions}\npolicy: {policy}\n")
    printed = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    printed.add_column("track")
    for tyres in results:
        printed.add_column(f"ours, {tyres}", justify="right")
    for peer in table.peers:
        printed.add_column(peer.name, justify="right")
    for k, track in enumerate(table.tracks):
        ours = [_ours(rows[k]) for rows in results.values()]
        theirs = [_theirs(peer.lap_s.get(track), peer.completed_percent.get(track)) for peer in table.peers]
        printed.add_row(track, *ours, *theirs)
    Console(highlight=False, width=PLAIN_WIDTH).print(printed)


def _ours(row: TrackResult) -> str:
    time = NOTHING if row.mean_s is None else number(row.mean_s, ".2f")
    return time if row.completed == row.starts else f"{time} ({row.completed}/{row.starts})"


def _theirs(seconds: float | None, percent: int | None) -> str:
    if seconds is None:
        return NOTHING
    return f"{seconds:.2f}" if percent in {None, 100} else f"{seconds:.2f} ({percent} %)"
