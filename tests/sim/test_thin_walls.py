"""No beam passes a wall, be it one pixel thick, and none changes where all walls are thicker."""

from __future__ import annotations

import numpy as np
import pytest

from tests.sim.cluttered import cluttered
from tests.sim.drawn_maps import first_entries, ring, scribble
from training.config import EnvSettings
from training.envs.race import Race
from training.sim import Track, World
from training.sim.params import PROFILES
from training.sim.thin_walls import lidar_field_cells, thin_cells
from training.sim.track.distance_transform import distance_transform_cells

BEAMS, FOV_RAD = 500, 4.7
OLD = PROFILES["training"]._replace(solid_thin_walls=False)


def scans(track: Track, poses: np.ndarray, switches=PROFILES["training"]) -> np.ndarray:
    """Return the ranges (k, BEAMS) m from poses (k, 3); footprints are not asked for."""
    world = World(
        track, len(poses), beams=BEAMS, switches=switches._replace(footprint_contact=False), max_range_m=60.0
    )
    world.reset(poses[:, None])
    return world.scans[:, 0].copy()


def entries_m(track: Track, poses: np.ndarray, cells: np.ndarray | None = None) -> np.ndarray:
    """Return how far the same beams go, m, until they enter an occupied cell."""
    cosine, sine = np.cos(track.origin[2]), np.sin(track.origin[2])
    dx, dy = poses[:, 0] - track.origin[0], poses[:, 1] - track.origin[1]
    starts = np.stack([dx * cosine + dy * sine, dy * cosine - dx * sine], axis=1) / track.resolution_m
    angles = (poses[:, 2:] - track.origin[2]) + np.linspace(-FOV_RAD / 2, FOV_RAD / 2, BEAMS)
    return first_entries(track.free if cells is None else cells, starts, angles) * track.resolution_m


def around(track: Track, count: int, seed: int = 0) -> np.ndarray:
    """Return poses (count, 3) in free cells, in any direction, at least three cells from an occupied one."""
    rng = np.random.default_rng(seed)
    rows, cols = np.nonzero(distance_transform_cells(track.free) > 4.0)
    chosen = rng.integers(0, len(rows), count)
    right = (cols[chosen] + rng.random(count)) * track.resolution_m
    up = (rows[chosen] + rng.random(count)) * track.resolution_m
    x, y, yaw = track.origin
    return np.stack(
        [
            x + right * np.cos(yaw) - up * np.sin(yaw),
            y + right * np.sin(yaw) + up * np.cos(yaw),
            rng.uniform(-np.pi, np.pi, count),
        ],
        axis=1,
    )


def on_the_ring(track: Track, count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    s_m, lateral_m = rng.uniform(0.0, track.length_m, count), rng.uniform(-0.7, 0.7, count)
    return np.stack(track.pose_at(s_m, lateral_m, rng.uniform(-3.0, 3.0, count)), axis=1)


def test_no_beam_of_a_million_passes_a_wall_of_one_pixel() -> None:
    """A ring drawn with lines: one beam in twenty ended behind them; now each ends where it enters one, to 0.1 mm."""
    track = ring(1)
    poses = on_the_ring(track, 2000)
    wanted = entries_m(track, poses)
    seen = scans(track, poses)
    assert seen.size == 1_000_000
    assert np.abs(seen - wanted).max() < 1e-4
    before = scans(track, poses[:200], OLD)
    assert (before > wanted[:200] + 0.15).mean() > 0.03, (
        "a wall of one pixel was passed, or this test proves nothing"
    )


@pytest.mark.parametrize("seed", range(4))
def test_lines_in_every_direction_are_met_where_they_begin(seed: int) -> None:
    """Cells that touch at a corner alone let no beam through; the map is turned."""
    track = scribble(seed)
    poses = around(track, 400, seed)
    assert np.abs(scans(track, poses) - entries_m(track, poses)).max() < 1e-4


def test_among_poles_and_gates_no_beam_ends_behind_a_thin_one() -> None:
    """Thick walls and thin ones on one map: beyond the edge of a thin one no beam gets farther than its cell."""
    track = cluttered(5)
    thin = thin_cells(track.free)
    assert thin.any()
    poses = around(track, 400)
    past = scans(track, poses) - entries_m(track, poses, ~thin)
    assert past.max() < 1.5 * track.resolution_m
    assert (scans(track, poses, OLD) - entries_m(track, poses, ~thin)).max() > 0.3


@pytest.mark.parametrize("name", ["kart", "club", "street", "generated-1", "generated-5-r0.7", "ring"])
def test_where_all_walls_are_thicker_every_beam_is_what_it_was(name: str) -> None:
    track = ring(3) if name == "ring" else Track.load(name)
    assert not thin_cells(track.free).any()
    poses = np.stack(track.pose_at(np.linspace(0.0, track.length_m, 100), 0.2), axis=1)
    np.testing.assert_array_equal(scans(track, poses), scans(track, poses, OLD))


def test_a_run_of_before_sees_what_it_saw() -> None:
    """By its settings, for beams that passed a wall changed nothing else."""
    track = ring(1)
    poses = np.stack(track.pose_at(np.linspace(0.0, track.length_m, 20), 0.3), axis=1)[:, None]
    seen = {}
    for solid in (True, False):
        race = Race(EnvSettings(beams=100, solid_thin_walls=solid), [track], 20)
        race.reset(poses=poses)
        seen[solid] = race.world.scans.copy()
    old = World(track, 20, beams=100, switches=OLD)
    old.reset(poses)
    np.testing.assert_array_equal(seen[False], old.scans)
    assert (seen[True] < seen[False] - 0.5).any()


@pytest.mark.parametrize(
    ("drawing", "thin"),
    [
        (("....", "####", "...."), 4),  # one cell thick
        (("....", "####", "####", "...."), 0),
        (("#...", ".#..", "..#."), 3),  # cells that touch at a corner
        (("##..", "##..", "..##", "..##"), 2),  # blocks that touch at a corner
        (("##..", "####", "..##"), 2),  # a wall two cells thick that steps aside: one cell thick there
        (("###", "###", "##."), 0),  # a corner
        ((".#.", "###"), 1),  # what stands out of a wall
    ],
)
def test_which_cells_a_line_can_cross_in_less_than_their_diagonal(
    drawing: tuple[str, ...], thin: int
) -> None:
    free = np.array([[cell == "." for cell in line] for line in drawing])
    for turned in (free, free[::-1], free[:, ::-1], free.T):
        assert thin_cells(np.ascontiguousarray(turned)).sum() == thin


def test_the_field_is_shortened_around_thin_walls_alone() -> None:
    free = np.ones((80, 200), dtype=np.bool_)
    free[:, :10] = free[:, -10:] = free[:10] = free[-10:] = False
    free[40, 40] = False  # a pole
    exact = distance_transform_cells(free)
    field, changed = lidar_field_cells(free, exact)
    assert changed
    assert ((field > 0.0) == free).all(), "a wall is a wall, and nothing else"
    assert (field <= exact).all()
    np.testing.assert_array_equal(field[:, 110:], exact[:, 110:])
    assert (field[38:43, 38:43] != exact[38:43, 38:43]).sum() == 24
