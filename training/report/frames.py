"""One picture of a film: the car and its surroundings, the path that was driven, and the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..envs.rendering.canvas import CRASHED, FRAME_SIZE, Canvas, Corner, camera_share, car_colour
from ..sim.params import SPEED
from .dashboard import Dashboard
from .plots import speed_colours

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from ..envs.rendering.scenery import Scenery
    from ..evaluation.recording import Trace

_TRACE_ROWS = 4  # a piece of the path spans so many physics steps


class Painter:
    """Draw the frames of one trace, in its order: what was driven stays on the background."""

    def __init__(self, trace: Trace, scenery: Scenery, title: str, playback: int) -> None:
        self._trace, self._canvas = trace, Canvas(scenery, trace.settings)
        self._places = self._canvas.pixels(trace.xy)
        self._corners = self._follow()
        self._colours = speed_colours(trace.states[:, SPEED], (0.0, trace.settings.speed_cap_mps))
        self._dashboard = Dashboard(trace, scenery, title, playback, FRAME_SIZE)
        self._traced = 0

    def frame(self, row: int) -> NDArray[np.uint8]:
        """Return the picture (height, width, 3) of one row of the trace."""
        trace, corner = self._trace, self._corners[row]
        self._extend_path(row)
        picture = self._canvas.view(corner)
        self._canvas.draw_beams(
            picture, corner, trace.states[row], trace.scans[row], trace.settings.scan_range_m
        )
        self._draw_cars(picture, corner, row)
        self._dashboard.draw(picture, row)
        return np.asarray(picture)

    def _follow(self) -> list[Corner]:
        """Return where each row's picture begins in the background: the car a little ahead, smoothed."""
        wanted, share = self._canvas.target(self._trace.states), camera_share(self._trace.step_s)
        middle, corners = wanted[0], []
        for target in wanted:
            middle = middle + share * (target - middle)
            corners.append(self._canvas.corner(middle))
        return corners

    def _extend_path(self, row: int) -> None:
        """Paint the path driven up to this row onto the background, coloured by speed."""
        while self._traced + _TRACE_ROWS <= row:
            begin, self._traced = self._traced, self._traced + _TRACE_ROWS
            red, green, blue = self._colours[self._traced].tolist()
            self._canvas.draw_path(self._places[[begin, self._traced]], (red, green, blue))

    def _draw_cars(self, picture: Image.Image, corner: Corner, row: int) -> None:
        trace, rivals = self._trace, self._trace.rivals
        if rivals is not None:
            for i, car in enumerate(rivals.cars):
                if rivals.there[row, i]:
                    self._canvas.draw_car(picture, corner, rivals.states[row, i], car_colour(car))
        crashed = trace.collided and row == len(trace.time_s) - 1
        colour = CRASHED if crashed else car_colour(trace.car)
        self._canvas.draw_car(picture, corner, trace.states[row], colour)
