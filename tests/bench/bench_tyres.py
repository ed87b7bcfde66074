"""What a step costs on each model of tyres.

    make bench ARGS="-k bench_tyres"

One thread, 64 environments that drive round their track by pure pursuit's commands, one scan in ten physics steps as in
training.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.bench.measuring import in_turns
from training.envs.drivers.registry import make_driver
from training.sim import Switches, Track, World
from training.sim.params import PROFILES
from training.sim.world import set_threads

ENVS, DECISIONS, REPEAT = 64, 10, 10
LINEAR = PROFILES["training"]
TYRES = {
    "linear": LINEAR,
    "lateral circle": LINEAR._replace(tyre_saturation=True),
    "saturating": LINEAR._replace(slipping_tyres=True),
}


def driving(track: Track, switches: Switches, beams: int) -> Callable[[], int]:
    """Return work that drives slowly on one thread and counts physics steps."""
    world, driver = World(track, ENVS, beams=beams, switches=switches), make_driver("pure_pursuit", 3.0)
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
    works = {f"{name}, {beams} beams": driving(track, switches, beams) for name, switches in TYRES.items()}
    record_speeds("tyres", in_turns(works), peers=[f"linear, {beams} beams"])
    set_threads(2)
