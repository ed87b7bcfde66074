"""Read and write the csv of a centreline: four columns, x_m, y_m, w_tr_right_m, w_tr_left_m."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .map_text import naming, number
from .spec import TrackError

Array = NDArray[np.float64]

CENTERLINE_COLUMNS = ("x_m", "y_m", "w_tr_right_m", "w_tr_left_m")
# The name of a column of such a file: a word and its unit. Other comments may contain commas too.
_COLUMN = re.compile(r"[A-Za-z]\w*_(m|rad|radpm|mps|mps2)")


def read_centerline(path: Path) -> tuple[Array, Array]:
    """Return a centreline csv's points (n, 2) m and widths (n, 2) m to the right and left.

    Columns x_m, y_m, w_tr_right_m, w_tr_left_m, separated by commas; lines from # on are comments, and one may name the
    columns. Raises TrackError with the line that is wrong.
    """
    rows: list[list[float]] = []
    with naming(path):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise TrackError(f"cannot be read: {error}") from error
        for count, line in enumerate(lines, start=1):
            text = line.lstrip("\ufeff").strip()
            if (rows or not _is_header(text, count)) and text and not text.startswith("#"):
                rows.append(_read_row(text, count))
        if not rows:
            raise TrackError("has no points")
    table = np.array(rows)
    return table[:, :2], table[:, 2:]


def write_centerline(path: Path, points: Array, widths: Array) -> None:
    """Write points (n, 2) m and widths (n, 2) m so that `read_centerline` gives back the very same numbers."""
    rows = np.hstack([points, widths]).tolist()
    lines = ["# " + ", ".join(CENTERLINE_COLUMNS), *(", ".join(map(repr, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _is_header(text: str, count: int) -> bool:
    """Tell whether a line ahead of the points names the columns; refuse it if they are the wrong ones."""
    cells = [cell.strip() for cell in re.split(r"[,;]", text.lstrip("# "))]
    if text.startswith("#"):
        named = len(cells) > 1 and all(_COLUMN.fullmatch(cell) for cell in cells)
    else:
        named = len(cells) > 1 and re.match(r"[A-Za-z_]", cells[0]) is not None and cells[0] != "nan"
    if named and tuple(cells) == CENTERLINE_COLUMNS and ";" in text:
        raise TrackError(f"line {count} separates the columns by semicolons: put commas in their place")
    if named and tuple(cells) != CENTERLINE_COLUMNS:
        raise TrackError(
            f"line {count} names the columns {', '.join(cells)}, not {', '.join(CENTERLINE_COLUMNS)}"
        )
    return named


def _read_row(text: str, count: int) -> list[float]:
    """Return the four numbers of a csv line."""
    cells = [cell.strip() for cell in text.split(",")]
    if len(cells) != len(CENTERLINE_COLUMNS):
        cause = (
            "; it separates them by semicolons: put commas in their place"
            if ";" in text and len(cells) == 1
            else ""
        )
        raise TrackError(
            f"line {count} has {len(cells)} column{'s' * (len(cells) != 1)}, not the four "
            f"{', '.join(CENTERLINE_COLUMNS)}{cause}"
        )
    values = []
    for column, cell in zip(CENTERLINE_COLUMNS, cells, strict=True):
        with naming(Path(f"line {count}")):
            values.append(number({column: cell}, column))
        if column.startswith("w_") and values[-1] <= 0.0:
            raise TrackError(f"line {count}: {column} is {cell}: a width is more than 0")
    return values
