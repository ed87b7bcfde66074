"""What `render()` of an environment returns or shows: its first race, by a camera that follows one car."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from PIL import ImageDraw, ImageFont

from ...process import program
from ...sim.params import SPEED
from .canvas import CRASHED, FRAME_SIZE, Canvas, camera_share, car_colour
from .scenery import Scenery

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..race import Race

RENDER_MODES = ("human", "rgb_array")
_INK, _MARGIN_PX, _TEXT_PX = (245, 246, 248), 16, 18


def check_render_mode(mode: str | None) -> str | None:
    """Return the mode.

    Raises:
        ValueError: there is no such mode.

    """
    if mode is not None and mode not in RENDER_MODES:
        raise ValueError(
            f"render_mode = {mode!r} is unknown; choose one of {', '.join(RENDER_MODES)}, or None"
        )
    return mode


class RaceView:
    """Draw the first race of a core, following one of its cars."""

    def __init__(self, race: Race, car: int = 0) -> None:
        self.race, self.car = race, car
        self._middle: NDArray[np.float64] | None = None

    def cut(self) -> None:
        """Let the camera jump to the car in the next frame: a new episode begins elsewhere."""
        self._middle = None

    def frame(self) -> NDArray[np.uint8]:
        """Return the picture (height, width, 3) of this moment."""
        race, car = self.race, self.car
        states, scan = race.world.states[0], race.world.scans[0, car].astype(np.float32)
        target = self._canvas.target(states[car])
        if self._middle is None:
            self._middle = target
        self._middle = self._middle + camera_share(race.decision_s) * (target - self._middle)
        corner = self._canvas.corner(self._middle)
        picture = self._canvas.view(corner)
        self._canvas.draw_boxes(picture, corner, race.world.obstacles[0])
        self._canvas.draw_beams(picture, corner, states[car], scan, race.settings.scan_range_m)
        for n in (*(n for n in range(race.num_cars) if n != car), car):
            if race.active[0, n] or n == car:
                crashed = n == car and bool(race.world.collisions[0, n])
                self._canvas.draw_car(picture, corner, states[n], CRASHED if crashed else car_colour(n))
        text = (
            f"{states[car, SPEED]:.1f} m/s   lap {race.laps.done[0, car] + 1}   {race.world.time_s[0]:.1f} s"
        )
        ImageDraw.Draw(picture).text((_MARGIN_PX, _MARGIN_PX), text, fill=_INK, font=self._font)
        return np.asarray(picture)

    @cached_property
    def _canvas(self) -> Canvas:
        return Canvas(Scenery(self.race.world.tracks[0]), self.race.settings)

    @cached_property
    def _font(self) -> Any:  # noqa: ANN401 - ImageFont's two kinds
        return ImageFont.load_default(_TEXT_PX)


class Renderer:
    """Render an environment in the mode it was made with; does nothing without one."""

    def __init__(self, mode: str | None) -> None:
        self._mode = check_render_mode(mode)
        self._view: RaceView | None = None
        self._window: _Window | None = None

    def begin(self, race: Race) -> None:
        """Take the race that an episode begins; shows it in mode human."""
        if self._mode is None:
            return
        if self._view is None:
            self._view = RaceView(race)
        self._view.race = race
        self._view.cut()
        self.show()

    def show(self) -> None:
        """Show this moment in the window, in mode human; returns when it is time for the next one."""
        if self._mode == "human" and self._view is not None:
            if self._window is None:
                self._window = _Window(1.0 / self._view.race.decision_s)
            self._window.show(self._view.frame())

    def frame(self) -> NDArray[np.uint8] | None:
        """Return the picture of this moment in mode rgb_array, before the first reset too; else None."""
        return self._view.frame() if self._mode == "rgb_array" and self._view is not None else None

    def close(self) -> None:
        """Close the window."""
        if self._window is not None:
            self._window.close()
            self._window = None


class _Window:
    """A window of pygame, at so many frames per second. Once its user closes it, frames go nowhere."""

    def __init__(self, fps: float) -> None:
        try:
            import pygame  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise DependencyNotInstalled(
                f'render_mode="human" needs pygame. Install it: {program.install_command("pygame")}'
            ) from error
        self._pygame, self._fps = pygame, fps
        pygame.display.init()
        pygame.display.set_caption("F1TENTH")
        self._surface: Any = pygame.display.set_mode(FRAME_SIZE)
        self._clock = pygame.time.Clock()

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show a picture (height, width, 3), then wait until it has stood for its time."""
        if self._surface is None:
            return
        if any(event.type == self._pygame.QUIT for event in self._pygame.event.get()):
            self.close()
            return
        self._pygame.surfarray.blit_array(self._surface, np.swapaxes(frame, 0, 1))
        self._pygame.display.flip()
        self._clock.tick(self._fps)

    def close(self) -> None:
        """Close the window for good."""
        if self._surface is not None:
            self._surface = None
            self._pygame.display.quit()
