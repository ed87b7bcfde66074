"""The report: one HTML page with everything in it, readable without a network and on a phone."""

from __future__ import annotations

import base64
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from ..envs.rendering.scenery import Scenery
from ..errors import TrainingError
from ..evaluation import tournament
from ..evaluation.baselines import REFERENCE, loadable_courses, results
from ..evaluation.load_run import policies_of
from ..evaluation.robustness import UNDISTURBED, ConditionResult, completion_under, conditions_of
from ..process.systemd_notify import alive
from . import plots, run_info
from .curves import read_curves
from .lap_sections import grip_section, robustness_section, sector_section
from .laps import LapResults, described
from .video import film

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..config.fields import Grid
    from ..evaluation.baselines import EvalTrack, Result
    from ..evaluation.load_run import LoadedRun
    from ..evaluation.recording import Trace
    from ..evaluation.tournament import Tournament
    from ..store.storage import Storage

PAGE, TEMPLATE = "index.html", "page.html.j2"


class ShownFilm(NamedTuple):
    """A film as the page shows it; without data the caption says why there is none."""

    heading: str
    caption: str
    data: str = ""
    media_type: str = ""


def write_report(
    loaded: LoadedRun,
    storage: Storage,
    directory: Path,
    say: Callable[[str], None],
    *,
    driven: Sequence[Result] | None = None,
) -> Path:
    """Write the report of a run into a directory: index.html, with its film next to it; return the page's path.

    driven: the laps, if `collect.results` has driven them already. The page says so in words if the track, the curves
    or the film are not available. Raises TrainingError if the directory cannot be written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        text = _rendered(loaded, storage, directory, say, driven)
        path = directory / PAGE
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"the report cannot be written to {directory}: {error}") from error
    return path


def _rendered(
    loaded: LoadedRun,
    storage: Storage,
    directory: Path,
    say: Callable[[str], None],
    driven: Sequence[Result] | None,
) -> str:
    clock = _Clock(say)
    missing: list[str] = []
    if driven is None:
        courses, missing = loadable_courses(loaded.config.env.tracks, loaded.config.evaluation.tracks)
        driven = results(policies_of(loaded, storage), loaded.config.env, loaded.config.evaluation, courses)
    laps = LapResults(loaded, driven)
    clock.said(f"drove {len(laps.courses)} tracks, {len(laps.drivers)} drivers")
    sceneries = {course: Scenery(course.track) for course, _ in laps.traces()}
    cards = [_card(laps, course, trace, sceneries[course]) for course, trace in laps.traces()]
    clock.said(f"drew {len(cards)} tracks")
    grip = grip_section(laps.traces(), loaded.config.env)
    sectors = sector_section(laps.traces(), laps.reference_traces(), sceneries)
    clock.said(f"compared {len(cards)} drives with the tyres' grip, {len(sectors['tracks'])} by sector")
    robustness = _robustness(loaded, laps)
    if robustness is not None:
        clock.said(f"drove under {len(robustness['conditions']) - 1} kinds of randomisation")
    curves = read_curves(storage, loaded.run)
    charts = plots.learning_curves(curves, loaded.kept_step)
    clock.said(f"drew {len(charts)} curves")
    shown = _film(laps.traces(), sceneries, directory)
    clock.said("made the film")
    races = None
    if loaded.config.num_cars > 1 and laps.courses:
        races = tournament.run_tournament(loaded, storage, laps.courses[0].track)
        clock.said(f"raced {len(races.rows)} drivers")
    changed, unchanged = run_info.settings_of(loaded.config)
    return _template().render(
        run=loaded.run,
        written=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        laps=laps,
        film=shown,
        races=None if races is None else _races(races, directory),
        gradient=plots.speed_gradient(),
        fastest=f"{loaded.config.env.speed_cap_mps:g}",
        cards=cards,
        grip=grip,
        sectors=sectors,
        reference=REFERENCE,
        robustness=robustness,
        missing=missing,
        charts=[{**chart._asdict(), "picture": Markup(svg)} for chart, svg in charts],  # noqa: S704 - our own SVG
        curve_problem=curves.problem,
        changed=changed,
        unchanged=unchanged,
        reproduce=run_info.repeating_commands(loaded),
        reproduce_note=run_info.repeating_note(loaded),
        facts=run_info.facts_of(loaded),
    )


class _Clock:
    """Say what was done and how long it took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._before = say, time.monotonic()

    def said(self, text: str) -> None:
        now = time.monotonic()
        alive()
        self._say(f"report: {text} ({now - self._before:.1f} s)")
        self._before = now


