"""A track as a picture, and a camera's view of it with cars and lidar beams, drawn with Pillow alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from ...sim.params import SPEED, STEERING, YAW, X, Y
from ..car import lidar_of, vehicle_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...config import EnvSettings
    from .scenery import Scenery

FRAME_SIZE = (960, 540)
# Pixels a metre: the view is 22 m wide, a little more than the lidar is asked to see.
SCALE = 44.0
_LARGEST_BACKGROUND = 9_000  # pixels a side; a larger track is drawn at a smaller scale
_COARSE_PX = 3  # the distance to the edge is read every so many pixels, then interpolated
_GRID_M = 2.0
# The camera looks this far ahead of the car, and follows with this time constant.
_LOOK_AHEAD_S, _CAMERA_S = 0.45, 0.5
# Parts are drawn this much larger and then averaged: Pillow draws no smooth edges itself.
_SMOOTH_BEAMS, _SMOOTH_TRACE, _SMOOTH_CAR = 2, 4, 4
_TRACE_PX = 4.0
# With more beams than this only their ends are drawn.
_MOST_LINES = 120

_GROUND, _ROAD, _EDGE = np.array([[17, 20, 26], [45, 50, 61], [196, 203, 216]], dtype=np.float32)
_BOX = (150, 112, 66)
_PAINT, _DARK = (245, 246, 248), (28, 31, 38)
_BEAM, _HIT = (86, 204, 242), (150, 226, 255)
_CABIN, _TYRE = (24, 14, 20), (12, 13, 16)
CRASHED = (255, 214, 10)
# Of the cars of a race by number; far apart for eyes that tell red from green badly too.
CAR_COLOURS = (
    (255, 82, 82), (64, 156, 255), (64, 214, 140), (255, 170, 44),
    (196, 120, 255), (72, 224, 232), (255, 128, 196), (226, 226, 90),
)  # fmt: skip

Colour = tuple[int, int, int]
Point = tuple[float, float]
Corner = tuple[int, int]  # left, top of the camera's view in the background, pixels
Box = tuple[int, int, int, int]  # left, top, right, bottom


def car_colour(number: int) -> Colour:
    """Return the colour of a car by its number in its race."""
    return CAR_COLOURS[number % len(CAR_COLOURS)]


class Canvas:
    """Draw views of one track and the settings' car; a view is FRAME_SIZE large, its corner in the background."""

    def __init__(self, scenery: Scenery, settings: EnvSettings) -> None:
        self._car, self._fov_rad = vehicle_of(settings), lidar_of(settings).fov_rad
        left, right, bottom, top = scenery.extent(0.0)
        self._scale = min(SCALE, _LARGEST_BACKGROUND / max(right - left, top - bottom))
        margin_m = 0.5 * max(FRAME_SIZE) / self._scale + 1.0
        x, y, edge_m = scenery.grid(_COARSE_PX / self._scale, margin_m)
        # Pillow takes a pixel's value for its middle.
        half_m = 0.5 * _COARSE_PX / self._scale
        self._x0, self._y0 = float(x[0]) - half_m, float(y[-1]) + half_m
        self._background = self._paint_ground(edge_m[::-1] * np.float32(self._scale))
        self._paint_start(scenery)

    def view(self, corner: Corner) -> Image.Image:
        """Return a new picture of the track alone."""
        left, top = corner
        return self._background.crop((left, top, left + FRAME_SIZE[0], top + FRAME_SIZE[1]))

    def corner(self, middle: NDArray[np.float64]) -> Corner:
        """Return the corner of the view around a place (2,) pixels, moved where it would leave the background."""
        size = np.array(FRAME_SIZE)
        corner = np.round(middle - 0.5 * size).astype(int)
        left, top = np.clip(corner, 0, np.array(self._background.size) - size).tolist()
        return left, top

    def target(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the places (..., 2) pixels that a camera looks at for states (..., 7): a little ahead of the car."""
        ahead = np.stack([np.cos(states[..., YAW]), np.sin(states[..., YAW])], axis=-1)
        return self.pixels(states[..., [X, Y]] + ahead * (_LOOK_AHEAD_S * states[..., [SPEED]]))

    def draw_path(self, ends: NDArray[np.float64], colour: Colour) -> None:
        """Paint a piece of path (2, 2) pixels onto the background, where it stays."""
        box = _box_around(ends, _TRACE_PX)
        with _Closeup(self._background, box, _SMOOTH_TRACE) as closeup:
            points = closeup.points(ends)
            radius = 0.5 * _TRACE_PX * _SMOOTH_TRACE
            closeup.draw.line(points, fill=colour, width=round(2 * radius))
            radius -= 1.0
            for x, y in points:  # round joints
                closeup.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def pixels(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return places in the background, pixels, of places in the world, m; both (..., 2)."""
        return (xy - (self._x0, self._y0)) * (self._scale, -self._scale)

    def _paint_ground(self, edge_px: NDArray[np.float32]) -> Image.Image:
        """Return the background, from the distance to the road's edge in pixels on a coarse grid."""
        size = (edge_px.shape[1] * _COARSE_PX, edge_px.shape[0] * _COARSE_PX)
        fine = np.asarray(Image.fromarray(edge_px).resize(size, Image.Resampling.BICUBIC))
        steps = 8.0  # a pixel
        index = np.clip(fine * steps + 224.0, 0.0, 255.0).astype(np.uint8)
        colours = _ground_colours((np.arange(256, dtype=np.float32) - 224.0) / steps)[index]
        spacing = _GRID_M * self._scale
        for axis, count in enumerate(colours.shape[:2]):
            lines = np.arange(0.0, count, spacing).astype(int)
            colours[(slice(None),) * axis + (lines,)] += 11
        return Image.fromarray(colours)

    def _paint_start(self, scenery: Scenery) -> None:
        """Paint a chequered line across the road where the lap begins."""
        track = scenery.track
        draw = ImageDraw.Draw(self._background)
        yaw = track.pose_at(0.0)[2]
        cell_m, rows = 0.2, 2
        right_m, left_m = track.widths_m
        low, high = -float(right_m[0]), float(left_m[0])
        along, across = np.array([math.cos(yaw), math.sin(yaw)]), np.array([-math.sin(yaw), math.cos(yaw)])
        middle = np.array(track.pose_at(0.0)[:2])
        for i in range(round((high - low) / cell_m)):
            for k in range(rows):
                corner = middle + across * (low + i * cell_m) + along * (k - 0.5 * rows) * cell_m
                square = corner + cell_m * np.array([0.0 * across, across, across + along, along])
                draw.polygon(_points(self.pixels(square)), fill=_PAINT if (i + k) % 2 == 0 else _DARK)

    def draw_beams(
        self,
        picture: Image.Image,
        corner: Corner,
        state: NDArray[np.float64],
        scan: NDArray[np.float32],
        range_m: float,
    ) -> None:
        """Draw the beams (B,) m of a car in a state (7,), each as far as the policy sees, range_m."""
        x, y, yaw = state[[X, Y, YAW]]
        x, y = x + self._car.lidar_x * np.cos(yaw), y + self._car.lidar_x * np.sin(yaw)
        reach = np.minimum(scan, range_m)
        heading = yaw + np.linspace(-0.5 * self._fov_rad, 0.5 * self._fov_rad, len(scan))
        ends = np.stack([x + reach * np.cos(heading), y + reach * np.sin(heading)], axis=1)
        places = self.pixels(np.vstack([[x, y], ends])) - corner
        with _Closeup(picture, _within(_box_around(places, 3.0)), _SMOOTH_BEAMS) as closeup:
            middle, *tips = closeup.points(places)
            closeup.draw.polygon([middle, *tips], fill=(*_BEAM, 22))
            few = len(tips) <= _MOST_LINES
            radius = (2.4 if few else 1.2) * _SMOOTH_BEAMS
            for tip, hit in zip(tips, reach < range_m, strict=True):
                if few:
                    closeup.draw.line([middle, tip], fill=(*_BEAM, 64), width=_SMOOTH_BEAMS)
                if hit:
                    box = (tip[0] - radius, tip[1] - radius, tip[0] + radius, tip[1] + radius)
                    closeup.draw.ellipse(box, fill=(*_HIT, 225))

    def draw_boxes(self, picture: Image.Image, corner: Corner, boxes: NDArray[np.float64]) -> None:
        """Draw the obstacles (k, 4, 2) m of an episode."""
        draw = ImageDraw.Draw(picture)
        for box in boxes:
            places = [(float(x), float(y)) for x, y in self.pixels(box) - corner]
            draw.polygon(places, fill=_BOX, outline=_PAINT)

    def draw_car(
        self, picture: Image.Image, corner: Corner, state: NDArray[np.float64], colour: Colour
    ) -> None:
        """Draw a car in a state (7,), if the view shows any of it."""
        car = self._car
        length, width = 0.5 * car.length, 0.5 * car.width
        place = self.pixels(state[[X, Y]]) - corner
        reach = math.hypot(length, width) * self._scale + 2.0
        if (place < -reach).any() or (place > np.array(FRAME_SIZE) + reach).any():
            return
        box = _within(_box_around(place[None], reach))
        with _Closeup(picture, box, _SMOOTH_CAR) as closeup:

            def part(
                corners: NDArray[np.float64], at: tuple[float, float] = (0.0, 0.0), turn: float = 0.0
            ) -> list[Point]:
                """Place the corners, m, of a part that is turned and put somewhere on the car."""
                on_car = corners @ _rotation(turn) + at
                return closeup.points(place + on_car @ _rotation(state[YAW]) * (self._scale, -self._scale))

            draw = closeup.draw
            for along, angle in ((car.lf, state[STEERING]), (-car.lr, 0.0)):
                for side in (-1.0, 1.0):
                    draw.polygon(
                        part(_rectangle(0.07, 0.03), (along, side * (width - 0.03)), angle), fill=_TYRE
                    )
            nose = 0.45 * length
            body = [
                (length, -0.4),
                (length, 0.4),
                (nose, 0.72),
                (-length, 0.72),
                (-length, -0.72),
                (nose, -0.72),
            ]
            draw.polygon(part(np.array(body) * (1.0, width)), fill=colour)
            draw.polygon(part(_rectangle(0.11, 0.06), (-0.05, 0.0)), fill=_CABIN)
            outline = part(_rectangle(length, width))  # what the simulator takes for the car
            draw.line([*outline, outline[0]], fill=(255, 255, 255, 170), width=_SMOOTH_CAR)


def camera_share(step_s: float) -> float:
    """Return the share of the way to its target that a camera moves in a step."""
    return 1.0 - math.exp(-step_s / _CAMERA_S)


class _Closeup:
    """A part of a picture, enlarged to be drawn on; put back smaller, and so smoother, at the end."""

    def __init__(self, picture: Image.Image, box: Box, factor: int) -> None:
        self._picture, self._box, self._factor = picture, box, factor
        self._small = picture.crop(box)
        size = (self._small.width * factor, self._small.height * factor)
        self._large = self._small.resize(size, Image.Resampling.NEAREST)
        self.draw = ImageDraw.Draw(self._large, "RGBA")

    def __enter__(self) -> _Closeup:  # noqa: PYI034 - Self came with Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self._picture.paste(self._large.reduce(self._factor), self._box[:2])

    def points(self, pixels: NDArray[np.float64]) -> list[Point]:
        """Return the picture's places (n, 2) as places in the close-up."""
        return _points((pixels - self._box[:2]) * self._factor)


def _ground_colours(edge_px: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the colours (n, 3) of places so many pixels inside the road (negative: outside of it)."""
    road = np.clip(edge_px + 0.5, 0.0, 1.0)[:, None]
    line = np.clip(2.0 - np.abs(edge_px), 0.0, 1.0)[:, None]
    glow = np.clip(1.0 + np.minimum(edge_px, 0.0) / 26.0, 0.0, 1.0)[:, None] * (1.0 - road)
    colour = _GROUND + (_ROAD - _GROUND) * road + 22.0 * glow
    colours: NDArray[np.uint8] = (colour + (_EDGE - colour) * line).astype(np.uint8)
    return colours


def _points(places: NDArray[np.float64]) -> list[Point]:
    return [(x, y) for x, y in places.tolist()]


def _box_around(places: NDArray[np.float64], margin: float) -> Box:
    low, high = np.floor(places.min(axis=0) - margin), np.ceil(places.max(axis=0) + margin)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _within(box: Box) -> Box:
    """Return the part of a box that lies in the frame, at least a pixel."""
    left, top = (min(max(box[i], 0), FRAME_SIZE[i] - 1) for i in (0, 1))
    return left, top, min(max(box[2], left + 1), FRAME_SIZE[0]), min(max(box[3], top + 1), FRAME_SIZE[1])


def _rotation(angle_rad: float) -> NDArray[np.float64]:
    """Return the matrix that turns rows (n, 2) by an angle."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[c, s], [-s, c]])


def _rectangle(half_length: float, half_width: float) -> NDArray[np.float64]:
    corners = [(1.0, -1.0), (1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0)]
    return np.array(corners) * (half_length, half_width)
