"""Read and write maps in the ROS form: yaml and image, with the centreline as csv next to them.

The yaml's meaning is ROS map_server's (http://wiki.ros.org/map_server, "Value Interpretation"): a pixel's
darkness p = (255 - value) / 255 (value / 255 if negate) is free below free_thresh and a wall above
occupied_thresh; the range between is unknown ground, which no car may enter. The image's first row is the top.
f1tenth_gym reads the same files by a rule of its own: whatever is brighter than 128 is free.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .centerline_files import read_centerline, write_centerline
from .map_text import naming, number
from .spec import TrackError

Array = NDArray[np.float64]

RULES = ("ros", "f1tenth_gym")
MAP_SUFFIXES = (".yaml", ".yml")
_FREE_PIXEL, _UNKNOWN_PIXEL, _WALL_PIXEL = 254, 205, 0  # what ROS map_saver writes
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
    hints: tuple[str, ...] = ()  # what in the files may be the cause where the map is not what its owner sees


def read(path: Path, *, rule: str = "ros", unknown_is_free: bool = False) -> MapFiles:
    """Return the map of a yaml file, with the centreline csv next to it if there is one.

    The csv of `oval.yaml` is `oval_centerline.csv`, as is that of `oval_map.yaml`. Raises TrackError
    for files that are missing, unreadable or incomplete.
    """
    if rule not in RULES:
        raise TrackError(f"rule is {rule!r}: it is one of {', '.join(RULES)}")
    settings, image, table = sources(path, rule)
    with naming(path):
        resolution = number(settings, "resolution")
        origin = settings["origin"]
        if not isinstance(origin, list):
            raise TrackError(f"origin is {origin!r}: it is a list, [x m, y m, yaw rad]")
        corner = tuple(number({"origin": value}, "origin") for value in origin)
    with naming(image):
        pixels = _read_pixels(image, path)
    with naming(path):
        free = _free(pixels, settings, rule, unknown_is_free=unknown_is_free)
        hints = _hints(pixels, free, settings, rule)
    points, widths = (None, None) if table is None else read_centerline(table)
    return MapFiles(name_of(path), free[::-1], resolution, corner, points, widths, hints)


def name_of(path: Path) -> str:
    """Return what a map is called by its yaml: `oval.yaml` and `oval_map.yaml` are both oval."""
    return path.stem.removesuffix("_map")


class Sources(NamedTuple):
    """The files of a map besides its yaml."""

    settings: dict[str, Any]  # of the yaml
    image: Path
    table: Path | None  # the centreline csv, if there is one


def sources(path: Path, rule: str = "ros") -> Sources:
    """Read a map's yaml, and return it with the files that belong to it. TrackError for a broken yaml."""
    with naming(path):
        settings = _read_yaml(path, rule)
    tables = (path.parent / f"{stem}_centerline.csv" for stem in (path.stem, name_of(path)))
    return Sources(settings, path.parent / str(settings["image"]), next(filter(Path.is_file, tables), None))


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


class _Pixels(NamedTuple):
    """An image's pixels as few bytes as they take: a step of brightness each, and what the steps mean."""

    step: NDArray[np.uint8] | NDArray[np.uint16]  # (H, W)
    brightness: Array  # (steps,) from 0 to 255
    opaque: NDArray[np.bool_] | None  # (H, W), None where all of them are


def _read_pixels(image: Path, named_in: Path) -> _Pixels:
    """Return the brightness of each pixel, the mean of its colours, and whether it is opaque."""
    from PIL import Image  # noqa: PLC0415 - the simulator starts without it

    if not image.is_file():
        raise TrackError(f"is missing; {named_in.name} names it as its image")
    try:
        with Image.open(image) as opened:
            if opened.mode in {"I", "I;16", "I;16B", "F"}:  # 16 bit grey
                step = np.clip(np.asarray(opened), 0, 65535).astype(np.uint16)
                return _Pixels(step, np.arange(65536, dtype=np.float64) / 257.0, None)
            if opened.mode in {"1", "L"} and "transparency" not in opened.info:
                return _Pixels(np.asarray(opened.convert("L")), np.arange(256, dtype=np.float64), None)
            colours = np.asarray(opened.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TrackError(f"cannot be read as an image: {error}") from error
    step = colours[:, :, 0].astype(np.uint16)
    step += colours[:, :, 1]
    step += colours[:, :, 2]
    opaque = colours[:, :, 3] > 0
    return _Pixels(step, np.arange(766) / 3.0, None if opaque.all() else opaque)


def _free(
    pixels: _Pixels, settings: dict[str, Any], rule: str, *, unknown_is_free: bool
) -> NDArray[np.bool_]:
    """Apply the rule to the pixels' brightness."""
    if rule == "f1tenth_gym":
        return (pixels.brightness > _GYM_THRESHOLD)[pixels.step]
    mode = str(settings.get("mode", "trinary"))
    if mode.lower() not in {"trinary", "scale"}:
        raise TrackError(f"mode is {mode!r}: only trinary and scale have thresholds for what is free")
    if settings["negate"] not in (0, 1):
        raise TrackError(f"negate is {settings['negate']!r}: it is 0 or 1")
    free_thresh, occupied_thresh = number(settings, "free_thresh"), number(settings, "occupied_thresh")
    if not 0.0 <= free_thresh <= occupied_thresh <= 1.0:
        seen = f"free_thresh {free_thresh:g}, occupied_thresh {occupied_thresh:g}"
        raise TrackError(f"{seen}: both are from 0 to 1, and free_thresh is not the larger")
    darkness = _darkness(pixels.brightness, settings)
    # A transparent pixel is unknown, whatever its colour.
    if unknown_is_free:
        wall = (darkness > occupied_thresh)[pixels.step]
        return ~(wall if pixels.opaque is None else wall & pixels.opaque)
    free = (darkness < free_thresh)[pixels.step]
    if pixels.opaque is not None:
        free &= pixels.opaque
        if not free.any() and (darkness < free_thresh)[pixels.step].any():
            raise TrackError(
                "all free pixels of its image are transparent, which means unknown: save it without transparency"
            )
    return free


def _darkness(brightness: Array, settings: dict[str, Any]) -> Array:
    return (brightness if settings["negate"] else 255.0 - brightness) / 255.0


def _hints(pixels: _Pixels, free: NDArray[np.bool_], settings: dict[str, Any], rule: str) -> tuple[str, ...]:
    """Return what is legal in the files, and often not what was meant."""
    if rule == "f1tenth_gym":
        return ()
    hints = []
    grey = _darkness(np.array([float(_UNKNOWN_PIXEL)]), settings)[0]
    if 0.196 < grey < number(settings, "free_thresh"):
        unknown = np.abs(pixels.brightness - _UNKNOWN_PIXEL) < 0.5
        if (unknown[pixels.step] & free).any():
            hints.append(
                f"free_thresh {number(settings, 'free_thresh'):g} takes the grey of unknown ground ({_UNKNOWN_PIXEL}) "
                "for free; with 0.196 it is none"
            )
    if pixels.opaque is not None:
        share = 100.0 * (1.0 - pixels.opaque.mean())
        hints.append(f"{share:.0f} % of the image's pixels are transparent, which means unknown")
    return tuple(hints)


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
        write_centerline(table, files.centerline, files.widths_m)
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
