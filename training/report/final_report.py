"""The end of a run: its laps compared with the baseline drivers', and the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import TrainingError
from ..evaluation.baselines import loadable_courses, references, results
from ..evaluation.load_run import policies_of
from .grip_use import grip_use, verdict
from .tables import LapRow, laps_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..config import EnvSettings
    from ..evaluation.baselines import EvalTrack, Result, Tally
    from ..evaluation.lap_evaluation import Drive
    from ..evaluation.load_run import LoadedRun
    from ..store.storage import Storage


def drive_laps(loaded: LoadedRun, storage: Storage, say: Callable[[str], None]) -> list[Result]:
    """Drive the tracks that the report shows: the kept policies and the baseline drivers."""
    courses, missing = loadable_courses(loaded.config.env.tracks, loaded.config.evaluation.tracks)
    for problem in missing:
        say(problem)
    return results(policies_of(loaded, storage), loaded.config.env, loaded.config.evaluation, courses)


def policy_drives(loaded: LoadedRun, driven: Sequence[Result]) -> list[Drive]:
    """Return the drives of the kept policy alone."""
    return [drive for result in driven if result.driver == loaded.name for drive in result.drives]


def show(loaded: LoadedRun, driven: Sequence[Result], say: Callable[[str], None]) -> None:
    """Print the table of laps, a track's drivers together, and whether the tyres of a car would hold."""
    courses = list(dict.fromkeys(result.course for result in driven))
    rows: list[LapRow] = []
    for course in courses:
        rows += [
            lap_row(course, result.driver, result.tally, kept=result.driver == loaded.name)
            for result in driven
            if result.course == course
        ]
        rows += reference_rows(course, loaded.config.env)
    whose = f" is agent {loaded.agent}," if loaded.agents > 1 else ""
    laps_table(
        f"Laps from standing starts; the kept policy{whose or ' is that'} of step {loaded.kept_step:,}", rows
    )
    uses = [
        grip_use(result.trace)
        for result in driven
        if result.driver == loaded.name and result.trace is not None
    ]
    if uses:
        say(verdict(uses, loaded.config.env)[1])


def report(
    loaded: LoadedRun, storage: Storage, directory: Path, driven: Sequence[Result], say: Callable[[str], None]
) -> Path | None:
    """Write the report; a disk that takes no more costs the report, not the run."""
    from .page import write_report  # noqa: PLC0415 - matplotlib: a wheel may lack it

    try:
        return write_report(loaded, storage, directory, say, driven=driven)
    except TrainingError as error:
        say(f"{error}; make room, then: make report RUN={loaded.run}")
        return None


def reference_rows(course: EvalTrack, settings: EnvSettings) -> list[LapRow]:
    """Return the flying laps to compare with, where they are known."""
    return [
        LapRow(
            course.track.name,
            f"{name}, flying",
            0,
            0,
            time_s,
            math.nan,
            math.nan,
            math.nan,
            unseen=not course.seen,
        )
        for name, time_s in references(course.track, settings).named()
    ]


def lap_row(course: EvalTrack, driver: str, one: Tally, *, kept: bool) -> LapRow:
    """Return a row of the table; nan where no lap was completed."""
    return LapRow(
        track=one.track,
        driver=driver,
        completed=one.completed,
        starts=one.starts,
        best_lap_s=math.nan if one.best_lap_s is None else one.best_lap_s,
        mean_lap_s=math.nan if one.mean_lap_s is None else one.mean_lap_s,
        mean_speed_mps=math.nan if one.mean_speed_mps is None else one.mean_speed_mps,
        top_speed_mps=one.top_speed_mps,
        unseen=not course.seen,
        kept=kept,
    )
