"""Tracks named hall-SEED lie between ducts in a hall, with gaps and boxes, and a car always gets through."""

from __future__ import annotations

import numpy as np
import pytest

from training.config import EnvSettings
from training.envs.drivers.registry import make_driver
from training.evaluation.baselines import DriverController, EvalTrack, drive
from training.sim import Track, TrackError
from training.sim.clearance import tight_places
from training.sim.params import Vehicle
from training.sim.track import centerline as geometry
from training.sim.track.hall import hall_track
from training.sim.track.names import recipe
from training.sim.track.occupancy import reachable, what_is_at
from training.sim.track.spec import spec_of

# A car and 5 cm on each side of it.
WIDE = Vehicle()._replace(width=0.41)
NAMES = (
    *(f"hall-{seed}" for seed in range(12)),
    "hall-1-b0",
    "hall-2-b5",
    "hall-3-s0.9",
    "hall-4-w0.45-v0-s0.3",
    "hall-5-x12-y6-b1",
    "hall-6-g0.25",
    "hall-7-l50-r0.7-d0.2-c0.04",
)


def within_reach(track: Track, radius_m: float) -> np.ndarray:
    """Return (k, 2) m: the middles of the cells that a disc of this radius gets to from the start."""
    _, row, col = what_is_at(track.free, track.frame, *track.centerline[0])
    cells = np.argwhere(reachable(track.distance_field_m > radius_m, row, col))
    return np.stack([track.origin[0] + (cells[:, 1] + 0.5) * track.resolution_m,
                     track.origin[1] + (cells[:, 0] + 0.5) * track.resolution_m], axis=1)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_car_with_room_beside_it_gets_round_and_never_out(name: str) -> None:
    track, spec = Track.load(name), spec_of(recipe(name))
    assert track.name == name
    assert tuple(track.centerline[0]) == pytest.approx((0.0, 0.0), abs=0.3)
    assert track.length_m == pytest.approx(spec.length_m, rel=0.02)
    assert 1.0 / np.abs(track.curvature_1pm).max() >= spec.lap.min_radius_m
    assert geometry.first_crossing(track.centerline) == (-1, -1)
    assert tight_places(track, WIDE) == []
    for place in within_reach(track, 0.155)[::5]:
        nearest_m = np.hypot(*(track.centerline - place).T).min()
        assert nearest_m < 2 * spec.lap.widest_m, f"half a car's width fits through a wall near {place}"


@pytest.mark.parametrize("name", NAMES[:6])
def test_the_track_is_as_wide_as_it_says_and_lies_in_the_hall(name: str) -> None:
    track, spec = Track.load(name), spec_of(recipe(name))
    width = track.width_left_m + track.width_right_m
    assert float(np.median(width)) == pytest.approx(1.2, abs=0.12)
    assert width.max() <= 2 * spec.lap.widest_m + 1e-6
    x, y = np.ptp(np.argwhere(track.free), axis=0)[::-1] * track.resolution_m
    assert (x, y) == pytest.approx((30.0, 10.0), abs=0.11)
    solid = [track.free[:4], track.free[-4:], track.free[:, :4], track.free[:, -4:]]
    assert not any(side.any() for side in solid)


@pytest.mark.slow
def test_ducts_are_as_thick_as_asked_and_gaps_show_the_hall_behind_them() -> None:
    def seen_m(name: str) -> np.ndarray:
        """Return the free way to the left of the centreline, and what follows it up to the next free cell."""
        track = Track.load(name)
        normal = np.stack([-track.tangent[:, 1], track.tangent[:, 0]], axis=1)
        ways = np.arange(0.0, 3.0, 0.01)
        free = np.array([
            [what_is_at(track.free, track.frame, *(at + way * n))[0] == 0 for way in ways]
            for at, n in zip(track.centerline, normal, strict=True)
        ])  # fmt: skip
        return np.array([(~row[: int(100 * 1.5)]).sum() * 0.01 for row in free])

    closed, thick = seen_m("hall-3-g0-b0"), seen_m("hall-3-d0.6-g0-b0")
    assert closed.min() > 0.15, "no way to the left is free where there are no gaps"
    assert float(np.median(closed)) == pytest.approx(0.33, abs=0.06)
    assert float(np.median(thick)) > 0.5
    open_shares = [(seen_m(f"hall-{seed}-b0") < 0.05).mean() for seed in range(3)]
    assert 0.01 < float(np.mean(open_shares)) < 0.12


