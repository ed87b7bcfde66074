"""A race track: the free cells of a map, its centreline and what follows from both."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import catalog, map_files, names, occupancy, track_checks
from . import centerline as geometry
from . import generate as generator
from .distance_transform import distance_transform_cells
from .hall import hall_track
from .map_text import naming
from .spec import (
    DEFAULT_HALF_WIDTH_M,
    DEFAULT_LENGTH_M,
    DEFAULT_RESOLUTION_M,
    HallSpec,
    Spec,
    TrackError,
    checked_spec,
    spec_of,
)
from .track_checks import FEWEST_POINTS
from .track_width import measured_widths

Array = NDArray[np.float64]

# The centreline's points are this far apart, give or take what makes the lap a whole number of them.
SPACING_M = 0.2
# Points that are already spaced this evenly, near SPACING_M, are kept as they are: load(save(t)) equals t.
EVENNESS = 0.05
# Sideways free space is measured up to here where the map has no wall nearer.
WIDEST_M = 10.0
# Solid wall around a generated track.
BORDER_M = 0.5


@dataclass(frozen=True, eq=False, repr=False)
class Track:
    """A race track; immutable. Make one with `from_occupancy`, `load` or `generate`.

    free: (H, W) bool, row 0 at the bottom. origin: x m, y m, yaw rad of the lower left corner.
    centerline: (n, 2) m, closed (the first point is not repeated), evenly spaced at about 0.2 m, in
    driving direction; width_right_m and width_left_m: (n,) m from it to the walls. All three are None
    for a map without a centreline.
    """

    name: str
    free: NDArray[np.bool_]
    resolution_m: float
    origin: tuple[float, float, float]
    centerline: Array | None = None
    width_right_m: Array | None = field(default=None)
    width_left_m: Array | None = field(default=None)

    @classmethod
    def from_occupancy(  # the six things that make a map; the public surface of the design
        cls,
        free: ArrayLike,
        resolution_m: float,
        origin: Sequence[float],
        centerline: ArrayLike | None = None,
        *,
        name: str = "track",
        widths_m: ArrayLike | None = None,
    ) -> Track:
        """Build a track from its free cells and, if there is one, its centreline.

        free: (H, W), true or 1 where a car may be, row 0 at the bottom; no wall is assumed beyond the
        edge. origin: x m, y m, yaw rad of the lower left corner. centerline: (k, 2) m in driving
        direction, k ≥ 8. widths_m: (k, 2) m to the right and to the left of each point; measured on
        the map if None, and where they reach into a wall. Raises TrackError where these do not make a track.
        """
        cells = _frozen(track_checks.checked_cells(free))
        resolution = track_checks.checked_resolution(resolution_m)
        corner = track_checks.checked_origin(origin)
        if centerline is None:
            return cls(name, cells, resolution, corner)
        points = track_checks.checked_centerline(centerline)
        frame = occupancy.frame_of(resolution, corner)
        track_checks.check_way_is_free(cells, frame, points)
        track_checks.check_once_round(points)
        given = None if widths_m is None else track_checks.checked_widths(widths_m, len(points))
        even, given = _evenly_spaced(points, given)
        tangent = geometry.tangents(even, geometry.chord_lengths(even))
        measured = measured_widths(cells, frame, even, tangent, WIDEST_M)
        if given is None:
            given = measured
        else:
            track_checks.check_scale(resolution, given, measured)
            given = np.where(given > measured + 2.0 * resolution, measured, given)  # the map is right
        right, left = (_frozen(np.ascontiguousarray(column)) for column in given.T)
        return cls(name, cells, resolution, corner, _frozen(even), right, left)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        rule: str = "ros",
        unknown_is_free: bool = False,
        name: str | None = None,
    ) -> Track:
        """Read a ROS map: its yaml, image, and the centreline csv next to it if there is one.

        path: the yaml, a directory that holds one, or a name: of a bundled track, of a fetched one, of one that is made
        up (`generated-7`, `circuit-7`, `hall-7`), or of a map that a run carries (`hall@` and 16 digits). rule: "ros"
        takes the yaml's thresholds, f1tenth_gym what is brighter than 128. unknown_is_free: whether cars may enter what
        the map leaves grey. Raises TrackError, with the file and the place in it, for any fault.
        """
        where = Path(path)
        if names.is_name(path) and not where.exists():
            recipe = names.recipe(str(path))
            if recipe is not None:
                return cls.made_up(recipe, name=name or str(path))
            where = catalog.fetched(str(path))
        elif names.packed_parts(path) is not None and not where.exists():
            where = catalog.packed(str(path))
        where = map_files.find(where)
        files = map_files.read(where, rule=rule, unknown_is_free=unknown_is_free)
        with naming(where, files.hints):
            return cls.from_occupancy(
                files.free,
                files.resolution_m,
                files.origin,
                files.centerline,
                name=name or files.name,
                widths_m=files.widths_m,
            )

    def save(self, directory: str | Path, *, image_format: str = "png") -> Path:
        """Write the track as a ROS map that `load` reads back equal; return the path of its yaml.

        image_format: png or pgm. Files of the same names are replaced.
        """
        line = self.centerline
        widths = None if line is None else np.stack(self.widths_m, axis=1)
        files = map_files.MapFiles(self.name, self.free, self.resolution_m, self.origin, line, widths)
        return map_files.write(Path(directory), files, image_format)

    @classmethod
    def generate(
        cls,
        seed: int,
        length_m: float = DEFAULT_LENGTH_M,
        half_width_m: float = DEFAULT_HALF_WIDTH_M,
        *,
        min_radius_m: float | None = None,
        width_variation: float = 0.0,
        resolution_m: float = DEFAULT_RESOLUTION_M,
        name: str | None = None,
    ) -> Track:
        """Make up a race track; the same arguments give the same track on every machine.

        The lap is length_m long (within 2 %) and starts at (0, 0) on its longest straight; whether it
        runs clockwise depends on the seed. No turn is tighter than min_radius_m (2 m, or what the width
        needs if that is more), and walls of different legs stay 0.3 m apart. width_variation: 0 to 0.5,
        the share by which each side's half width wanders. Raises TrackError if no such track exists.
        """
        spec = checked_spec(length_m, half_width_m, min_radius_m, width_variation, resolution_m)
        line, widths = generator.generate_centerline(seed, spec)
        return cls._along(line, widths, spec, name or names.generated_name(seed, spec._asdict()))

    @classmethod
    def made_up(cls, recipe: names.Recipe, name: str) -> Track:
        """Make the track of a recipe, of any family; raise TrackError for what cannot be built."""
        if recipe.family == names.GENERATED:
            return cls.generate(recipe.seed, name=name, **recipe.options)
        spec = spec_of(recipe)
        if isinstance(spec, HallSpec):
            free, resolution_m, origin, line, widths = hall_track(recipe.seed, spec)
            return cls.from_occupancy(free, resolution_m, origin, line, name=name, widths_m=widths)
        line, widths = generator.circuit_centerline(recipe.seed, spec)
        return cls._along(line, widths, spec, name)

    @classmethod
    def _along(cls, line: Array, widths: Array, spec: Spec, name: str) -> Track:
        """Return the corridor along a line, with solid wall around it."""
        resolution_m = spec.resolution_m
        border = spec.widest_m + BORDER_M
        corner = np.floor((line.min(axis=0) - border) / resolution_m)
        cols, rows = (np.ceil((line.max(axis=0) + border) / resolution_m) - corner).astype(int)
        origin = (float(round(corner[0] * resolution_m, 9)), float(round(corner[1] * resolution_m, 9)), 0.0)
        free = occupancy.carve((rows, cols), occupancy.frame_of(resolution_m, origin), line, widths)
        return cls.from_occupancy(free, resolution_m, origin, line, name=name, widths_m=widths)

    @cached_property
    def distance_field_m(self) -> Array:
        """Give the distance from each cell to the nearest wall: (H, W) m, resolution x exact EDT."""
        return _frozen(self.resolution_m * distance_transform_cells(self.free))

    @cached_property
    def frame(self) -> occupancy.Frame:
        """Give the grid's place in the world, for the kernels."""
        return occupancy.frame_of(self.resolution_m, self.origin)

    @cached_property
    def arc_length_m(self) -> Array:
        """Give the way along the centreline to each of its points: (n,) m from 0."""
        return _frozen(geometry.cumulative(self._chords_m))

    @cached_property
    def length_m(self) -> float:
        """Give the length of a lap along the centreline in metres."""
        return float(self.arc_length_m[-1] + self._chords_m[-1])

    @cached_property
    def tangent(self) -> Array:
        """Give the centreline's unit tangents: (n, 2)."""
        return _frozen(geometry.tangents(self._line, self._chords_m))

    @cached_property
    def curve(self) -> geometry.Curve:
        """Give the centreline as the kernels of `training.sim.track.centerline` take it."""
        return geometry.Curve(self._line, self.tangent, self.arc_length_m, self.length_m)

    @cached_property
    def heading_rad(self) -> Array:
        """Give the centreline's heading at each point: (n,) rad in -π..π."""
        return _frozen(np.arctan2(self.tangent[:, 1], self.tangent[:, 0]))

    @cached_property
    def curvature_1pm(self) -> Array:
        """Give the centreline's curvature at each point: (n,) 1/m, positive in left turns."""
        return _frozen(geometry.curvature(self._line, self._chords_m))

    @cached_property
    def digest(self) -> str:
        """Give the SHA-256 of what makes the map: its cells, their place, the centreline and widths; not its name.

        Lengths count to a micrometre, far above what one machine's arithmetic differs from another's.
        """
        found = hashlib.sha256(repr((self.free.shape, self.resolution_m, self.origin)).encode())
        found.update(np.packbits(self.free).tobytes())
        for lengths in (self.centerline, self.width_right_m, self.width_left_m):
            if lengths is not None:
                found.update(np.round(lengths * 1e6).astype("<i8").tobytes())
        return found.hexdigest()

    @cached_property
    def _chords_m(self) -> Array:
        return _frozen(geometry.chord_lengths(self._line))

    @property
    def widths_m(self) -> tuple[Array, Array]:
        """Give the way from the centreline to the walls on the right and on the left: (n,) m each."""
        if self.width_right_m is None or self.width_left_m is None:
            raise self._no_centreline
        return self.width_right_m, self.width_left_m

    @property
    def _no_centreline(self) -> TrackError:
        return TrackError(
            f"track {self.name!r} has no centreline: put a {self.name}_centerline.csv next to its map, or "
            "make one: python -m training tracks centreline MAP"
        )

    @property
    def _line(self) -> Array:
        if self.centerline is None:
            raise self._no_centreline
        return self.centerline

    @overload
    def pose_at(
        self, s_m: float, lateral_m: float = ..., heading_offset_rad: float = ...
    ) -> tuple[float, float, float]: ...

    @overload
    def pose_at(
        self, s_m: Array, lateral_m: ArrayLike = ..., heading_offset_rad: ArrayLike = ...
    ) -> tuple[Array, Array, Array]: ...

    def pose_at(
        self, s_m: ArrayLike, lateral_m: ArrayLike = 0.0, heading_offset_rad: ArrayLike = 0.0
    ) -> tuple[Any, Any, Any]:
        """Return (x m, y m, yaw rad in -π..π) at a way along the centreline and a left offset.

        Takes numbers, or arrays that broadcast, and answers alike. s_m is taken modulo the lap.
        """
        s, lateral, turn = np.broadcast_arrays(
            np.asarray(s_m, np.float64),
            np.asarray(lateral_m, np.float64),
            np.asarray(heading_offset_rad, np.float64),
        )
        poses = geometry.pose_many(self.curve, s.ravel().copy(), lateral.ravel().copy())
        yaw = poses[:, 2] + turn.ravel()
        yaw = np.where(np.abs(yaw) > math.pi, np.remainder(yaw + math.pi, 2 * math.pi) - math.pi, yaw)
        if s.ndim == 0:
            return float(poses[0, 0]), float(poses[0, 1]), float(yaw[0])
        return poses[:, 0].reshape(s.shape), poses[:, 1].reshape(s.shape), yaw.reshape(s.shape)

    def project(self, xy: ArrayLike) -> tuple[Any, Any]:
        """Return (way along the centreline m, lateral offset m, positive to the left) of a point.

        xy: (2,) m gives two numbers, (..., 2) gives two arrays. Kernels that know roughly where a car
        is call `training.sim.track.centerline.project` with the index they had before.
        """
        where = np.asarray(xy, np.float64)
        s, lateral = geometry.project_many(self.curve, np.ascontiguousarray(where.reshape(-1, 2)))
        if where.ndim == 1:
            return float(s[0]), float(lateral[0])
        return s.reshape(where.shape[:-1]), lateral.reshape(where.shape[:-1])

    def reversed(self) -> Track:
        """Return the same track driven the other way round, from the same start."""
        order, (right, left) = -np.arange(len(self._line)) % len(self._line), self.widths_m
        return replace(
            self,
            name=f"{self.name}-reversed",
            centerline=_frozen(self._line[order]),
            width_right_m=_frozen(left[order]),
            width_left_m=_frozen(right[order]),
        )

    def mirrored(self) -> Track:
        """Return the mirror image (left turns become right turns), in the same place."""
        line = None
        if self.centerline is not None:
            line = np.empty_like(self.centerline)
            top_m = self.free.shape[0] * self.resolution_m
            for i, (x, y) in enumerate(self.centerline):
                right_m, up_m = occupancy.to_map(self.frame, x, y)
                line[i] = occupancy.to_world(self.frame, right_m, top_m - up_m)
            line = _frozen(line)
        return replace(
            self,
            name=f"{self.name}-mirrored",
            free=_frozen(np.ascontiguousarray(self.free[::-1])),
            centerline=line,
            width_right_m=self.width_left_m,
            width_left_m=self.width_right_m,
        )

    def __eq__(self, other: object) -> bool:
        """Compare every number of the two tracks and their names."""
        if not isinstance(other, Track):
            return NotImplemented
        return (
            (self.name, self.resolution_m, self.origin) == (other.name, other.resolution_m, other.origin)
            and np.array_equal(self.free, other.free)
            and _same(self.centerline, other.centerline)
            and _same(self.width_right_m, other.width_right_m)
            and _same(self.width_left_m, other.width_left_m)
        )

    def __hash__(self) -> int:
        """Hash the name and the map's place, which equal tracks share."""
        return hash((self.name, self.resolution_m, self.origin, self.free.shape))

    def __repr__(self) -> str:
        """Name the track, its map's size and its length."""
        height, width = self.free.shape
        lap = "no centreline" if self.centerline is None else f"lap {self.length_m:.1f} m"
        return f"Track({self.name!r}, {width} x {height} cells of {self.resolution_m:g} m, {lap})"


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _same(one: Array | None, other: Array | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def _evenly_spaced(points: Array, widths: Array | None) -> tuple[Array, Array | None]:
    """Return the curve and its widths at even spacing; doubled points are left out."""
    kept = geometry.chord_lengths(points) > 1e-9  # a nanometre
    points = np.ascontiguousarray(points[kept])
    widths = None if widths is None else widths[kept]
    if len(points) < FEWEST_POINTS:
        raise TrackError(
            f"the centreline has {len(points)} distinct points: a closed curve needs at least {FEWEST_POINTS}"
        )
    for _ in range(4):  # a sharp corner rounds off in the first pass and spaces evenly in the next
        chords = geometry.chord_lengths(points)
        mean = chords.sum() / len(chords)
        is_even = np.abs(chords - mean).max() <= EVENNESS * mean
        if is_even and 0.75 * SPACING_M <= mean <= 1.25 * SPACING_M:
            break
        count = max(FEWEST_POINTS, round(chords.sum() / SPACING_M))
        points, position = geometry.resample_closed(points, count)
        if widths is not None:
            known = np.arange(len(widths) + 1)
            widths = np.stack([np.interp(position, known, np.append(c, c[0])) for c in widths.T], axis=1)
    return points, widths
