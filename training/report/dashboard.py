"""The overlay on a film's picture: clock, speed, steering, a small map of the whole track, and the title."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..envs.car import vehicle_of
from ..envs.rendering.canvas import car_colour
from ..sim.params import SPEED, STEERING, X, Y
from .plots import speed_colours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..envs.rendering.scenery import Scenery
    from ..evaluation.recording import Trace

    Colour = tuple[int, ...]
    Box = tuple[int, int, int, int]

_INK, _SOFT, _DIM = (245, 246, 248), (168, 176, 190), (70, 77, 91)
_PANEL = (10, 12, 16, 205)
_STEER, _GOOD, _BAD = (86, 204, 242), (94, 226, 160), (255, 107, 107)
_MARGIN = 16
_CLOCK = (_MARGIN, _MARGIN, 226, 108)  # left, top, right, bottom
_DIAL_PANEL, _STEER_PANEL = (_MARGIN, 374, 166, 524), (176, 458, 416, 524)
_DIAL_PX = 118  # across the dial's circle
_DIAL_AT = (_DIAL_PANEL[0] + 16, _DIAL_PANEL[1] + 10)
_DIAL_FROM, _DIAL_TO = 150.0, 390.0  # degrees clockwise from the right, as Pillow counts
_SMOOTH = 3
_MAP_BOX = (190, 150)
_SPACE_PX = 1  # between letters
_LEGEND_PX = (210, 22)  # of the cars of a race: its width, a row's height
_MOST_NAMES, _LONGEST_NAME = 8, 20


class _Letters:
    """Write text in one font quickly: a letter is rendered once."""

    def __init__(self, name: str, size: int) -> None:
        folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
        self._font = ImageFont.truetype(str(folder / name), size)
        self._cache: dict[str, tuple[Image.Image, int]] = {}
        self._height = sum(self._font.getmetrics())

    def write(
        self, picture: Image.Image, at: tuple[float, float], text: str, colour: Colour, anchor: float = 0.0
    ) -> None:
        """Draw text with its top at a place; anchor: the share of its width to the left of that place."""
        letters = [self._letter(letter) for letter in text]
        x = round(at[0] - anchor * sum(width for _, width in letters))
        for mask, width in letters:
            picture.paste(colour, (x, round(at[1])), mask)
            x += width

    def _letter(self, letter: str) -> tuple[Image.Image, int]:
        found = self._cache.get(letter)
        if found is None:
            width = round(self._font.getlength(letter))
            mask = Image.new("L", (width + _SPACE_PX, self._height), 0)
            ImageDraw.Draw(mask).text((0, 0), letter, font=self._font, fill=255)
            found = self._cache[letter] = (mask, width)
        return found


class Dashboard:
    """Draw the overlay of one trace on pictures of 960 x 540: still parts once, the rest in every frame."""

    def __init__(
        self, trace: Trace, scenery: Scenery, title: str, playback: int, size: tuple[int, int]
    ) -> None:
        self._trace, self._size = trace, size
        self._cap_mps = trace.settings.speed_cap_mps
        car = vehicle_of(trace.settings)
        self._largest_rad = max(-car.s_min, car.s_max)
        self._small = _Letters("DejaVuSans.ttf", 13)
        self._medium, self._large = (_Letters("DejaVuSans-Bold.ttf", size_px) for size_px in (17, 32))
        self._map_at, self._map_places = self._place_map(scenery)
        self._still = self._draw_still(scenery, title, playback)

    def draw(self, picture: Image.Image, row: int) -> None:
        """Draw the instruments for one row of the trace onto a picture."""
        for panel, box in self._still:
            picture.paste(panel, box[:2], panel)
        self._draw_clock(picture, row)
        self._draw_dial(picture, row)
        self._draw_steering(picture, row)
        self._draw_place(picture, row)

    def _place_map(self, scenery: Scenery) -> tuple[Box, NDArray[np.float64]]:
        """Return the small map's rectangle, and where in the picture each row of the trace is."""
        left, right, bottom, top = scenery.extent(1.0)
        self._map_scale = min(_MAP_BOX[0] / (right - left), _MAP_BOX[1] / (top - bottom))
        width, height = (math.ceil(self._map_scale * span) for span in (right - left, top - bottom))
        x0, y0 = self._size[0] - _MARGIN - 8 - width, _MARGIN + 8
        self._map_from = np.array([left, top])
        self._map_corner = np.array([x0, y0])
        places = self._on_map(self._trace.xy)
        return (x0, y0, x0 + width, y0 + height), places

    def _on_map(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where in the picture the small map shows places (..., 2) m."""
        return (xy - self._map_from) * (self._map_scale, -self._map_scale) + self._map_corner

    def _draw_still(self, scenery: Scenery, title: str, playback: int) -> list[tuple[Image.Image, Box]]:
        """Return the constant part: the panels with their places."""
        still = Image.new("RGBA", self._size, (0, 0, 0, 0))
        draw = ImageDraw.Draw(still)
        left, top, right, bottom = self._map_at
        panels = (_CLOCK, _DIAL_PANEL, _STEER_PANEL, (left - 8, top - 8, right + 8, bottom + 8))
        for box in panels:
            draw.rounded_rectangle((*box[:2], box[2] - 1, box[3] - 1), 12, fill=_PANEL)
        if self._trace.rivals is not None:
            panels = (*panels, self._draw_legend(still, self._trace.rivals.names))
        still.alpha_composite(self._small_map(scenery), (left, top))
        still.alpha_composite(_empty_dial(), _DIAL_AT)
        pace = f"  {playback}× speed" if playback > 1 else ""
        words = (
            (_CLOCK[0] + 14, _CLOCK[1] + 10, title + pace, 0.0),
            (_STEER_PANEL[0] + 20, _STEER_PANEL[1] + 10, "steering", 0.0),
            (_DIAL_AT[0] + _DIAL_PX // 2, _DIAL_AT[1] + 79, "m/s", 0.5),
            (_DIAL_AT[0] + 14, _DIAL_AT[1] + 100, "0", 0.5),
            (_DIAL_AT[0] + _DIAL_PX - 14, _DIAL_AT[1] + 100, f"{self._cap_mps:g}", 0.5),
        )
        for x, y, text, anchor in words:
            self._small.write(still, (x, y), text, (*_SOFT, 255), anchor)
        return [(still.crop(box), box) for box in panels]

    def _draw_legend(self, still: Image.Image, names: Sequence[str]) -> Box:
        """Draw the legend of the cars' colours in the free corner; return the panel's box."""
        width, step = _LEGEND_PX
        right, bottom = self._size[0] - _MARGIN, self._size[1] - _MARGIN
        shown = names[:_MOST_NAMES]
        box = (right - width, bottom - 16 - step * len(shown), right, bottom)
        draw = ImageDraw.Draw(still)
        draw.rounded_rectangle((*box[:2], right - 1, bottom - 1), 12, fill=_PANEL)
        for i, name in enumerate(shown):
            top = box[1] + 8 + step * i
            draw.rounded_rectangle((box[0] + 14, top + 4, box[0] + 32, top + 16), 3, fill=car_colour(i))
            words = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
            self._small.write(still, (box[0] + 42, top + 2), words, (*_INK, 255))
        return box

    def _small_map(self, scenery: Scenery) -> Image.Image:
        """Return the whole track's road, smooth-edged."""
        left, top, right, bottom = self._map_at
        west, _, _, north = scenery.extent(1.0)
        x = west + (np.arange(right - left) + 0.5) / self._map_scale
        y = north - (np.arange(bottom - top) + 0.5) / self._map_scale
        edge_px = scenery.edge_at(x[None, :], y[:, None]) * self._map_scale
        picture = np.empty((bottom - top, right - left, 4), dtype=np.uint8)
        picture[..., :3] = (98, 106, 122)
        picture[..., 3] = (255 * np.clip(edge_px + 1.2, 0.0, 1.0)).astype(
            np.uint8
        )  # a thin road stays visible
        return Image.fromarray(picture)

    def _draw_clock(self, picture: Image.Image, row: int) -> None:
        trace, last = self._trace, len(self._trace.time_s) - 1
        over, lapped = row == last, trace.lap_s is not None
        time_s = trace.lap_s if over and trace.lap_s is not None else float(trace.time_s[row])
        colour = _INK if not over else _GOOD if lapped else _BAD
        done = "s  lap" if trace.rivals is None else "s  won"
        word = "s" if not over else done if lapped else "s  crash" if trace.collided else "s  end"
        left, top = _CLOCK[:2]
        self._large.write(picture, (left + 118, top + 28), f"{time_s:.2f}", colour, 1.0)
        self._medium.write(picture, (left + 124, top + 42), word, colour)
        draw = ImageDraw.Draw(picture)
        draw.rounded_rectangle((left + 14, top + 76, left + 196, top + 81), 2, fill=_DIM)
        end = left + 19 + round(177 * row / max(last, 1))
        draw.rounded_rectangle((left + 14, top + 76, end, top + 81), 2, fill=colour)

    def _draw_dial(self, picture: Image.Image, row: int) -> None:
        speed = float(self._trace.states[row, SPEED])
        share = min(max(speed / self._cap_mps, 0.0), 1.0)
        colour = tuple(speed_colours(np.array([speed]), (0.0, self._cap_mps))[0].tolist())
        end = max(_DIAL_FROM + share * (_DIAL_TO - _DIAL_FROM), _DIAL_FROM + 1.0)
        picture.paste(colour, _DIAL_AT, _arc(end))
        middle = _DIAL_AT[0] + _DIAL_PX // 2
        self._large.write(picture, (middle, _DIAL_AT[1] + 38), f"{speed:.1f}", _INK, 0.5)

    def _draw_steering(self, picture: Image.Image, row: int) -> None:
        """Draw the wheels' angle as a bar from the middle, and the commanded one as a mark."""
        draw = ImageDraw.Draw(picture)
        middle, top, half = (_STEER_PANEL[0] + _STEER_PANEL[2]) // 2, _STEER_PANEL[1] + 42, 100
        draw.rounded_rectangle((middle - half, top, middle + half, top + 10), 5, fill=_DIM)
        angle_rad = float(self._trace.states[row, STEERING])
        # A positive angle turns left, and left it is drawn.
        actual, wanted = (
            middle - half * min(max(angle / self._largest_rad, -1.0), 1.0)
            for angle in (angle_rad, float(self._trace.commands[row, 0]))
        )
        draw.rectangle((min(middle, actual), top, max(middle, actual), top + 10), fill=_STEER)
        draw.rectangle((middle - 1, top - 3, middle + 1, top + 13), fill=_SOFT)
        draw.polygon([(wanted, top - 1), (wanted - 5, top - 9), (wanted + 5, top - 9)], fill=_INK)
        degrees = round(math.degrees(angle_rad))
        side = " left" if degrees > 0 else " right" if degrees < 0 else ""
        at = (middle + half, _STEER_PANEL[1] + 10)
        self._small.write(picture, at, f"{abs(degrees)}°{side}", _INK, 1.0)

    def _draw_place(self, picture: Image.Image, row: int) -> None:
        draw = ImageDraw.Draw(picture)
        rivals = self._trace.rivals
        for i, car in enumerate(() if rivals is None else rivals.cars):
            if rivals.there[row, i]:
                _dot(draw, self._on_map(rivals.states[row, i, [X, Y]]), 3.5, car_colour(car))
        _dot(draw, self._map_places[row], 5.0, (255, 255, 255))
        _dot(draw, self._map_places[row], 3.5, car_colour(self._trace.car))


def _dot(draw: ImageDraw.ImageDraw, at: NDArray[np.float64], radius: float, colour: Colour) -> None:
    x, y = at.tolist()
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _arc(end_deg: float) -> Image.Image:
    """Return a mask of the dial's arc up to an angle, smooth-edged."""
    side = _DIAL_PX * _SMOOTH
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).arc((0, 0, side - 1, side - 1), _DIAL_FROM, end_deg, fill=255, width=10 * _SMOOTH)
    return mask.reduce(_SMOOTH)


def _empty_dial() -> Image.Image:
    """Return the speed dial without its reading."""
    dial = Image.new("RGBA", (_DIAL_PX, _DIAL_PX), (*_DIM, 0))
    dial.putalpha(_arc(_DIAL_TO))
    return dial