def test_boxes_stand_on_the_track_and_the_centreline_passes_on_their_wider_side() -> None:
    for seed in range(6):
        bare, full = Track.load(f"hall-{seed}-v0-b0"), Track.load(f"hall-{seed}-v0-b3")
        width = full.width_left_m + full.width_right_m
        narrow = width < 1.1
        assert 3 <= np.count_nonzero(narrow & ~np.roll(narrow, 1)) <= 6
        assert width.min() >= 0.5
        at_box = width < 0.72  # at its middle, not its corners
        assert np.abs(full.width_left_m - full.width_right_m)[at_box].max() < 0.15, (
            "in the middle of what is left"
        )
        assert bare.width_left_m == pytest.approx(0.6, abs=0.06)


def test_more_boxes_are_more_cells_that_are_taken() -> None:
    taken = [np.count_nonzero(~Track.load(f"hall-8-w0.7-v0-g0-b{boxes}").free) for boxes in (0, 2, 5)]
    assert taken[0] < taken[1] < taken[2]


@pytest.mark.parametrize("name", ["hall-0", "hall-1-b5", "hall-2-x20-y12", "circuit-1-l150"])
def test_a_slow_driver_that_follows_the_centreline_laps(name: str) -> None:
    settings = EnvSettings(speed_cap_mps=3.0, min_speed_mps=0.5)
    driver = DriverController(make_driver("pure_pursuit", 3.0))
    _, drives = drive(driver, settings, EvalTrack(Track.load(name), seen=False), starts=2)
    assert [one.completed for one in drives] == [True, True]


@pytest.mark.slow
def test_each_of_three_hundred_seeds_gives_a_hall_through_which_a_car_gets() -> None:
    for seed in range(300):
        track = Track.load(f"hall-{seed}")
        assert tight_places(track, WIDE) == [], seed


def test_a_lap_as_long_as_a_hall_allows_is_the_way_round_it() -> None:
    track = Track.load("hall-1-l68-b0")
    assert track.length_m == pytest.approx(68.0, rel=0.02)
    assert np.abs(track.curvature_1pm).sum() * track.length_m / len(track.centerline) == pytest.approx(
        2 * np.pi, rel=0.02
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hall-1-s1", "box_m is 1: between ducts 1.5 m apart a box has an edge of 0.1 to 0.9 m, so that 0.6 m"),
        ("hall-1-w0.35-v0-s0.3", "box_m is 0.3: between ducts 0.7 m apart .* so that 0.6 m are left for a car"),
        ("hall-1-b9", "boxes is 9: a lap of 58.4 m has room for 5, one each 10 m"),
        ("hall-1-b1.5", "boxes is 1.5: it is a whole number"),
        ("hall-1-g0.4", "gap_m is 0.4: it is 0 to 0.25 m"),
        ("hall-1-d2", "duct_m is 2: it is 0.1 to 1 m"),
        ("hall-1-d0.1-c0.08", "duct_m is 0.1: it must be at least two cells of 0.08 m"),
        ("hall-1-x3", "hall_length_m is 3: it is 4 to 100 m"),
        ("hall-1-x5-y4", "the hall of 5 x 4 m is too small: .* needs 4.56 m"),
        ("hall-1-l200", "length_m is 200: a lap in a hall of 30 x 10 m has at most 68.7 m"),
        ("hall-1-w0.3", r"half_width_m is 0.3, and 25% less: .* 0.25 m must be left"),
        ("hall-1-b3-s0.3-x20-q1", r"no track called .*: after hall-SEED may follow, .* b \(boxes\), s \(box_m\), c "),
    ],
)  # fmt: skip
def test_a_hall_that_cannot_be_built_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(TrackError, match=message):
        Track.load(name)


def test_boxes_without_places_are_refused_with_the_letters_that_help() -> None:
    """Where the track turns all the way no box finds a place."""
    spec = spec_of(recipe("hall-1-l20-r2-x9-y9-b2"))
    with pytest.raises(
        TrackError, match=r"seed 1 has no lap with places for 2 boxes of 0.4 m: ask for fewer \(b\) or"
    ):
        hall_track(1, spec)
