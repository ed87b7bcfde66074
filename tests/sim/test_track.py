"""A track knows its walls and its centreline, and says what is wrong with a broken one."""

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.sim import Track, TrackError
from training.sim.track import centerline as geometry

RADIUS_M = 5.0
HALF_WIDTH_M = 1.0
RESOLUTION_M = 0.05


def ring_map(origin: tuple[float, float, float] = (-7.0, -7.0, 0.0), size: int = 280) -> np.ndarray:
    """Return the free cells of a circular track around (0, 0), for a map with that origin."""
    along = (np.arange(size) + 0.5) * RESOLUTION_M
    right, up = np.meshgrid(along, along)
    cos, sin = math.cos(origin[2]), math.sin(origin[2])
    x, y = origin[0] + right * cos - up * sin, origin[1] + right * sin + up * cos
    return np.abs(np.hypot(x, y) - RADIUS_M) < HALF_WIDTH_M


def circle(count: int, radius: float = RADIUS_M) -> np.ndarray:
    angle = 2 * np.pi * np.arange(count) / count
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ring(
    points: int = 180,
    *,
    origin: tuple[float, float, float] = (-7.0, -7.0, 0.0),
    name: str = "track",
    widths_m: np.ndarray | None = None,
) -> Track:
    cells, line = ring_map(origin), circle(points)
    return Track.from_occupancy(cells, RESOLUTION_M, origin, line, name=name, widths_m=widths_m)


GENERATED = [Track.generate(seed, 40.0 + 20.0 * seed) for seed in range(4)]
indices = st.integers(0, len(GENERATED) - 1)
no_deadline = settings(deadline=None)  # kernels compile in the first example


@pytest.mark.parametrize("points", [20, 100, 1000])
def test_a_centreline_of_any_density_becomes_even_at_a_fifth_of_a_metre(points: int) -> None:
    track = ring(points)
    chords = np.linalg.norm(np.roll(track.centerline, -1, axis=0) - track.centerline, axis=1)
    assert chords == pytest.approx(0.2, rel=0.03)
    assert chords == pytest.approx(chords.mean(), rel=0.02)
    assert np.hypot(*track.centerline.T) == pytest.approx(RADIUS_M, abs=2e-3)


def test_a_circle_has_the_length_heading_and_curvature_of_a_circle() -> None:
    track = ring(100)
    assert track.length_m == pytest.approx(2 * math.pi * RADIUS_M, rel=1e-3)
    assert track.curvature_1pm == pytest.approx(1 / RADIUS_M, rel=1e-3)
    assert track.heading_rad[0] == pytest.approx(math.pi / 2, abs=1e-3)
    assert track.arc_length_m[0] == 0.0
    assert np.diff(track.arc_length_m) == pytest.approx(0.2, rel=0.02)


@no_deadline
@given(indices)
def test_a_lap_turns_once_round(index: int) -> None:
    track = GENERATED[index]
    chords = geometry.chord_lengths(track.centerline)
    turned = (track.curvature_1pm * 0.5 * (chords + np.roll(chords, 1))).sum()
    assert abs(turned) == pytest.approx(2 * math.pi, abs=1e-9)


@no_deadline
@given(indices, st.floats(-500, 500), st.floats(-1, 1), st.floats(-10, 10))
def test_a_pose_on_the_track_projects_back_to_where_it_was_put(
    index: int, s_m: float, lateral_m: float, turn_rad: float
) -> None:
    track = GENERATED[index]
    x, y, yaw = track.pose_at(s_m, lateral_m, turn_rad)
    s, lateral = track.project((x, y))
    gap = (s - s_m + track.length_m / 2) % track.length_m - track.length_m / 2
    assert gap == pytest.approx(0.0, abs=1e-9)
    assert lateral == pytest.approx(lateral_m, abs=1e-9)
    assert 0.0 <= s < track.length_m
    assert -math.pi <= yaw <= math.pi


