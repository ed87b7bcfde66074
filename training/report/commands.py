"""The commands that look at a run: evaluate, report, race."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .. import layout
from ..config import Config
from ..config.randomisation import randomisation_of
from ..envs.drivers.registry import DRIVERS
from ..evaluation.baselines import courses_of, drive, tally
from ..evaluation.entrants import entrants_of, parse
from ..evaluation.load_run import config_of, newest_run, policy_of
from ..evaluation.races import physics_in_words, physics_of, race_all
from ..evaluation.ratings import table
from ..sim import Track
from ..store.open import open_store
from ..stored_runs import carried_maps
from .final_report import lap_row, reference_rows
from .tables import LapRow, RaceRow, laps_table, races_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config import AwsSettings
    from ..config.fields import Grid
    from ..config.randomisation import Preset
    from ..evaluation.baselines import Tally
    from ..store.storage import Storage


def evaluate(  # noqa: PLR0913 - the command line's options
    run: str,
    *,
    store: str,
    aws: AwsSettings,
    tracks: Sequence[str],
    laps: int,
    preset: Preset = "none",
    as_json: bool,
) -> int:
    """Drive `laps` laps on each track, each from a standing start of its own; print how they went.

    tracks: names or paths; those of the run if there are none. preset: of randomisation, from which the car of each lap
    is drawn. Raises UsageError for an unknown run, TrackError for a broken track.
    """
    storage = open_store(store, aws)
    first = policy_of(storage, run)
    courses = courses_of(tracks or first.config.all_tracks, first.config.env.tracks)
    agents = [policy_of(storage, run, n) for n in range(first.agents)]
    ranges = randomisation_of(preset)
    driven = [
        (
            agent,
            course,
            tally(drive(agent.policy, agent.config.env, course, starts=laps, randomisation=ranges)[1]),
        )
        for course in courses
        for agent in agents
    ]
    if as_json:
        tables = [
            {**one.to_json_dict(), "seen_in_training": course.seen, "agent": agent.agent}
            for agent, course, one in driven
        ]
        found = {"run": run, "kept_step": first.kept_step, "laps": laps, "randomisation": preset}
        typer.echo(json.dumps({**found, "tracks": tables}))
        return 0
    steps = " and ".join(f"{agent.kept_step:,}" for agent in agents)
    rows: list[LapRow] = []
    for course in courses:
        rows += [
            lap_row(course, agent.name, one, kept=agent.agent == first.agent)
            for agent, where, one in driven
            if where == course
        ]
        rows += reference_rows(course, first.config.env)
    laps_table(
        f"{run}: the policy of step {steps}" + (f", randomisation {preset}" if preset != "none" else ""),
        rows,
    )
    for agent, _, one in driven:
        typer.echo(f"{agent.name} on {_in_words(one)}" if first.agents > 1 else _in_words(one))
    return 0


def report(run: str | None, *, store: str, aws: AwsSettings) -> int:
    """Write the report of a run, the newest if none is named, and say where it is stored."""
    from .page import write_report  # noqa: PLC0415 - matplotlib takes a second

    storage = open_store(store, aws)
    loaded = policy_of(storage, run or newest_run(storage))
    # The report of a run in a bucket is written here: a user who may read there need not be allowed to write there.
    root = Path() if "://" in storage.url else Path(storage.url)
    page = write_report(loaded, storage, root / layout.report_prefix(loaded.run), typer.echo)
    typer.echo(f"The report of run {loaded.run} is in {page}")
    return 0


def race(  # noqa: PLR0913 - the command line's options
    specs: tuple[str, str],
    *,
    store: str,
    aws: AwsSettings,
    track: str | None,
    races: int,
    laps: int,
    grid: Grid | None,
    as_json: bool,
) -> int:
    """Race two runs, policies or built-in drivers against each other on one track; print how they fared.

    track: a name or path; without one the first that the training of the first run has not seen. grid: as `race_all`
    has it. The physics are those of the first; a line says so where the second learnt in others. Raises UsageError for
    what cannot race, TrackError for a broken track.
    """
    contestants = entrants_of(open_store(store, aws), specs)
    course = Track.load(track or _unseen_track(open_store(store, aws), specs))
    results = race_all(contestants, [(0, 1)] * races, course, laps=laps, grid=grid)
    rows = table([one.name for one in contestants], results)
    if as_json:
        start = grid or contestants[0].settings.race.grid
        found = {
            "track": course.name,
            "races": races,
            "laps": laps,
            "grid": start,
            "physics": physics_of(contestants),
        }
        typer.echo(json.dumps({**found, "contestants": [row.to_json_dict() for row in rows]}))
        return 0
    shown = [RaceRow(**{**row._asdict(), "mean_finish_s": row.mean_finish_s or math.nan}) for row in rows]
    races_table(f"{races} races of {laps} lap{'s' * (laps > 1)} on {course.name}, from standing", shown)
    unfinished = races - sum(row.wins for row in rows)
    if unfinished:
        typer.echo(f"{unfinished} race{'s' * (unfinished > 1)} ended without a winner: no car finished.")
    if whose := physics_in_words(contestants):
        typer.echo(whose)
    return 0


def _unseen_track(storage: Storage, specs: tuple[str, ...]) -> str:
    runs = [spec for spec in specs if spec not in DRIVERS]
    config = config_of(storage, parse(runs[0]).run) if runs else Config()
    if runs:
        carried_maps.bring(storage, parse(runs[0]).run, config.all_tracks)
    others = (
        *config.evaluation.tracks,
        *(f"generated-{seed}" for seed in range(1001, 1002 + len(config.env.tracks))),
    )
    return next(name for name in others if name not in config.env.tracks)


def _in_words(one: Tally) -> str:
    """Say what the table has no room for: collisions, and every lap's time."""
    collisions = f"{one.collisions} collision{'' if one.collisions == 1 else 's'}"
    if one.completed < one.starts:
        collisions += f", {one.mean_distance_m:.0f} m driven on average"
    times = " ".join(f"{lap_s:.2f}" for lap_s in one.lap_s) or "none"
    return f"{one.track}: {collisions}; laps, s: {times}"
