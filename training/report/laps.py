"""The laps of a report in words and tables: how the policy drives, compared with the baseline drivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..evaluation.baselines import REFERENCE, references
from .tables import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..evaluation.baselines import EvalTrack, Result
    from ..evaluation.load_run import LoadedRun
    from ..evaluation.recording import Trace

NOTHING = "–"
_KINDS = ((False, "unseen"), (True, "training"))


class LapResults:
    """The results of all drivers, asked by course and driver."""

    def __init__(self, loaded: LoadedRun, results: Sequence[Result]) -> None:
        self._loaded = loaded
        self._found = {(result.course, result.driver): result for result in results}
        self.courses = list(dict.fromkeys(result.course for result in results))
        self.courses.sort(key=lambda course: course.seen)  # what it never saw first
        self.drivers = list(dict.fromkeys(result.driver for result in results))

    def of(self, course: EvalTrack, driver: str) -> Result:
        """Return how a driver did on a course."""
        return self._found[course, driver]

    def traces(self) -> list[tuple[EvalTrack, Trace]]:
        """Return the policy's best laps."""
        pairs = [(course, self.of(course, self._loaded.name).trace) for course in self.courses]
        return [(course, trace) for course, trace in pairs if trace is not None]

    def reference_traces(self) -> dict[EvalTrack, Trace]:
        """Return the reference driver's laps to compare with, by track."""
        pairs = [(course, self._found.get((course, REFERENCE))) for course in self.courses]
        return {
            course: result.trace
            for course, result in pairs
            if result is not None and result.trace is not None
        }

    def note(self) -> str:
        """Explain the numbers of the table."""
        evaluation = self._loaded.config.evaluation
        each = "a lap" if evaluation.laps == 1 else f"{evaluation.laps} laps"
        return (
            f"Mean lap in seconds, best lap, and how many drives were completed: {evaluation.starts} standing "
            f"starts on each track, {each} from each, for every driver the same starts; who touches a wall is out. "
            "Green: the fastest of those who completed all. The racing line and pure pursuit know the map, the others "
            "only what they see. Flying laps of no car, below a track: a point mass at the limits of tyres and motor, "
            f"and TUM's racing line by its own speeds.{self._left_out()}"
        )

    def summary(self) -> str:
        """Say in a sentence how the policy drives."""
        things = " drives" if self._loaded.config.evaluation.laps > 1 else " laps"
        parts = []
        for (seen, _), known in zip(_KINDS, ("it never saw", "it learnt on"), strict=True):
            count = sum(course.seen == seen for course in self.courses)
            if count:
                parts.append(
                    f"{self._completed(seen=seen)}{things} on {count} track{'s' * (count > 1)} {known}"
                )
                things = ""
        done = " and ".join(parts) or "nothing, for no track could be driven"
        policy = f"policy of timestep {self._loaded.kept_step:,}"
        if self._loaded.agents > 1:
            policy = f"policy of {self._loaded.name}, of timestep {self._loaded.kept_step:,},"
        return f"The {policy} completes {done}."

    def tiles(self) -> list[dict[str, str]]:
        """Return the figures to see first."""
        tiles = [
            {"value": self._completed(seen=seen), "label": f"completed on {word} tracks"}
            for seen, word in _KINDS
            if any(course.seen == seen for course in self.courses)
        ]
        tallies = [self.of(course, self._loaded.name).tally for course in self.courses]
        speeds = [one.mean_speed_mps for one in tallies if one.mean_speed_mps is not None]
        if speeds:
            mean_mps = sum(speeds) / len(speeds)
            tiles.append({"value": f"{mean_mps:.2f} m/s", "label": "mean speed, from standing starts"})
        elapsed_s = self._loaded.meta.get("elapsed_s")
        if isinstance(elapsed_s, (int, float)):
            label = f"min:s of training, {self._loaded.step:,} timesteps"
            tiles.append({"value": duration(elapsed_s), "label": label})
        return tiles

    def groups(self) -> list[dict[str, Any]]:
        """Return the rows of the table of laps, unseen tracks first."""
        titles = ("tracks that training never saw", "training tracks")
        return [
            {"title": title, "rows": rows}
            for (seen, _), title in zip(_KINDS, titles, strict=True)
            if (rows := [self._row(course) for course in self.courses if course.seen == seen])
        ]

    def figures(self, course: EvalTrack) -> list[dict[str, str]]:
        """Return how every driver did on one track."""
        tallies = [(driver, self.of(course, driver).tally) for driver in self.drivers]
        return [
            {
                "driver": driver,
                "completed": f"{one.completed}/{one.starts}",
                "best": number(one.best_lap_s),
                "mean_speed": number(one.mean_speed_mps),
                "top_speed": number(one.top_speed_mps),
            }
            for driver, one in tallies
        ]

    def _left_out(self) -> str:
        """Say how many training tracks are not shown, if any."""
        there = len(set(self._loaded.config.env.tracks))
        shown = sum(course.seen for course in self.courses)
        return f" Of {there} training tracks {shown} are shown." if shown < there else ""

    def _completed(self, *, seen: bool) -> str:
        tallies = [self.of(course, self._loaded.name).tally for course in self.courses if course.seen == seen]
        return f"{sum(one.completed for one in tallies)} of {sum(one.starts for one in tallies)}"

    def _row(self, course: EvalTrack) -> dict[str, Any]:
        tallies = {driver: self.of(course, driver).tally for driver in self.drivers}
        whole = {driver: one.mean_lap_s for driver, one in tallies.items() if one.completed == one.starts}
        fastest = min((mean for mean in whole.values() if mean is not None), default=None)
        cells = [
            {
                "driver": driver,
                "mean": number(one.mean_lap_s),
                "best": number(one.best_lap_s),
                "completed": f"{one.completed} of {one.starts}",
                "incomplete": one.completed < one.starts,
                "fastest": fastest is not None and whole.get(driver) == fastest,
            }
            for driver, one in tallies.items()
        ]
        return {"track": course.track.name, "cells": cells, "references": self._references(course)}

    def _references(self, course: EvalTrack) -> str:
        known = references(course.track, self._loaded.config.env).named()
        return ", ".join(f"{name} {time_s:.2f}" for name, time_s in known)


def number(value: float | None) -> str:
    """Return a figure with two decimals, a dash for none."""
    return NOTHING if value is None else f"{value:.2f}"


def described(trace: Trace) -> str:
    """Say what a trace shows: the lap and its time, or how far the drive came."""
    if trace.lap_s is not None:
        return f"Lap of {trace.lap_s:.2f} s"
    ended = "it hit a wall" if trace.collided else "time was up"
    return f"No lap completed: the longest drive, {trace.time_s[-1]:.1f} s until {ended}"