def test_left_of_the_centreline_is_positive() -> None:
    track = ring()  # anticlockwise: the centre is on the left
    assert track.project((RADIUS_M - 0.5, 0.0))[1] == pytest.approx(0.5, abs=2e-3)
    assert track.pose_at(0.0, 0.5)[0] == pytest.approx(RADIUS_M - 0.5, abs=2e-3)


def test_poses_and_projections_of_arrays_are_those_of_their_elements() -> None:
    track = GENERATED[1]
    s, lateral = np.linspace(-20, 90, 12).reshape(3, 4), np.linspace(-1, 1, 4)
    x, y, yaw = track.pose_at(s, lateral, 0.3)
    back = track.project(np.stack([x, y], axis=-1))
    assert x.shape == back[0].shape == (3, 4)
    assert (x[1, 2], y[1, 2], yaw[1, 2]) == track.pose_at(float(s[1, 2]), float(lateral[2]), 0.3)
    assert (back[0][1, 2], back[1][1, 2]) == track.project((x[1, 2], y[1, 2]))


@no_deadline
@given(indices, st.floats(0, 1), st.floats(-1, 1))
def test_a_hint_nearby_finds_what_the_whole_search_finds(index: int, share: float, lateral_m: float) -> None:
    track = GENERATED[index]
    s_m = share * track.length_m
    x, y, _ = track.pose_at(s_m, lateral_m)
    everywhere = geometry.project(track.curve, x, y, -1)
    for late in (-8, 0, 8):
        hint = (everywhere[2] + late) % len(track.centerline)
        assert geometry.project(track.curve, x, y, hint) == everywhere


@no_deadline
@given(indices)
def test_the_distance_field_never_changes_faster_than_one_walks(index: int) -> None:
    track = GENERATED[index]
    field = track.distance_field_m
    step = track.resolution_m * (1 + 1e-12)
    assert np.abs(np.diff(field, axis=0)).max() <= step
    assert np.abs(np.diff(field, axis=1)).max() <= step
    assert np.abs(field[1:, 1:] - field[:-1, :-1]).max() <= math.sqrt(2) * step


