"""The commands of `python -m training tracks`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..errors import DataError, UsageError
from ..sim import Track, TrackError
from ..sim.track import catalog, names
from . import survey
from .centreline import Wish, make_centreline
from .fetch_circuits import GITHUB
from .fetch_circuits import fetch as fetch_tracks
from .pack import pack as pack_map

app = typer.Typer(
    help="List, make, draw, check and fetch race tracks; make centrelines.",
    no_args_is_help=True,
    add_completion=False,
)

_TRACK_HELP = (
    "A map's yaml, its directory, or a name: a bundled or fetched track, generated-, circuit- or hall-SEED."
)
_DIRECTORY_HELP = f"Otherwise ${catalog.DIRECTORY_VARIABLE}, otherwise the user's cache."


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn a broken track into the error that ends the process with exit code 65."""
    try:
        yield
    except TrackError as error:
        raise DataError(str(error)) from error


@app.command("list")
def list_tracks(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the tracks that go by a name: bundled, and fetched ones."""
    with _explained():
        summaries = [survey.summary(Track.load(name), kind) for name, kind in survey.known_tracks()]
    if as_json:
        typer.echo(json.dumps([one._asdict() for one in summaries], indent=2))
        return
    _print_table(summaries)
    typer.echo(
        "Made up by their names: generated-SEED (generated-7-l200 is 200 m long), circuit-SEED (like real circuits),\n"
        "hall-SEED (between air ducts in a hall). docs/drawn_tracks.md has their letters."
    )
    if not catalog.fetched_names():
        typer.echo("python -m training tracks fetch brings 23 real circuits (GPL-3.0) from GitHub.")


def _print_table(summaries: list[survey.Summary]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("track")
    table.add_column("kind")
    for heading in ("lap m", "width m", "tightest turn m", "longest straight m", "cells"):
        table.add_column(heading, justify="right")
    table.add_column("driven")
    for one in summaries:
        figures = (one.length_m, one.width_m, one.tightest_turn_m, one.longest_straight_m)
        way = {True: "clockwise", False: "anticlockwise", None: "-"}[one.clockwise]
        shown = ("-" if value is None else f"{value:.1f}" for value in figures)
        table.add_row(one.name, one.kind, *shown, f"{one.columns} x {one.rows}", way)
    Console(width=110).print(table)


@app.command()
def make(  # noqa: PLR0913 - an option is a parameter
    track: Annotated[
        str,
        typer.Argument(
            metavar="SEED|NAME", help="A seed, the same track everywhere; or circuit-7, hall-7-b5."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Directory to write the map into.")] = Path("tracks"),
    count: Annotated[int, typer.Option(min=1, help="Make this many, of successive seeds.")] = 1,
    length_m: Annotated[float | None, typer.Option(help="Length of a lap; usually 120.")] = None,
    half_width_m: Annotated[
        float | None, typer.Option(help="From the centreline to each wall; usually 1.1.")
    ] = None,
    min_radius_m: Annotated[float | None, typer.Option(help="Tightest turn; usually 2 m.")] = None,
    width_variation: Annotated[
        float | None, typer.Option(help="Share by which the width wanders, 0 to 0.5; usually 0.")
    ] = None,
    image: Annotated[str, typer.Option(help="png or pgm.")] = "png",
) -> None:
    """Make up tracks and write them as ROS maps: yaml, image and centreline csv."""
    given = {
        "length_m": length_m,
        "half_width_m": half_width_m,
        "min_radius_m": min_radius_m,
        "width_variation": width_variation,
    }
    options = {key: value for key, value in given.items() if value is not None}
    for name in _successive(track, count):
        with _explained():
            if name.isdecimal():
                made = Track.generate(int(name), **options)
            else:
                _refuse_options(name, options)
                made = Track.load(name)
            typer.echo(f"{made.save(out, image_format=image)}: lap {made.length_m:.1f} m")


def _successive(track: str, count: int) -> list[str]:
    """Return a seed, or the name of a track that is made up, and those of the seeds after it. UsageError for others."""
    if track.isdecimal():
        return [str(int(track) + k) for k in range(count)]
    recipe = names.recipe(track)
    if recipe is None or track in names.BUNDLED:
        told = (
            names.letters_of(track)
            or f"it is a seed, or {', '.join(f'{one}-SEED' for one in names.FAMILIES)}"
        )
        raise UsageError(f"tracks make {track}: {told}")
    family, seed, *letters = track.split("-")
    return ["-".join([family, str(int(seed) + k), *letters]) for k in range(count)]


def _refuse_options(name: str, options: Mapping[str, float]) -> None:
    if options:
        option = "--" + next(iter(options)).replace("_", "-")
        raise UsageError(
            f"tracks make {name} {option}: a name says its arguments itself",
            next_step="Write the letter in the name, such as circuit-7-l300; docs/drawn_tracks.md has them.",
        )


@app.command()
def draw(
    tracks: Annotated[list[str], typer.Argument(help=_TRACK_HELP)],
    out: Annotated[Path, typer.Option(help="Picture to write: png, svg or pdf.")] = Path("tracks.png"),
) -> None:
    """Draw tracks, several on one sheet."""
    from .draw import draw as draw_tracks  # noqa: PLC0415 - matplotlib takes a second

    with _explained():
        typer.echo(str(draw_tracks([Track.load(track) for track in tracks], out)))


@app.command()
def check(
    tracks: Annotated[list[str], typer.Argument(help=_TRACK_HELP)],
    rule: Annotated[str, typer.Option(help="What is free: ros (thresholds) or f1tenth_gym (> 128).")] = "ros",
) -> None:
    """Say what is wrong with maps; errors end with exit code 65, warnings do not."""
    broken = []
    for track in tracks:
        findings = survey.check(track, rule=rule)
        for finding in findings:
            typer.echo(f"{finding.level}: {finding.message}")
        if not findings:
            typer.echo(f"{track}: nothing wrong")
        broken += [track for finding in findings if finding.level == "error"]
    if broken:
        raise DataError(f"{len(broken)} of {len(tracks)} maps cannot be used: {', '.join(broken)}")


@app.command()
def centreline(
    map_: Annotated[Path, typer.Argument(metavar="MAP", help="A map's yaml, or its directory.")],
    *,
    start: Annotated[
        str | None,
        typer.Option(metavar="X,Y", help="Where the lap begins, m; needed where there are several loops."),
    ] = None,
    clockwise: Annotated[
        bool | None,
        typer.Option(
            "--clockwise/--anticlockwise", help="Which way round; else anticlockwise, or as FILE has it."
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Take this line: TUM's and f1tenth_gym's csv, ForzaETH's json."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a centreline that is there.")] = False,
) -> None:
    """Make the centreline csv of a map that has none, check it, and draw it next to the map."""
    from .draw import draw as draw_tracks  # noqa: PLC0415 - matplotlib takes a second

    with _explained():
        made = make_centreline(map_, Wish(_place(start), clockwise), source=source, replace=force)
        typer.echo("\n".join([f"{made.table}: lap {made.track.length_m:.1f} m", *made.notes]))
        for finding in survey.check(made.map_yaml):
            typer.echo(f"{finding.level}: {finding.message}")
        picture = made.table.with_suffix(".png")
        typer.echo(f"Look at it, and at its direction: {draw_tracks([made.track], picture)}")


@app.command()
def pack(
    maps: Annotated[
        list[str], typer.Argument(metavar="MAP...", help="Map yaml files, or their directories.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Directory to write the folders into.")] = Path("packed"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check maps and write each as a run on AWS carries it: one folder, named by the content.

    The launcher does this with the maps that a run's settings name.
    """
    rows, broken = [], []
    for map_ in maps:
        try:
            packed = pack_map(map_, out)
        except TrackError as error:
            broken.append(map_)
            rows.append({"map": map_, "error": str(error)})
        else:
            rows.append({"map": map_, **packed._asdict(), "folder": str(packed.folder)})
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            typer.echo(
                f"error: {row['error']}"
                if "error" in row
                else f"{row['folder']}: lap {row['length_m']:.1f} m"
            )
    if broken:
        raise DataError(f"{len(broken)} of {len(maps)} maps cannot be packed: {', '.join(broken)}")


def _place(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--start {text}: it is two numbers, x and y in metres", next_step="Such as --start 1.5,-0.2"
        ) from None
    return x, y


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Which ones; all 23 if none is named.")] = None,
    *,
    directory: Annotated[Path | None, typer.Option(help=f"Where to. {_DIRECTORY_HELP}")] = None,
    address: Annotated[str, typer.Option(help="Fetch from here instead, a mirror.")] = GITHUB.address,
) -> None:
    """Fetch the circuits of f1tenth_racetracks (GPL-3.0) at a pinned commit, checksums verified."""
    with _explained():
        source = GITHUB._replace(address=address)
        places = fetch_tracks(names or (), directory, source=source, progress=typer.echo)
    typer.echo(f"{len(places)} tracks in {places[0].parent}")
