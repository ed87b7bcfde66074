"""Tables of laps and races for a terminal, and how times and figures are written."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

# A log has no width of its own; wide enough for the table of laps.
PLAIN_WIDTH = 120
NOTHING = "–"


def duration(seconds: float | None) -> str:
    """Return a time span as m:ss or h:mm:ss."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def number(value: float, form: str, unit: str = "") -> str:
    """Return a formatted number with its unit, a dash where there is none."""
    return f"{value:{form}}{unit}" if math.isfinite(value) else NOTHING


def percent(share: float) -> str:
    """Return a share in per cent; one that is above 0 never reads as 0."""
    return f"{100 * share:.1f} %" if share == 0.0 or share >= 0.0005 else "below 0.1 %"


def signed(seconds: float) -> str:
    """Return a difference of times with its sign, as +0.12 or −0.05; one that rounds to 0 has none."""
    return "0.00" if abs(seconds) < 0.005 else f"{seconds:+.2f}".replace("-", "−")


class LapRow(NamedTuple):
    """How one driver drove one track; NaN where no lap was completed, or none was driven."""

    track: str
    driver: str  # "policy" or "agent 1", "pure pursuit", "follow-the-gap"
    completed: int
    starts: int  # 0: a computed reference time, not driven
    best_lap_s: float
    mean_lap_s: float
    mean_speed_mps: float
    top_speed_mps: float
    unseen: bool = False  # training never drove on this track
    kept: bool = False  # it is the policy that the run keeps


def laps_table(title: str, rows: Sequence[LapRow], console: Console | None = None) -> None:
    """Print the laps of every driver, the rows of one track together."""
    if console is None:
        console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("track", overflow="ellipsis", min_width=12)
    table.add_column("driver", no_wrap=True, min_width=14)
    for heading in ("laps", "best s", "mean s", "mean m/s", "top m/s"):
        # On a narrow terminal names of tracks are broken, figures never.
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    for before, row, after in zip((None, *rows), rows, (*rows[1:], None), strict=False):
        first = before is None or before.track != row.track
        name = f"{row.track} unseen" if row.unseen else row.track
        table.add_row(
            name if first else "",
            row.driver,
            f"{row.completed}/{row.starts}" if row.starts else NOTHING,
            number(row.best_lap_s, ".2f"),
            number(row.mean_lap_s, ".2f"),
            number(row.mean_speed_mps, ".2f"),
            number(row.top_speed_mps, ".2f"),
            style="bold" if row.kept else "",
            end_section=after is not None and after.track != row.track,
        )
    console.print()
    console.print(Text(title, style="bold"))
    console.print(table)


class RaceRow(NamedTuple):
    """How one contestant fared in its races; NaN where it never finished."""

    name: str
    races: int
    wins: int
    win_low: float  # 95 % interval of the share of races won
    win_high: float
    finished: int
    overtakes: int
    at_fault: int
    hit: int
    wall: int
    laps: float
    mean_finish_s: float


def races_table(title: str, rows: Sequence[RaceRow], console: Console | None = None) -> None:
    """Print how each contestant fared; its races that ended in a crash are at fault or at a wall."""
    if console is None:
        console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", overflow="ellipsis", min_width=14)
    headings = ("wins", "95 %", "finished", "overtakes", "at fault", "hit", "wall", "laps", "mean s")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    for row in rows:
        table.add_row(
            row.name,
            f"{row.wins}/{row.races}",
            f"{100 * row.win_low:.0f}–{100 * row.win_high:.0f} %",
            f"{row.finished}",
            f"{row.overtakes}",
            f"{row.at_fault}",
            f"{row.hit}",
            f"{row.wall}",
            f"{row.laps:.1f}",
            number(row.mean_finish_s, ".2f"),
        )
    console.print()
    console.print(Text(title, style="bold"))
    console.print(table)