@no_deadline
@given(indices, st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_distance_field_is_the_way_to_the_nearest_wall(index: int, row: int, col: int) -> None:
    track = GENERATED[index]
    row, col = row % track.free.shape[0], col % track.free.shape[1]
    walls = np.argwhere(~track.free)
    nearest = np.sqrt(((walls - (row, col)) ** 2).sum(axis=1).min())
    assert track.distance_field_m[row, col] == track.resolution_m * nearest


def test_widths_are_measured_on_the_map_where_none_are_given() -> None:
    track = ring()
    for width in (track.width_left_m, track.width_right_m):
        assert width == pytest.approx(HALF_WIDTH_M, abs=1.5 * RESOLUTION_M)


def test_given_widths_stay_but_where_they_reach_into_a_wall() -> None:
    said = np.full((180, 2), 0.9)
    said[:90, 0] = 1.4
    track = ring(widths_m=said)
    quarter = len(track.centerline) // 4
    assert track.width_right_m[quarter] == pytest.approx(HALF_WIDTH_M, abs=1.5 * RESOLUTION_M)
    assert track.width_right_m[3 * quarter] == pytest.approx(0.9)
    assert track.width_left_m == pytest.approx(0.9)


@pytest.mark.parametrize("yaw", [0.0, 0.7, -2.5])
def test_a_turned_map_holds_the_same_track(yaw: float) -> None:
    corner = (-9.9 * math.cos(yaw + math.pi / 4), -9.9 * math.sin(yaw + math.pi / 4), yaw)
    track = ring(origin=corner)
    assert track.width_left_m == pytest.approx(HALF_WIDTH_M, abs=1.5 * RESOLUTION_M)
    assert track.length_m == pytest.approx(2 * math.pi * RADIUS_M, rel=1e-3)


def test_a_doubled_point_and_a_repeated_first_point_do_no_harm() -> None:
    points = circle(60)
    doubled = np.vstack([points[:20], points[19:], points[:1]])
    track = Track.from_occupancy(ring_map(), RESOLUTION_M, (-7, -7, 0), doubled)
    np.testing.assert_allclose(track.centerline, ring(60).centerline, atol=1e-12)


def test_the_reversed_track_starts_at_the_same_place_the_other_way_round() -> None:
    track = GENERATED[2]
    back = track.reversed()
    assert back.pose_at(0.0)[:2] == track.pose_at(0.0)[:2]
    assert back.pose_at(5.0)[:2] == pytest.approx(track.pose_at(-5.0)[:2], abs=1e-9)
    assert back.curvature_1pm == pytest.approx(-np.roll(track.curvature_1pm[::-1], 1), abs=1e-9)
    assert np.array_equal(back.reversed().centerline, track.centerline)
    assert back.free is track.free


def test_the_mirrored_track_turns_the_other_way_between_the_same_walls() -> None:
    track = Track.generate(5, 50.0, width_variation=0.4)
    mirror = track.mirrored()
    assert mirror.curvature_1pm == pytest.approx(-track.curvature_1pm, abs=1e-9)
    assert np.array_equal(mirror.width_left_m, track.width_right_m)
    measured = Track.from_occupancy(mirror.free, mirror.resolution_m, mirror.origin, mirror.centerline)
    assert measured.width_left_m == pytest.approx(mirror.width_left_m, abs=2 * RESOLUTION_M)


def test_a_track_cannot_be_changed_afterwards() -> None:
    track, given_cells = ring(), ring_map()
    with pytest.raises(AttributeError):
        track.name = "other"
    for array in (
        track.free,
        track.centerline,
        track.width_left_m,
        track.distance_field_m,
        track.heading_rad,
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    given_cells[:] = False
    assert track.free.any()


def test_tracks_compare_by_their_content() -> None:
    assert ring() == ring()
    assert hash(ring()) == hash(ring())
    assert ring() != ring(name="other")
    assert ring() != ring(90, widths_m=np.full((90, 2), 0.8))
    assert ring() != "ring"
    assert pickle.loads(pickle.dumps(ring())) == ring()  # noqa: S301 - our own bytes


def test_zeros_and_ones_are_as_good_as_true_and_false() -> None:
    cells = ring_map()
    track = Track.from_occupancy(cells.astype(np.uint8), np.float64(0.05), np.array([-7.0, -7.0, 0.0]))
    assert np.array_equal(track.free, cells)
    assert track.origin == (-7.0, -7.0, 0.0)


def test_a_map_without_a_centreline_is_a_track_until_one_asks_for_its_lap() -> None:
    track = Track.from_occupancy(ring_map(), RESOLUTION_M, (0, 0, 0), name="hall")
    assert track.centerline is track.width_left_m is None
    assert "no centreline" in repr(track)
    with pytest.raises(TrackError, match=r"'hall' has no centreline: put a hall_centerline.csv next to"):
        track.pose_at(0.0)


def through_a_wall() -> np.ndarray:
    line = circle(100)
    line[25] *= 1.5  # point 25 is at the top of the circle
    return line


broken = {
    "no free cell": ({"free": np.zeros((4, 6))}, r"none of the map's 6 x 4 cells is free"),
    "not a grid": ({"free": np.ones(4)}, r"not an array of shape \(4,\)"),
    "pixels instead of truth": ({"free": np.full((4, 4), 254)}, r"not as 254 to 254"),
    "resolution 0": ({"resolution_m": 0.0}, r"a resolution of 0 m a cell is wrong"),
    "resolution -1": ({"resolution_m": -1.0}, r"a resolution of -1 m a cell is wrong"),
    "resolution nan": ({"resolution_m": math.nan}, r"a resolution of nan m a cell is wrong"),
    "resolution 5": ({"resolution_m": 5.0}, r"a resolution of 5 m a cell is wrong"),
    "a finer resolution": ({"resolution_m": 0.025}, r"the centreline (goes through a wall|leaves the map)"),
    "origin of two": ({"origin": (0, 0)}, r"the origin is three finite numbers.*not \[0.0, 0.0\]"),
    "origin nan": ({"origin": (0, math.nan, 0)}, r"three finite numbers"),
    "wall": ({"centerline": through_a_wall()}, r"goes through a wall at .*, between its points 24 and 25"),
    "off the map": (
        {"centerline": circle(100, 9.0)},
        r"leaves the map of 280 x 280 cells at \(9.000, 0.000\) m",
    ),
    "nan": ({"centerline": np.array([[5, 0], [math.nan, 1]])}, r"centreline point 1 is \(nan, 1.0\)"),
    "three columns": (
        {"centerline": np.zeros((9, 3))},
        r"is \(n, 2\) metres, not an array of shape \(9, 3\)",
    ),
    "few points": ({"centerline": circle(100)[:5]}, r"5 distinct points: a closed curve needs at least 8"),
    "widths of others": (
        {"widths_m": np.ones((9, 2))},
        r"right and left of 100 points, not of shape \(9, 2\)",
    ),
    "no width": (
        {"widths_m": np.eye(100)[:, :2] + 0.0},
        r"the widths at centreline point 0 are 1.0 m .* 0.0 m",
    ),
    "widths of another scale": (
        {"widths_m": np.full((100, 2), 11.0)},
        r"0.05 m a cell the free way is 1.99 m wide.* say 22.00 m",
    ),
}


@pytest.mark.parametrize(("change", "message"), broken.values(), ids=broken.keys())
def test_what_is_no_track_is_an_error_that_says_what_and_where(change: dict[str, Any], message: str) -> None:
    arguments = {
        "free": ring_map(),
        "resolution_m": RESOLUTION_M,
        "origin": (-7.0, -7.0, 0.0),
        "centerline": circle(100),
    }
    with pytest.raises(TrackError, match=message):
        Track.from_occupancy(**(arguments | change))


def test_a_wall_of_one_cell_between_two_points_is_seen() -> None:
    cells = ring_map()
    cells[:, 141] = False  # a line at x = 0.05 m
    with pytest.raises(
        TrackError, match=r"wall at \(0\.0\d\d, 4\.\d+\) m \(row \d+ from the bottom, column 141\)"
    ):
        Track.from_occupancy(cells, RESOLUTION_M, (-7, -7, 0), circle(20))


def test_only_the_first_crossing_of_a_curve_with_itself_is_found() -> None:
    angle = 2 * np.pi * np.arange(100) / 100
    eight = np.stack([np.sin(2 * angle), np.sin(angle + 0.01)], axis=1)
    assert geometry.first_crossing(eight) == (49, 99)
    assert geometry.first_crossing(circle(100)) == (-1, -1)


def twice_round(offset_m: float) -> np.ndarray:
    """Return the points of two laps of a round track, the second so far outside the first."""
    angle = 4 * np.pi * np.arange(240) / 240
    radius = 5.0 + offset_m * 0.5 * (1.0 - np.cos(angle / 2.0))
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


@pytest.mark.parametrize("offset_m", [0.0, 0.2])
def test_a_centreline_that_goes_round_twice_is_refused(offset_m: float) -> None:
    """Recorded over two laps: every lap would count half. One that winds round itself on its own ground is a track."""
    hall = np.ones((300, 300))
    with pytest.raises(
        TrackError, match=r"the centreline goes round 2 times: .* keep the points of one, about 120 of 240"
    ):
        Track.from_occupancy(hall, 0.05, (-7.5, -7.5, 0.0), twice_round(offset_m))
    assert Track.from_occupancy(hall, 0.05, (-7.5, -7.5, 0.0), twice_round(1.5)).length_m > 60.0
