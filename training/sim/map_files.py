"""Read and write maps in the ROS form: yaml and image, with the centreline as csv beside them.

The yaml's meaning is ROS map_server's (http://wiki.ros.org/map_server, "Value Interpretation"): a pixel's
darkness p = (255 - value) / 255 (value / 255 if negate) is free below free_thresh and a wall above
occupied_thresh; between lies unknown ground, which no car may enter. The image's first row is the top.
f1tenth_gym reads the same files by a rule of its own: whatever is brighter than 128 is free.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.sim.track_spec import TrackError

Array = NDArray[np.float64]

RULES = ("ros", "f1tenth_gym")
CENTERLINE_COLUMNS = ("x_m", "y_m", "w_tr_right_m", "w_tr_left_m")
MAP_SUFFIXES = (".yaml", ".yml")
_FREE_PIXEL, _WALL_PIXEL = 254, 0  # what ROS map_saver writes
_GYM_THRESHOLD = 128
_THRESHOLDS = {"negate": "0", "occupied_thresh": "0.65", "free_thresh": "0.196"}


class MapFiles(NamedTuple):
    """A map as its files tell it; `Track.from_occupancy` says whether it is a track."""

    name: str
    free: NDArray[np.bool_]  # (H, W), row 0 at the bottom
    resolution_m: float
    origin: tuple[float, ...]
    centerline: Array | None  # (n, 2) m
    widths_m: Array | None  # (n, 2) m, right and left


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before what a TrackError says."""
    try:
        yield
    except TrackError as error:
        raise TrackError(f"{path}: {error}") from error


def read(path: Path, *, rule: str = "ros", unknown_is_free: bool = False) -> MapFiles:
    """Return the map of a yaml file, with the centreline csv beside it if there is one.

    The csv of `oval.yaml` is `oval_centerline.csv`, as is that of `oval_map.yaml`. Raises TrackError
    for files that are missing, unreadable or incomplete.
    """
    if rule not in RULES:
        raise TrackError(f"rule is {rule!r}: it is one of {', '.join(RULES)}")
    with naming(path):
        settings = _read_yaml(path, rule)
        resolution = _number(settings, "resolution")
        origin = settings["origin"]
        if not isinstance(origin, list):
            raise TrackError(f"origin is {origin!r}: it is a list, [x m, y m, yaw rad]")
        corner = tuple(_number({"origin": value}, "origin") for value in origin)
        image = path.parent / str(settings["image"])
    with naming(image):
        value, opaque = _read_pixels(image, path)
    with naming(path):
        free = (
            value > _GYM_THRESHOLD
            if rule == "f1tenth_gym"
            else _free(value, opaque, settings, unknown_is_free=unknown_is_free)
        )
    name = path.stem.removesuffix("_map")
    table = next(
        filter(Path.is_file, (path.parent / f"{stem}_centerline.csv" for stem in (path.stem, name))), None
    )
    points, widths = (None, None) if table is None else read_centerline(table)
    return MapFiles(name, np.ascontiguousarray(free[::-1]), resolution, corner, points, widths)


def _read_yaml(path: Path, rule: str) -> dict[str, Any]:
    """Return the yaml's settings, all that the rule needs among them."""
    import yaml  # noqa: PLC0415 - the simulator starts without it

    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TrackError(f"cannot be read as a map's yaml: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise TrackError(
            f"holds {type(settings).__name__}, not a map's settings (image, resolution, origin, ...)"
        )
    examples = {"image": "oval.png", "resolution": "0.05", "origin": "[0.0, 0.0, 0.0]"}
    needed = examples if rule == "f1tenth_gym" else examples | _THRESHOLDS
    for key, example in needed.items():
        if key not in settings:
            raise TrackError(f"lacks {key!r}; add a line such as `{key}: {example}`")
    return settings


def _number(settings: dict[str, Any], key: str) -> float:
    """Return a finite number; yaml takes 1e-05 for text, so text that is a number will do."""
    try:
        number = float(settings[key])
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise TrackError(f"{key} is {settings[key]!r}, not a number")
    return number


def _read_pixels(image: Path, named_in: Path) -> tuple[Array, NDArray[np.bool_]]:
    """Return (H, W) the mean of each pixel's colours, 0 to 255, and whether it is opaque."""
    from PIL import Image  # noqa: PLC0415 - the simulator starts without it

    if not image.is_file():
        raise TrackError(f"is missing; {named_in.name} names it as its image")
    try:
        with Image.open(image) as opened:
            if opened.mode in {"I", "I;16", "I;16B", "F"}:  # 16 bit grey
                value = np.asarray(opened, np.float64) / 257.0
                return value, np.ones(value.shape, np.bool_)
            pixels = np.asarray(opened.convert("RGBA"), np.float64)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TrackError(f"cannot be read as an image: {error}") from error
    return pixels[:, :, :3].mean(axis=2), pixels[:, :, 3] > 0.0


