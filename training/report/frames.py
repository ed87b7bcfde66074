"""One picture of a film, drawn with Pillow: the car and its surroundings over a background made once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from ..sim import Lidar, Vehicle
from ..sim.params import SPEED, STEERING, YAW, X, Y
from .dashboard import Dashboard
from .plots import car_colour, speed_colours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..evaluation.recording import Trace
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
_TRACE_ROWS = 4  # a piece of the trace spans so many physics steps
# With more beams than this only their ends are drawn.
_MOST_LINES = 120

_GROUND, _ROAD, _EDGE = np.array([[17, 20, 26], [45, 50, 61], [196, 203, 216]], dtype=np.float32)
_PAINT, _DARK = (245, 246, 248), (28, 31, 38)
_BEAM, _HIT = (86, 204, 242), (150, 226, 255)
_CABIN, _TYRE, _HURT = (24, 14, 20), (12, 13, 16), (255, 214, 10)

Point = tuple[float, float]
Box = tuple[int, int, int, int]  # left, top, right, bottom


class Painter:
    """Draw the frames of one trace, in its order: what was driven stays on the background."""

    def __init__(self, trace: Trace, scenery: Scenery, title: str, playback: int) -> None:
        self._trace = trace
        left, right, bottom, top = scenery.extent(0.0)
        self._scale = min(SCALE, _LARGEST_BACKGROUND / max(right - left, top - bottom))
        margin_m = 0.5 * max(FRAME_SIZE) / self._scale + 1.0
        x, y, edge_m = scenery.grid(_COARSE_PX / self._scale, margin_m)
        # Pillow takes a pixel's value for its middle.
        half_m = 0.5 * _COARSE_PX / self._scale
        self._x0, self._y0 = float(x[0]) - half_m, float(y[-1]) + half_m
        self._background = self._paint_ground(edge_m[::-1] * np.float32(self._scale))
        self._paint_start(scenery)
        self._places = self._pixels(trace.xy)
        self._corners = self._follow()
        self._colours = speed_colours(trace.states[:, SPEED], (0.0, trace.settings.speed_cap_mps))
        lidar = Lidar(trace.settings.beams)
        self._beam_rad = np.linspace(-0.5 * lidar.fov_rad, 0.5 * lidar.fov_rad, lidar.beams)
        self._dashboard = Dashboard(trace, scenery, title, playback, FRAME_SIZE)
        self._traced = 0

    def frame(self, row: int) -> NDArray[np.uint8]:
        """Return the picture (height, width, 3) of one row of the trace."""
        self._extend_trace(row)
        left, top = self._corners[row]
        picture = self._background.crop((left, top, left + FRAME_SIZE[0], top + FRAME_SIZE[1]))
        self._draw_beams(picture, row)
        self._draw_cars(picture, row)
        self._dashboard.draw(picture, row)
        return np.asarray(picture)

    def _pixels(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
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
        low, high = -float(track.width_right_m[0]), float(track.width_left_m[0])
        along, across = np.array([math.cos(yaw), math.sin(yaw)]), np.array([-math.sin(yaw), math.cos(yaw)])
        middle = np.array(track.pose_at(0.0)[:2])
        for i in range(round((high - low) / cell_m)):
            for k in range(rows):
                corner = middle + across * (low + i * cell_m) + along * (k - 0.5 * rows) * cell_m
                square = corner + cell_m * np.array([0.0 * across, across, across + along, along])
                draw.polygon(_points(self._pixels(square)), fill=_PAINT if (i + k) % 2 == 0 else _DARK)

    def _follow(self) -> list[tuple[int, int]]:
        """Return where each row's picture begins in the background: the car a little ahead, smoothed."""
        trace = self._trace
        ahead = np.stack([np.cos(trace.states[:, YAW]), np.sin(trace.states[:, YAW])], axis=1)
        wanted = self._pixels(trace.xy + ahead * (_LOOK_AHEAD_S * trace.states[:, [SPEED]]))
        share = 1.0 - math.exp(-trace.step_s / _CAMERA_S)
        middle, middles = wanted[0], []
        for target in wanted:
            middle = middle + share * (target - middle)
            middles.append(middle)
        size = np.array(FRAME_SIZE)
        corners = np.round(np.array(middles) - 0.5 * size).astype(int)
        limit = np.array(self._background.size) - size
        return [(left, top) for left, top in np.clip(corners, 0, limit).tolist()]

    def _extend_trace(self, row: int) -> None:
        """Paint the path driven up to this row onto the background, coloured by speed."""
        while self._traced + _TRACE_ROWS <= row:
            begin, self._traced = self._traced, self._traced + _TRACE_ROWS
            ends = self._places[[begin, self._traced]]
            box = _box_around(ends, _TRACE_PX)
            colour = tuple(self._colours[self._traced].tolist())
            with _Closeup(self._background, box, _SMOOTH_TRACE) as closeup:
                points = closeup.points(ends)
                radius = 0.5 * _TRACE_PX * _SMOOTH_TRACE
                closeup.draw.line(points, fill=colour, width=round(2 * radius))
                radius -= 1.0
                for x, y in points:  # round joints
                    closeup.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def _draw_beams(self, picture: Image.Image, row: int) -> None:
        trace = self._trace
        x, y, yaw = trace.states[row, [X, Y, YAW]]
        range_m = trace.settings.scan_range_m
        reach = np.minimum(trace.scans[row], range_m)
        heading = yaw + self._beam_rad
        ends = np.stack([x + reach * np.cos(heading), y + reach * np.sin(heading)], axis=1)
        places = self._pixels(np.vstack([[x, y], ends])) - self._corners[row]
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

    def _draw_cars(self, picture: Image.Image, row: int) -> None:
        trace, rivals = self._trace, self._trace.rivals
        if rivals is not None:
            for i, car in enumerate(rivals.cars):
                if rivals.there[row, i]:
                    self._draw_car(picture, row, rivals.states[row, i], car_colour(car))
        hurt = trace.collided and row == len(trace.time_s) - 1
        self._draw_car(picture, row, trace.states[row], _HURT if hurt else car_colour(trace.car))

    def _draw_car(
        self, picture: Image.Image, row: int, state: NDArray[np.float64], colour: tuple[int, int, int]
    ) -> None:
        car = Vehicle()
        length, width = 0.5 * car.length, 0.5 * car.width
        place = self._pixels(state[[X, Y]]) - self._corners[row]
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
    return (colour + (_EDGE - colour) * line).astype(np.uint8)


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
