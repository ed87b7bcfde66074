"""Generated tracks are what was asked for, race tracks, and the same everywhere."""

import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.sim import Track, TrackError
from training.sim.track import centerline as geometry
from training.sim.track.names import BUNDLED
from training.sim.track.occupancy import reachable, what_is_at


def legs_distance_m(track: Track) -> float:
    """Return the least distance between points whose way apart is more than a half turn's."""
    line, lap = track.centerline, track.length_m
    way = np.abs(track.arc_length_m[:, None] - track.arc_length_m[None, :])
    way = np.minimum(way, lap - way)
    half_turn = math.pi * (track.width_left_m.max() + 0.5)
    apart = np.hypot(*(line[:, None] - line[None, :]).transpose(2, 0, 1))
    return apart[way > half_turn].min()


def assert_in_spec(track: Track, length_m: float, half_width_m: float, min_radius_m: float) -> None:
    assert track.length_m == pytest.approx(length_m, rel=0.02)
    assert 1.0 / np.abs(track.curvature_1pm).max() >= min_radius_m
    assert geometry.first_crossing(track.centerline) == (-1, -1)
    assert legs_distance_m(track) >= 2 * half_width_m + 0.3
    border = np.concatenate([track.free[0], track.free[-1], track.free[:, 0], track.free[:, -1]])
    assert not border.any()
    _, row, col = what_is_at(track.free, track.frame, *track.centerline[0])
    assert np.array_equal(reachable(track.free, row, col), track.free)  # one corridor, nothing beside it


@pytest.mark.parametrize("seed", range(30))
def test_a_track_has_the_length_radius_and_room_that_it_should(seed: int) -> None:
    track = Track.generate(seed)
    assert_in_spec(track, 120.0, 1.1, 2.0)
    assert tuple(track.centerline[0]) == (0.0, 0.0)


@pytest.mark.slow
def test_each_of_two_hundred_seeds_gives_a_track_in_spec() -> None:
    for seed in range(200):
        assert_in_spec(Track.generate(seed), 120.0, 1.1, 2.0)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**63),
    half_width_m=st.floats(0.51, 1.8),
    laps=st.floats(8.5, 120.0),
    width_variation=st.sampled_from([0.0, 0.2, 0.5]),
)
def test_any_length_and_width_that_fit_give_a_track_in_spec(
    seed: int, half_width_m: float, laps: float, width_variation: float
) -> None:
    widest_m = half_width_m * (1 + width_variation)
    radius_m = max(2.0, widest_m + 0.4)
    track = Track.generate(seed, laps * radius_m, half_width_m, width_variation=width_variation)
    assert_in_spec(track, laps * radius_m, float(track.width_left_m.max()), radius_m)
    for width in (track.width_left_m, track.width_right_m):
        assert (1 - width_variation) * half_width_m - 0.1 <= width.min()
        assert width.max() <= widest_m + 1e-6


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**63), radius_m=st.floats(0.5, 2.0), half_width_m=st.floats(0.6, 1.2))
def test_turns_may_be_as_tight_as_those_of_real_circuits(
    seed: int, radius_m: float, half_width_m: float
) -> None:
    """Then the inner wall has a corner."""
    track = Track.generate(seed, 120.0, half_width_m, min_radius_m=radius_m)
    assert_in_spec(track, 120.0, half_width_m, radius_m)


def test_tracks_that_may_have_tight_turns_have_them() -> None:
    tightest_m = [
        1.0 / np.abs(Track.generate(seed, min_radius_m=0.7).curvature_1pm).max() for seed in range(20)
    ]
    assert max(tightest_m) < 1.2


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**9))
def test_the_walls_are_as_far_from_the_centreline_as_it_says(seed: int) -> None:
    track = Track.generate(seed, 60.0, width_variation=0.3)
    measured = Track.from_occupancy(track.free, track.resolution_m, track.origin, track.centerline)
    # a cell and a half: where the corridor widens the wall is not quite square to the centreline
    assert measured.width_left_m == pytest.approx(track.width_left_m, abs=0.12)
    assert measured.width_right_m == pytest.approx(track.width_right_m, abs=0.12)