def _free(
    value: Array, opaque: NDArray[np.bool_], settings: dict[str, Any], *, unknown_is_free: bool
) -> NDArray[np.bool_]:
    """Apply ROS's rule to the pixels' values."""
    mode = settings.get("mode", "trinary")
    if mode not in {"trinary", "scale"}:
        raise TrackError(f"mode is {mode!r}: only trinary and scale have thresholds for what is free")
    if settings["negate"] not in (0, 1):
        raise TrackError(f"negate is {settings['negate']!r}: it is 0 or 1")
    free_thresh, occupied_thresh = _number(settings, "free_thresh"), _number(settings, "occupied_thresh")
    if not 0.0 <= free_thresh <= occupied_thresh <= 1.0:
        seen = f"free_thresh {free_thresh:g}, occupied_thresh {occupied_thresh:g}"
        raise TrackError(f"{seen}: both are from 0 to 1, and free_thresh is not the larger")
    darkness = (value if settings["negate"] else 255.0 - value) / 255.0
    if unknown_is_free:
        return ~((darkness > occupied_thresh) & opaque)
    return (darkness < free_thresh) & opaque


def read_centerline(path: Path) -> tuple[Array, Array]:
    """Return a centreline csv's points (n, 2) m and widths (n, 2) m to the right and left.

    Columns x_m, y_m, w_tr_right_m, w_tr_left_m, separated by commas; lines from # on are comments.
    """
    rows: list[list[float]] = []
    with naming(path):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise TrackError(f"cannot be read: {error}") from error
        for number, line in enumerate(lines, start=1):
            cells = [cell.strip() for cell in line.lstrip("\ufeff# ").split(",")]
            is_header = not rows and len(cells) > 1 and re.match(r"[A-Za-z_]", cells[0]) and cells[0] != "nan"
            if is_header and tuple(cells) != CENTERLINE_COLUMNS:
                raise TrackError(
                    f"line {number} names the columns {', '.join(cells)}, not {', '.join(CENTERLINE_COLUMNS)}"
                )
            if not (is_header or not line.strip() or line.lstrip().startswith("#")):
                rows.append(_read_row(cells, number))
        if not rows:
            raise TrackError("has no points")
    table = np.array(rows)
    return table[:, :2], table[:, 2:]


def _read_row(cells: list[str], number: int) -> list[float]:
    """Return the four numbers of a csv line."""
    if len(cells) != len(CENTERLINE_COLUMNS):
        raise TrackError(
            f"line {number} has {len(cells)} columns, not the four {', '.join(CENTERLINE_COLUMNS)}"
        )
    values = []
    for column, cell in zip(CENTERLINE_COLUMNS, cells, strict=True):
        with naming(Path(f"line {number}")):
            values.append(_number({column: cell}, column))
        if column.startswith("w_") and values[-1] <= 0.0:
            raise TrackError(f"line {number}: {column} is {cell}: a width is more than 0")
    return values


def write(directory: Path, files: MapFiles, image_format: str = "png") -> Path:
    """Write NAME_map.yaml, NAME_map.png (or pgm) and NAME_centerline.csv; return the yaml's path.

    `read` gives back the very same numbers. The yaml comes last, so a broken-off write leaves no map.
    """
    from PIL import Image  # noqa: PLC0415 - the simulator starts without it

    if not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", files.name):
        raise TrackError(
            f"a track called {files.name!r} cannot be a file: use letters, digits, '-', '_' and '.'"
        )
    if image_format not in {"png", "pgm"}:
        raise TrackError(f"image format {image_format!r} is not one of png, pgm")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{files.name}_map.yaml"
    path.unlink(missing_ok=True)
    pixels = np.where(files.free[::-1], _FREE_PIXEL, _WALL_PIXEL).astype(np.uint8)
    image = path.with_suffix(f".{image_format}")
    Image.fromarray(pixels).save(image, "PNG" if image_format == "png" else "PPM")
    table = directory / f"{files.name}_centerline.csv"
    table.unlink(missing_ok=True)
    if files.centerline is not None and files.widths_m is not None:
        rows = np.hstack([files.centerline, files.widths_m]).tolist()
        lines = ["# " + ", ".join(CENTERLINE_COLUMNS), *(", ".join(map(repr, row)) for row in rows)]
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {"image": image.name, "resolution": repr(files.resolution_m), "origin": list(files.origin)}
    text = "".join(
        f"{key}: {value}\n" for key, value in (settings | _THRESHOLDS | {"mode": "trinary"}).items()
    )
    path.write_text(text, encoding="utf-8")
    return path


def find(path: Path) -> Path:
    """Return the map yaml that a path means: itself, or the only one of a directory."""
    if path.is_dir():
        found = sorted(entry for entry in path.iterdir() if entry.suffix in MAP_SUFFIXES)
        if len(found) != 1:
            names = ", ".join(entry.name for entry in found) or "none"
            raise TrackError(f"{path}: a directory with one map's yaml is needed; it has {names}")
        return found[0]
    if not path.is_file():
        raise TrackError(f"{path}: there is no such file")
    if path.suffix not in MAP_SUFFIXES:
        raise TrackError(f"{path}: is no map; name its yaml file")
    return path
