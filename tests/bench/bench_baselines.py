"""The baseline drivers on tyres that slip, on the real circuits: completed drives and lap times, without any policy.

    .venv/bin/python -m training tracks fetch
    make bench ARGS="-k bench_baselines"

Ten standing starts, two laps, 8 m/s cap, at 25 Hz and at 10 Hz; times are means of second laps, s. TUM: the lap time
that f1tenth_racetracks' racing line has by its own speeds. Point mass: on our racing line, at the vehicle's limits.
With F1TENTH_BENCHMARKS_MAPS=DIR also aut, esp, gbr and mco of f1tenth_benchmarks' folder maps/, with the first laps.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from training.config import EnvSettings
from training.envs.drivers.grip_profile import point_mass_lap_s
from training.envs.drivers.grip_pursuit import racing_shape
from training.envs.drivers.registry import DRIVERS, driver_of
from training.envs.drivers.smooth_line import smooth_line
from training.evaluation.baselines import DriverController
from training.evaluation.lap_evaluation import Drive, evaluate
from training.evaluation.tum_racelines import raceline_of
from training.sim import Track, Vehicle
from training.sim.track import catalog
from training.sim.track.names import CIRCUITS

STARTS, LAPS = 10, 2
BENCHMARKS = ("aut", "esp", "gbr", "mco")
MAPS_VARIABLE = "F1TENTH_BENCHMARKS_MAPS"
# First laps of the racing line at 25 Hz, at most.
FIRST_LAPS_S = {"aut": 17.8, "esp": 36.5, "gbr": 32.5, "mco": 31.0}


def settings(repeat: int) -> EnvSettings:
    return EnvSettings(tyres="saturating", action_repeat=repeat, beams=108)


def driven(name: str, tracks: list[Track], repeat: int) -> dict[str, list[Drive]]:
    chosen = settings(repeat)
    controller = DriverController(driver_of(name, chosen))
    drives = evaluate(controller, chosen, tracks, starts=STARTS, laps=LAPS, seed=7)
    return {track.name: [one for one in drives if one.track == track.name] for track in tracks}


def mean_lap_s(drives: list[Drive], lap: int) -> float:
    times = [one.lap_s[lap] for one in drives if len(one.lap_s) > lap]
    return float(np.mean(times)) if times else float("nan")


def completed(drives: list[Drive]) -> int:
    return sum(one.completed for one in drives)


@pytest.mark.bench
@pytest.mark.parametrize("repeat", [4, 10], ids=["25 Hz", "10 Hz"])
def test_the_baselines_hold_the_road_on_the_circuits(repeat: int, record_bench) -> None:
    fetched = [name for name in CIRCUITS if name in catalog.fetched_names()]
    if len(fetched) < len(CIRCUITS):
        pytest.skip("needs the circuits: .venv/bin/python -m training tracks fetch")
    tracks = [Track.load(name) for name in CIRCUITS]
    by_driver = {name: driven(name, tracks, repeat) for name in DRIVERS}
    ratios = []
    for track in tracks:
        line = raceline_of(track)
        row: dict[str, object] = {"track": track.name, "hertz": 100 // repeat}
        for name in ("racing_line", "pure_pursuit", "follow_the_gap"):
            drives = by_driver[name][track.name]
            row[name] = f"{completed(drives)}/{STARTS}"
            row[f"{name} s"] = round(mean_lap_s(drives, 1), 2)
        row["TUM s"] = None if line is None else round(line.lap_s, 2)
        bound_s = point_mass_lap_s(smooth_line(track, racing_shape(Vehicle())), Vehicle(), 8.0)
        row["point mass s"] = round(bound_s, 2)
        record_bench("baselines on circuits", row)
        if line is not None:
            ratios.append(mean_lap_s(by_driver["racing_line"][track.name], 1) / line.lap_s)
        # A driver that completes no lap has no time.
        assert bound_s < np.nanmin([mean_lap_s(drives[track.name], 1) for drives in by_driver.values()])
    whole = {
        name: sum(completed(drives) == STARTS for drives in tracks_driven.values())
        for name, tracks_driven in by_driver.items()
    }
    record_bench(
        "baselines on circuits, whole",
        {
            "hertz": 100 // repeat,
            **whole,
            "of TUM": round(float(np.mean(ratios)), 4),
            "most": round(max(ratios), 4),
        },
    )
    assert whole["racing_line"] >= (23 if repeat == 4 else 22)
    assert whole["follow_the_gap"] >= 18
    assert np.mean(ratios) <= 1.0
    assert max(ratios) <= 1.11


@pytest.mark.bench
@pytest.mark.parametrize("repeat", [4, 10], ids=["25 Hz", "10 Hz"])
def test_the_racing_line_holds_the_road_on_the_maps_of_f1tenth_benchmarks(repeat: int, record_bench) -> None:
    folder = os.environ.get(MAPS_VARIABLE)
    if folder is None:
        pytest.skip(f"needs {MAPS_VARIABLE}, the folder maps/ of f1tenth_benchmarks")
    tracks = [Track.load(Path(folder) / f"{name}.yaml") for name in BENCHMARKS]
    by_driver = {name: driven(name, tracks, repeat) for name in DRIVERS}
    for track in tracks:
        row: dict[str, object] = {"track": track.name, "hertz": 100 // repeat}
        for name, drives in by_driver.items():
            row[name] = f"{completed(drives[track.name])}/{STARTS}"
            row[f"{name} first s"] = round(mean_lap_s(drives[track.name], 0), 2)
        record_bench("baselines on f1tenth_benchmarks", row)
        assert completed(by_driver["racing_line"][track.name]) == STARTS
        if repeat == 4:
            assert mean_lap_s(by_driver["racing_line"][track.name], 0) <= FIRST_LAPS_S[track.name]
