"""The line without kinks: clear of the walls, as round as the steering allows, no better one nearby."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.envs.drivers.grip_pursuit import centre_shape, racing_shape
from training.envs.drivers.smooth_line import clearance_m, sharpest_bend_1pm, smooth_line
from training.sim import Track, Vehicle
from training.sim.track import centerline

Array = NDArray[np.float64]
CAR = Vehicle()
TIGHT = ("generated-6-r0.7", "generated-19-w0.8-r0.9", "generated-23-w0.7-r0.7")


@pytest.fixture(scope="module", params=("generated-1", *TIGHT))
def track(request: pytest.FixtureRequest) -> Track:
    return Track.load(request.param)


def bends(points: Array) -> Array:
    return np.abs(centerline.curvature(points, centerline.chord_lengths(points)))


def clearances(track: Track, points: Array) -> Array:
    return np.array([clearance_m(track.distance_field_m, track.frame, *point) for point in points])


def test_the_racing_line_keeps_its_margin_from_the_walls(track: Track) -> None:
    """Within a cell's share of it: the map is made of cells."""
    shape = racing_shape(CAR)
    assert clearances(track, smooth_line(track, shape)).min() > shape.margin_m - 0.2 * track.resolution_m


@pytest.mark.parametrize("shape", [racing_shape(CAR), centre_shape(CAR)], ids=["racing", "centre"])
def test_no_bend_is_sharper_than_the_steering_can_follow(track: Track, shape) -> None:
    limit = np.tan(CAR.s_max) / (CAR.lf + CAR.lr)
    assert bends(smooth_line(track, shape)).max() < 0.9 * limit
    assert sharpest_bend_1pm(CAR) == pytest.approx(0.75 * limit)


def test_the_racing_line_is_rounder_than_the_centreline_and_evenly_spaced(track: Track) -> None:
    points, centre = smooth_line(track, racing_shape(CAR)), track.curve.points
    chords = centerline.chord_lengths(points)
    bending = (bends(points) ** 2 * chords).sum()
    assert bending < 0.8 * (bends(centre) ** 2 * centerline.chord_lengths(centre)).sum()
    assert np.ptp(chords) < 0.1 * chords.mean()


def test_on_a_flowing_track_the_racing_line_is_shorter_than_the_centreline() -> None:
    track = Track.generate(1)
    points = smooth_line(track, racing_shape(CAR))
    assert centerline.chord_lengths(points).sum() < track.length_m - 0.3


def test_the_centre_line_stays_near_the_centreline() -> None:
    track = Track.generate(1)
    _, offset = track.project(smooth_line(track, centre_shape(CAR)))
    assert np.abs(offset).max() < 0.1


def test_no_allowed_move_makes_the_line_better_by_a_thousandth() -> None:
    """Length + stiffness x curvature² x length, for bumps of all widths, places and signs that keep the margin.

    A little can be gained: where a bend comes near what the steering can do, the line's stiffness is greater.
    """
    track, shape = Track.generate(3, length_m=80.0), racing_shape(CAR)
    points = smooth_line(track, shape)
    chords = centerline.chord_lengths(points)
    tangent = centerline.tangents(points, chords)
    left = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)

    def cost(line: Array) -> float:
        step = centerline.chord_lengths(line)
        return float((step + shape.stiffness_m2 * bends(line) ** 2 * step).sum())

    least, count, rng, tried = cost(points), len(points), np.random.default_rng(0), 0
    closest_m = clearances(track, points).min()
    for _ in range(800):
        away = (np.arange(count) - rng.integers(count) + count // 2) % count - count // 2
        bump = rng.choice([-0.03, 0.03]) * np.exp(-((away / rng.uniform(15, 60)) ** 2))
        moved = points + bump[:, None] * left
        if clearances(track, moved).min() >= closest_m:
            tried += 1
            assert cost(moved) > least * (1.0 - 1e-3)
    assert tried > 25


def test_a_car_with_less_steering_gets_a_rounder_line() -> None:
    track = Track.load("generated-23-w0.7-r0.7")
    stiff = CAR._replace(s_min=-0.263, s_max=0.313)
    ours, theirs = (bends(smooth_line(track, racing_shape(car))).max() for car in (CAR, stiff))
    assert sharpest_bend_1pm(stiff) == pytest.approx(0.75 * np.tan(0.263) / (CAR.lf + CAR.lr))
    assert theirs < ours


def test_where_the_margin_does_not_fit_the_line_is_in_the_middle() -> None:
    track = Track.generate(1, length_m=60.0, half_width_m=0.5)
    points = smooth_line(track, racing_shape(CAR)._replace(margin_m=2.0))
    assert np.abs(track.project(points)[1]).max() < 0.12
