"""Drivers as the other cars of a race: car n + 1 of every environment is driven by the n-th of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .registry import driver_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...config import EnvSettings
    from ..race import Race


class Opponents:
    """Drive all cars of a core but the first of each environment."""

    def __init__(self, names: tuple[str, ...], settings: EnvSettings) -> None:
        self.names = names
        self._drivers = {name: driver_of(name, settings) for name in dict.fromkeys(names)}

    def reset(self, where: NDArray[np.bool_] | None = None) -> None:
        """Reset the drivers' state in the chosen environments (E,), in all if None."""
        for driver in self._drivers.values():
            driver.reset(where)

    def act(self, race: Race) -> NDArray[np.float64]:
        """Return actions (E, N, 2) in [-1, 1]; those of the first car are 0, for the caller to fill in."""
        actions = np.zeros((race.num_envs, race.num_cars, 2))
        for name, driver in self._drivers.items():
            cars = [n for n, own in enumerate(self.names, start=1) if own == name]
            actions[:, cars] = race.actions_of(driver.act(race.world))[:, cars]
        return actions