def _card(laps: LapResults, course: EvalTrack, trace: Trace, scenery: Scenery) -> dict[str, Any]:
    """Return one track's picture, what it shows, and how every driver did there."""
    picture = plots.track_picture(scenery, trace, (0.0, trace.settings.speed_cap_mps))
    alive()
    return {
        "track": course.track.name,
        "kind": course.kind,
        "length": f"{course.track.length_m:.0f} m",
        "picture": Markup(picture),  # noqa: S704 - our own SVG
        "caption": described(trace),
        "figures": laps.figures(course),
    }


def _robustness(loaded: LoadedRun, laps: LapResults) -> dict[str, Any] | None:
    """Drive the kept policy under the conditions of its run's settings; None if there are none."""
    config, courses = loaded.config, laps.courses
    conditions = conditions_of(config.env)
    if not conditions or not courses:
        return None
    # The undisturbed car has driven already.
    tallies = tuple(laps.of(course, loaded.name).tally for course in courses)
    plain = ConditionResult(UNDISTURBED, conditions.pop(UNDISTURBED), tuple(courses), tallies)
    drawn = completion_under(conditions, loaded.policy, config.env, config.evaluation, courses)
    return robustness_section([plain, *drawn])


_STARTS: dict[Grid, str] = {
    "single_file": "from single file, each in front in half of them",
    "side_by_side": "side by side where the track has room, each on either side in half of them",
    "either": "half of them from single file, half side by side where the track has room",
}


def _races(found: Tournament, directory: Path) -> dict[str, Any]:
    """Return the section of the races: the film, the table, and how policies of different steps fare."""
    over = found.over_time
    return {
        "film": _race_film(found, directory),
        "track": found.track.name,
        "each": tournament.RACES,
        "start": _STARTS[found.grid],
        "over_start": "" if over is None else _STARTS[over.grid],
        "rows": found.rows,
        "over": over,
        "matrix": [] if over is None else tournament.in_words(over),
    }


def _race_film(found: Tournament, directory: Path) -> ShownFilm:
    trace, heading = found.trace, f"A race on {found.track.name}"
    names = trace.rivals.names if trace.rivals is not None else ()
    try:
        made = film(trace, Scenery(found.track), directory, found.track.name, "race")
    except OSError as error:
        return ShownFilm(heading, f"There is no film: {error}")
    pace = f", shown {made.playback} times as fast" if made.playback > 1 else ""
    won = "wins" if trace.lap_s is not None else "comes furthest; no car finishes"
    caption = (
        f"{len(names)} cars from the grid{pace}: {names[trace.car]} {won}, and is followed. "
        f"{found.filmed.overtakes} overtakes. Whose car has which colour is told at the lower right. "
        f"Also in {made.path.name} beside this page."
    )
    encoded = base64.b64encode(made.path.read_bytes()).decode("ascii")
    return ShownFilm(heading, caption, f"data:{made.media_type};base64,{encoded}", made.media_type)


def _film(
    traces: Sequence[tuple[EvalTrack, Trace]], sceneries: dict[EvalTrack, Scenery], directory: Path
) -> ShownFilm:
    """Film the best lap of the first track that has one; unseen tracks come first."""
    if not traces:
        return ShownFilm("A lap", "There is no film: no track could be driven.")
    course, trace = next((pair for pair in traces if pair[1].lap_s is not None), traces[0])
    heading = f"The best lap on {course.track.name}"
    if trace.lap_s is None:
        heading = f"The longest drive on {course.track.name}"
    try:
        made = film(trace, sceneries[course], directory, course.track.name)
    except OSError as error:
        return ShownFilm(heading, f"There is no film: {error}")
    pace = f", shown {made.playback} times as fast" if made.playback > 1 else ""
    known = "a training track" if course.seen else "a track that training never saw"
    caption = (
        f"{described(trace)} on {known}{pace}. The car's box, its lidar beams and where they end, its trace coloured "
        f"by speed; the mark above the steering bar is the policy's command. Also in {made.path.name} beside this page."
    )
    encoded = base64.b64encode(made.path.read_bytes()).decode("ascii")
    return ShownFilm(heading, caption, f"data:{made.media_type};base64,{encoded}", made.media_type)


def _template() -> Template:
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE)
