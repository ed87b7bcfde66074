"""What a step costs on each model of tyres, and with every fault.

    make bench ARGS="-k bench_tyres"

One thread, 64 environments that drive round their track by pure pursuit's commands, one scan in ten physics steps as in
training.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.bench.measuring import in_turns
from training.config import EnvSettings
from training.config.randomisation import randomisation_of
from training.envs.drivers.registry import make_driver
from training.envs.race import ranges_of
from training.sim import Switches, Track, World
from training.sim.params import PROFILES
from training.sim.world import set_threads

ENVS, DECISIONS, REPEAT = 64, 10, 10
LINEAR = PROFILES["training"]
SLIPPING = LINEAR._replace(slipping_tyres=True)
CARS = {
    "linear": (LINEAR, EnvSettings()),
    "lateral circle": (LINEAR._replace(tyre_saturation=True), EnvSettings()),
    "saturating": (SLIPPING, EnvSettings()),
    # Every fault, and each at the strength that the preset draws.
    "saturating, robust": (SLIPPING, EnvSettings(randomisation=randomisation_of("robust"))),
}


def driving(track: Track, switches: Switches, settings: EnvSettings, beams: int) -> Callable[[], int]:
    """Return work that drives slowly on one thread and counts physics steps."""
    world = World(track, ENVS, beams=beams, switches=switches, randomisation=ranges_of(settings))
    driver = make_driver("pure_pursuit", 3.0)
    poses = np.array([[track.pose_at(e * track.length_m / ENVS)] for e in range(ENVS)])

    def work() -> int:
        set_threads(1)
        world.reset(poses)
        for _ in range(DECISIONS):
            world.step(driver.act(world), REPEAT)
        return DECISIONS * REPEAT * ENVS

    return work


@pytest.mark.bench
@pytest.mark.parametrize("beams", [108, 1080])
def test_steps_on_each_model_of_tyres(beams: int, record_speeds: Callable[..., None]) -> None:
    track = Track.generate(5)
    works = {
        f"{name}, {beams} beams": driving(track, switches, settings, beams)
        for name, (switches, settings) in CARS.items()
    }
    record_speeds("tyres", in_turns(works), peers=[f"linear, {beams} beams"])
    set_threads(2)
