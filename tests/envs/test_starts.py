"""Starts: no drawn pose touches a wall, whatever stands beside the line; where all are clear nothing else is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from tests.sim.cluttered import cluttered, pinched, ring
from training.config import EnvSettings, RaceSettings
from training.envs.grid import start_grid
from training.envs.race import Race
from training.errors import DataError
from training.evaluation.lap_evaluation import evaluate
from training.sim import Track
from training.sim.clearance import tight_places

GRIDS = ("single_file", "side_by_side", "either")


def races(tracks: list[Track], cars: int, grid: str, *, random_starts: bool, seed: int = 0) -> Race:
    settings = EnvSettings(
        beams=4, num_envs=len(tracks), random_starts=random_starts, race=RaceSettings(grid=grid)
    )
    return Race(settings, tracks, len(tracks), cars, seed=seed)


def start_often(tracks: list[Track], rounds: int, seed: int = 0) -> tuple[int, int]:
    """Start 1 to 8 cars on every grid, rounds times; return how many starts there were, and how many were moved."""
    starts = moved = 0
    for grid in GRIDS:
        for cars in range(1, 9):
            race = races(tracks, cars, grid, random_starts=True, seed=seed)
            fixed = races(tracks, cars, grid, random_starts=False, seed=seed)
            for one, times in ((race, rounds), (fixed, 1)):
                everybody = np.ones((len(tracks), cars), dtype=np.bool_)
                for _ in range(times):
                    before = [generator.bit_generator.state for generator in one._rng]
                    one.reset()
                    drawn = [
                        start_grid(one.settings, t, cars, again(s))
                        for t, s in zip(tracks, before, strict=True)
                    ]
                    moved += int((one.world.states[..., [0, 1, 4]] != np.array(drawn)).any(axis=2).sum())
                    one.world.step(np.zeros((len(tracks), cars, 2)))
                    assert not (one.world.collisions & everybody).any(), (
                        "a car starts against a wall or another"
                    )
                    starts += everybody.size
    return starts, moved


def again(state: dict) -> np.random.Generator:
    """Return a generator in a saved state."""
    generator = np.random.default_rng()
    generator.bit_generator.state = state
    return generator


def test_no_car_starts_against_a_pole_a_gate_or_the_corner_of_a_box() -> None:
    """One car and eight, on all grids: a tenth of the drawn poses touch something, and all of these are moved."""
    starts, moved = start_often([cluttered(seed) for seed in range(2)], rounds=6)
    assert starts == 2 * 36 * 3 * 7
    assert moved > 0.02 * starts


@pytest.mark.torture
def test_a_million_starts_on_fifty_cluttered_maps_end_no_run() -> None:
    starts, moved = start_often([cluttered(seed) for seed in range(50)], rounds=185)
    assert starts >= 1_000_000
    assert moved >= 50_000


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("cars", [1, 3])
def test_on_healthy_tracks_the_draws_are_those_of_before(grid: str, cars: int) -> None:
    """An exact resume of an old run: the same poses, and not one number more from the generator."""
    tracks = [Track.load(name) for name in ("kart", "street", "generated-5-r0.7", "generated-22-w0.7-r0.7")]
    race = races(tracks, cars, grid, random_starts=True, seed=4)
    plain = [np.random.default_rng([4, e]) for e in range(len(tracks))]
    for _ in range(20):
        race.reset()
        drawn = [start_grid(race.settings, t, cars, g) for t, g in zip(tracks, plain, strict=True)]
        np.testing.assert_array_equal(race.world.states[..., [0, 1, 4]], drawn)
    assert [g.bit_generator.state for g in race._rng] == [g.bit_generator.state for g in plain]


def test_a_crashed_car_is_put_back_clear_of_walls_and_of_the_cars_that_race_on() -> None:
    settings = EnvSettings(beams=4, num_envs=4, race=RaceSettings(after_crash="restart"))
    race = Race(settings, [cluttered(3)], 4, 4, seed=2)
    race.reset()
    put_back = 0
    for _ in range(150):
        outcome = race.step(np.tile([1.0, 0.2], (4, 4, 1)))
        put_back += int(outcome.terminated.sum())
        race.clear_crashed(outcome)  # raised ValueError where the new place touched a wall
    assert put_back > 100


def test_a_track_without_room_for_a_start_is_an_error_that_names_track_and_place() -> None:
    race = races([ring(0.12)], 1, "either", random_starts=True)
    with pytest.raises(
        DataError, match=r"track pipe: no car can start at \(-?\d.*\) m, .* m from the start"
    ) as raised:
        race.reset()
    assert "tracks check pipe" in raised.value.next_step


def test_where_the_body_fits_nowhere_near_the_start_it_stands_where_it_does() -> None:
    """A run of before that goes on, or `evaluate` on any map: one place of the line is too narrow, others are not."""
    narrow = pinched()
    places = tight_places(narrow)
    assert places
    assert all(np.hypot(place.x_m - 6.0, place.y_m) < 1.2 for place in places)
    race = races([narrow], 1, "single_file", random_starts=False)
    race.reset()
    assert 0.5 < race.world.arc_m[0, 0] < narrow.length_m - 0.5
    drives = evaluate(lambda r, _: np.zeros((r.num_envs, 1, 2)), race.settings, [narrow], starts=40)
    assert len(drives) == 40
