"""The baseline drivers' laps: follow-the-gap, pure pursuit on the centreline and on the racing line.

    make bench ARGS="-k bench_drivers"

Ten standing starts each on Track.generate(1), (1001), (1002), (2001) and (2002) (120 m, half width 1.1 m, minimum
radius 2 m) and on the recordings' track, 8 m/s cap, at 10 Hz with 20 beams and at 25 Hz with 108. Mean speeds are
along the centreline and include the standing start; lap times are those of second laps.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from training.config import EnvSettings
from training.envs.drivers.registry import DRIVERS, make_driver
from training.evaluation.lap_evaluation import evaluate
from training.sim import Track, World

RECORDED = Path(__file__).parents[1] / "parity" / "recordings" / "a_track.npz"
STARTS, LAPS = 10, 2
FLOOR_MPS = 5.0
COST = 0.7  # at most, of the steps that a driver decides on


def tracks() -> list[Track]:
    made = [
        Track.generate(seed, length_m=120.0, half_width_m=1.1, min_radius_m=2.0)
        for seed in (1, 1001, 1002, 2001, 2002)
    ]
    with np.load(RECORDED) as arrays:
        parts = (arrays["occupancy"], float(arrays["resolution"]), arrays["origin"], arrays["centerline"])
    return [*made, Track.from_occupancy(*parts, name="recorded")]


@pytest.mark.bench
@pytest.mark.parametrize("env", [{"action_repeat": 10, "beams": 20}, {"action_repeat": 4, "beams": 108}])
@pytest.mark.parametrize("name", DRIVERS)
def test_drivers_complete_every_lap_above_five_metres_a_second(name, env, record_bench) -> None:
    driver = make_driver(name)
    drives = evaluate(
        lambda race, _observations: race.actions_of(driver.act(race.world)),
        EnvSettings(**env),
        tracks(),
        starts=STARTS,
        laps=LAPS,
        seed=7,
    )
    row: dict[str, object] = {"driver": name, "hertz": 100 // env["action_repeat"], "beams": env["beams"]}
    for track in tracks():
        here = [d for d in drives if d.track == track.name]
        row[track.name] = f"{sum(d.completed for d in here)}/{STARTS}"
        row[f"{track.name} m/s"] = round(float(np.mean([d.mean_speed_mps for d in here])), 2)
        row[f"{track.name} lap s"] = round(float(np.median([d.lap_s[1] for d in here if d.completed])), 2)
    record_bench("drivers", row)
    assert all(d.completed for d in drives)
    assert min(d.mean_speed_mps for d in drives) >= FLOOR_MPS


@pytest.mark.bench
@pytest.mark.parametrize("name", DRIVERS)
def test_drivers_cost_little_beside_the_simulator(name, record_bench, record_speeds) -> None:
    """A decision of 10 physics steps, 256 cars, 20 beams: the driver's time beside the simulator's."""
    track = tracks()[0]
    world = World(track, 256, beams=20)
    world.reset([[track.pose_at(s)] for s in np.linspace(0.0, track.length_m, 256, endpoint=False)])
    driver = make_driver(name)
    asking, stepping = [], []
    for _ in range(30):
        begin = time.perf_counter()
        commands = driver.act(world)
        between = time.perf_counter()
        world.step(commands, 10)
        asking.append(between - begin)
        stepping.append(time.perf_counter() - between)
    per_car_us = 1e6 * float(np.median(asking)) / 256
    share = float(np.median(asking) / np.median(stepping))
    record_bench(
        "drivers' cost", {"driver": name, "us a car": round(per_car_us, 2), "of a step": round(share, 3)}
    )
    # Decisions and decisions' physics a second, of all cars.
    decides, drives = f"{name} decides", f"10 steps after {name}"
    speeds = {decides: 256 / float(np.median(asking)), drives: 256 / float(np.median(stepping))}
    record_speeds("drivers' cost", speeds, peers=[drives], goals={decides: {drives: 1 / COST}})
    assert share < COST
