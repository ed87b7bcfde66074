"""The optimised line: within the walls, shorter than the centreline, and no better one nearby."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.envs.drivers.racing_line import LineSettings, SpeedLimits, racing_line, speed_profile
from training.sim import Track
from training.sim.track import centerline

Array = NDArray[np.float64]


@pytest.fixture(scope="module", params=[1, 2, 5, 8])
def track(request: pytest.FixtureRequest) -> Track:
    return Track.generate(request.param, length_m=80.0, width_variation=0.2)


def length_m(points: Array) -> float:
    return float(centerline.chord_lengths(points).sum())


def cost(points: Array, stiffness_m2: float, chords: Array) -> float:
    """The cost that the last round of the line's search made least: squared chords over their lengths, and bends."""
    step = np.roll(points, -1, axis=0) - points
    turn = np.roll(points, 1, axis=0) - 2.0 * points + np.roll(points, -1, axis=0)
    return float((step**2 / chords[:, None]).sum() + stiffness_m2 / chords.mean() ** 3 * (turn**2).sum())


def offsets(track: Track, points: Array) -> Array:
    """Signed offsets (n,) to the left of the centreline's points."""
    left = np.stack([-track.tangent[:, 1], track.tangent[:, 0]], axis=1)
    return ((points - track.curve.points) * left).sum(axis=1)


@pytest.mark.parametrize("margin_m", [0.3, 0.5])
def test_the_line_keeps_its_margin_from_the_walls(track: Track, margin_m: float) -> None:
    offset = offsets(track, racing_line(track, LineSettings(margin_m=margin_m)))
    assert (offset <= np.maximum(track.width_left_m - margin_m, 0.0) + 1e-9).all()
    assert (-offset <= np.maximum(track.width_right_m - margin_m, 0.0) + 1e-9).all()


def test_the_line_is_shorter_than_the_centreline_and_uses_the_width(track: Track) -> None:
    points = racing_line(track)
    assert length_m(points) < 0.98 * track.length_m
    assert np.abs(offsets(track, points)).max() > 0.4


def test_more_stiffness_gives_less_curvature_and_more_length(track: Track) -> None:
    short = racing_line(track, LineSettings(stiffness_m2=0.3))
    round_ = racing_line(track, LineSettings(stiffness_m2=100.0))

    def bending(points: Array) -> float:
        chords = centerline.chord_lengths(points)
        return float((centerline.curvature(points, chords) ** 2 * chords).sum())

    assert length_m(short) < length_m(round_)
    assert bending(short) > bending(round_)


@pytest.mark.parametrize("stiffness_m2", [0.3, 10.0, 100.0])
def test_no_allowed_change_makes_the_line_better(track: Track, stiffness_m2: float) -> None:
    """A hundred bumps of all widths, places and signs, cut off at the margins."""
    chosen = LineSettings(stiffness_m2=stiffness_m2)
    points = racing_line(track, chosen)
    chords = centerline.chord_lengths(points)
    left = np.stack([-track.tangent[:, 1], track.tangent[:, 0]], axis=1)
    offset = offsets(track, points)
    least = cost(points, stiffness_m2, chords)
    rng = np.random.default_rng(0)
    n = len(points)
    for _ in range(100):
        away = (np.arange(n) - rng.integers(n) + n // 2) % n - n // 2
        bump = (
            rng.choice([-1.0, 1.0]) * 10 ** rng.uniform(-3, -1) * np.exp(-((away / rng.uniform(2, 40)) ** 2))
        )
        moved = np.clip(
            offset + bump,
            -np.maximum(track.width_right_m - chosen.margin_m, 0.0),
            np.maximum(track.width_left_m - chosen.margin_m, 0.0),
        )
        changed = track.curve.points + moved[:, None] * left
        assert cost(changed, stiffness_m2, chords) > least - 1e-3


def test_where_two_margins_do_not_fit_the_line_is_the_centreline(track: Track) -> None:
    points = racing_line(track, LineSettings(margin_m=3.0))
    np.testing.assert_allclose(points, track.curve.points, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0.5, 12.0),
    st.floats(1.0, 40.0),
    st.floats(1.0, 10.0),
    st.integers(3, 9),
    st.floats(0.0, 0.4),
)
def test_a_speed_profile_never_asks_for_more_than_its_limits(
    cap_mps: float, lateral_mps2: float, braking_mps2: float, lobes: int, depth: float
) -> None:
    """Around any flower: the cap, the bends, and time enough to brake for each."""
    angle = np.linspace(0.0, 2.0 * np.pi, 400, endpoint=False)
    radius = 10.0 * (1.0 + depth * np.cos(lobes * angle))
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    chords = centerline.chord_lengths(points)
    speed = speed_profile(points, SpeedLimits(cap_mps, lateral_mps2, braking_mps2))
    bend = np.abs(centerline.curvature(points, chords))
    smooth = (np.roll(bend, 1) + bend + np.roll(bend, -1)) / 3.0
    assert (speed <= cap_mps).all()
    assert (speed**2 * smooth <= lateral_mps2 * (1.0 + 1e-9)).all()
    assert (speed**2 - np.roll(speed, -1) ** 2 <= 2.0 * braking_mps2 * chords + 1e-9).all()
    free = np.isclose(speed, cap_mps) | np.isclose(speed**2 * smooth, lateral_mps2)
    assert free.any(), "somewhere a limit other than braking binds"