def test_tracks_are_race_tracks_with_straights_and_turns_both_ways_driven_either_way_round() -> None:
    tracks = [Track.generate(seed) for seed in range(40)]
    clockwise = sum(track.curvature_1pm.sum() < 0 for track in tracks)
    assert 10 <= clockwise <= 30
    hairpins = 0
    for track in tracks:
        bend = track.curvature_1pm
        step = track.length_m / len(bend)
        assert np.abs(bend).sum() * step > 1.5 * 2 * math.pi  # a circle has 2 pi
        around_start = np.abs(np.roll(bend, len(bend) // 32))[: len(bend) // 16]
        assert around_start.max() < 0.05  # the start is on a straight of a sixteenth of the lap
        turned = np.convolve(np.append(bend, bend[: int(10 / step)]), np.ones(int(10 / step)), "valid") * step
        hairpins += np.abs(turned).max() > math.radians(150)
    assert hairpins >= 20


def test_the_width_wanders_only_where_asked() -> None:
    assert Track.generate(3, 60.0).width_left_m == pytest.approx(1.1, abs=1e-9)
    wandering = Track.generate(3, 60.0, width_variation=0.3)
    assert np.ptp(wandering.width_left_m) > 0.2
    assert not np.array_equal(wandering.width_left_m, wandering.width_right_m)


def digest(track: Track) -> str:
    """Return a short hash of every number of a track."""
    parts = (track.free, track.centerline, track.width_right_m, track.distance_field_m)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]


# A change here changes every training track, every bundled track and every figure measured on them.
DIGESTS = {
    "generated-0": "6768b78eee65ee5b",
    "generated-1": "35adc3ee4416bdac",
    "generated-2-l60-v0.3": "5876d25416bf296d",
    "generated-3-l300": "1383d27cfe65c9eb",
    "kart": "ce545e1c91d0e666",
    "club": "ff6efacf68fe1f3f",
    "street": "81551190f6d73936",
    "national": "e7b7c2b5a4860203",
    "grand-prix": "7b753911de129e5c",
    "circuit-0": "a16c4d42baf7092f",
    "circuit-2-l300-w0.9-v0.2": "5db019cfac049237",
    "hall-0": "6f6555acd481171c",
    "hall-3-l50-x24-y12-g0.1-b5": "369498a00baccf54",
}


@pytest.mark.parametrize(("name", "expected"), DIGESTS.items())
def test_a_track_is_the_same_on_every_machine_and_in_every_version(name: str, expected: str) -> None:
    assert digest(Track.load(name)) == expected


@pytest.mark.slow
def test_the_kernels_give_the_same_track_as_plain_python() -> None:
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from training.sim import Track\n"
        "import numpy as np\n"
        "t = Track.generate(0, 20.0, width_variation=0.2)\n"
        "s, l = t.project(np.stack(t.pose_at(np.linspace(0, 20, 50), 0.5)[:2], axis=1))\n"
        "parts = (t.free, t.centerline, t.distance_field_m, t.curvature_1pm, s, l)\n"
        "print([part.tobytes().hex()[:4000] for part in parts])"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program, str(Path.cwd())],
            env=os.environ | {"NUMBA_DISABLE_JIT": plain},
            capture_output=True,
            check=True,
        ).stdout
        for plain in ("0", "1")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length_m": 10.0}, r"length_m is 10: with turns of at least 2 m radius the shortest lap is 16 m"),
        ({"length_m": math.nan}, r"length_m is nan: it must be more than 0"),
        ({"half_width_m": -1.0}, r"half_width_m is -1: it must be more than 0"),
        ({"min_radius_m": 0.4}, r"min_radius_m is 0.4: .* walls 1.1 m .* must be at least 0.50"),
        ({"min_radius_m": 0.6, "half_width_m": 0.35}, r"min_radius_m is 0.6: .* must be at least 0.65"),
        ({"width_variation": 0.9}, r"width_variation is 0.9: it is a share of the width from 0 to 0.5"),
        ({"resolution_m": 0.4}, r"resolution_m is 0.4: a half width of 1.1 m needs cells of at most 0.275 m"),
        ({"seed": -1}, r"seed is -1"),
    ],
)
def test_what_cannot_be_built_is_an_error_with_the_nearest_that_can(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrackError, match=message):
        Track.generate(**({"seed": 0} | arguments))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({}, "generated-7"),
        ({"length_m": 80}, "generated-7-l80"),
        ({"length_m": 61.25, "half_width_m": 0.9, "width_variation": 0.25}, "generated-7-l61.25-w0.9-v0.25"),
        ({"half_width_m": 2.0}, "generated-7-w2-r2.4"),
        ({"resolution_m": 0.1, "min_radius_m": 3.0}, "generated-7-r3-c0.1"),
    ],
)
def test_a_generated_tracks_name_finds_the_same_track_again(arguments: dict[str, Any], name: str) -> None:
    track = Track.generate(7, **arguments)
    assert track.name == name
    assert Track.load(name) == track


@pytest.mark.parametrize("name", BUNDLED)
def test_each_bundled_track_loads_by_its_name(name: str) -> None:
    track = Track.load(name)
    assert track.name == name
    assert track.length_m == pytest.approx(BUNDLED[name].options["length_m"], rel=0.02)
