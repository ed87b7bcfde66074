"""Tracks named circuit-SEED have the statistics of the 23 real circuits, and are tracks."""

from __future__ import annotations

import numpy as np
import pytest

from tests.sim import circuit_figures
from tests.sim.circuit_figures import (
    REAL,
    REAL_CHICANES,
    REAL_SPIRALS,
    REAL_WIDTH_M,
    SHARES,
    Figures,
    figures,
)
from training.sim import Track, TrackError
from training.sim.clearance import tight_places
from training.sim.track import catalog, names
from training.sim.track import centerline as geometry
from training.sim.track.centerline_files import read_centerline
from training.sim.track.generate import circuit_centerline
from training.sim.track.occupancy import reachable, what_is_at
from training.sim.track.spec import spec_of

# Figures of which a lap has one; 23 circuits say little of their distribution. The drawn laps enclose more, by a fifth.
OF_LAPS = {"length_m": 0.2, "corners": 0.2, "turning": 0.3, "straight_share": 0.25, "longest_straight_m": 0.2}
OF_LAPS |= {"area": 0.35}
OF_CORNERS = ("angle_deg", "radius_m", "straight_m", "hairpin_apex_m", "before_hairpin_m")


def lines(seeds: range) -> list[np.ndarray]:
    return [circuit_centerline(seed, spec_of(names.recipe(f"circuit-{seed}")))[0] for seed in seeds]


@pytest.fixture(scope="module")
def drawn() -> Figures:
    return figures(lines(range(40)))


def shares_below(values: np.ndarray, figure: str) -> dict[float, float]:
    """Return the share of values below the real circuits' quantiles, by the share of theirs."""
    return {
        share: float((values <= quantile).mean())
        for share, quantile in zip(SHARES, REAL[figure], strict=True)
        if 0.1 <= share <= 0.9
    }


@pytest.mark.parametrize("figure", [*OF_LAPS, *OF_CORNERS])
def test_forty_drawn_circuits_are_distributed_as_the_real_ones(drawn: Figures, figure: str) -> None:
    found = shares_below(getattr(drawn, figure), figure)
    for share, below in found.items():
        assert below == pytest.approx(share, abs=OF_LAPS.get(figure, 0.12)), found


@pytest.mark.slow
def test_drawn_circuits_have_chicanes_as_the_real_ones_and_spirals_at_least_as_often() -> None:
    found = figures(lines(range(100)))
    assert found.chicanes.mean() == pytest.approx(REAL_CHICANES, rel=0.2)
    assert REAL_SPIRALS <= found.spirals.mean() <= 3 * REAL_SPIRALS


def test_drawn_circuits_are_as_wide_as_the_real_ones() -> None:
    tracks = [Track.load(f"circuit-{seed}") for seed in range(10)]
    width_m = np.concatenate([track.width_left_m + track.width_right_m for track in tracks])
    assert tuple(np.quantile(width_m, (0.05, 0.5, 0.95))) == pytest.approx(REAL_WIDTH_M, abs=0.12)


def test_the_comparison_notices_tracks_that_are_no_circuits() -> None:
    """The free tracks, as long: no tight hairpin, and few turns of less than 50 degrees."""
    plain = figures([Track.generate(seed, 400.0).centerline for seed in range(8)])
    for figure, share in (("radius_m", 0.25), ("angle_deg", 0.5), ("hairpin_apex_m", 0.25)):
        assert abs(shares_below(getattr(plain, figure), figure)[share] - share) > 0.12, figure


def test_the_committed_figures_are_those_of_the_circuits() -> None:
    tables = [
        path for path in sorted(catalog.directory().glob("*/*_centerline.csv"))
        if path.name.removesuffix("_centerline.csv") in names.CIRCUITS
    ]  # fmt: skip
    if len(tables) < len(names.CIRCUITS):
        pytest.skip("the circuits are not fetched on this computer")
    found = circuit_figures.quantiles(figures([read_centerline(table)[0] for table in tables]))
    for figure, values in REAL.items():
        assert found[figure] == pytest.approx(values, abs=2e-3), figure


@pytest.mark.parametrize(
    "name",
    [
        *(f"circuit-{seed}" for seed in range(8)),
        "circuit-1-l100",
        "circuit-2-l900",
        "circuit-3-l300-w0.6-r0.7-v0.5",
        "circuit-4-w2-c0.1",
    ],
)
def test_a_circuit_never_crosses_itself_keeps_its_widths_and_fits_the_car(name: str) -> None:
    track, spec = Track.load(name), spec_of(names.recipe(name))
    assert track.name == name
    assert track.length_m == pytest.approx(spec.length_m, rel=0.02)
    assert 1.0 / np.abs(track.curvature_1pm).max() >= spec.min_radius_m
    assert geometry.first_crossing(track.centerline) == (-1, -1)
    assert tight_places(track) == []
    least_m = spec.half_width_m * (1 - spec.width_variation) - 2 * spec.resolution_m
    for width in track.widths_m:
        assert least_m <= width.min()
        assert width.max() <= spec.widest_m + 1e-6
    border = np.concatenate([track.free[0], track.free[-1], track.free[:, 0], track.free[:, -1]])
    assert not border.any()
    _, row, col = what_is_at(track.free, track.frame, *track.centerline[0])
    assert np.array_equal(reachable(track.free, row, col), track.free)


@pytest.mark.slow
def test_each_of_three_hundred_seeds_gives_a_circuit_with_the_corners_of_real_ones() -> None:
    found = figures(lines(range(300)))
    assert len(found.length_m) == 300
    assert found.corners.min() >= 4, "no seed had to fall back on an oval"
    for figure in (*OF_CORNERS, *OF_LAPS):
        for share, below in shares_below(getattr(found, figure), figure).items():
            assert below == pytest.approx(share, abs=0.35 if figure == "area" else 0.15), figure


def test_the_length_of_a_circuit_is_drawn_from_its_seed_alone_and_known_without_building_it() -> None:
    lengths = [spec_of(names.recipe(f"circuit-{seed}")).length_m for seed in range(500)]
    assert min(lengths) >= 261.0
    assert max(lengths) <= 554.0
    assert float(np.median(lengths)) == pytest.approx(403.0, rel=0.05)
    assert spec_of(names.recipe("circuit-7")).length_m == lengths[7] != lengths[8]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("circuit-1-l99", "length_m is 99: a circuit has 100 to 1000 m"),
        ("circuit-1-l2000", "length_m is 2000: a circuit has 100 to 1000 m"),
        ("circuit-1-r0.3", "min_radius_m is 0.3: .* must be at least 0.50"),
        ("circuit-1-v0.6", "width_variation is 0.6: it is a share of the width from 0 to 0.5"),
        (
            "circuit-1-q3",
            r"no track called 'circuit-1-q3': after circuit-SEED may follow, .*: l \(length_m\), w ",
        ),
        (
            "circuit-1-w1-l300",
            "no track called 'circuit-1-w1-l300': after circuit-SEED may follow, in this order",
        ),
        ("circuits-1", "no track called 'circuits-1'; bundled: .* generated-SEED, circuit-SEED, hall-SEED"),
    ],
)
def test_a_circuit_that_cannot_be_built_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(TrackError, match=message):
        Track.load(name)
