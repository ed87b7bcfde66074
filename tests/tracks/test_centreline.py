"""A centreline for maps that have none: corridors, halls with rooms, several loops, unknown ground, lines of others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tracks.command_line import run
from training.errors import DataError, UsageError
from training.sim import Track, TrackError
from training.sim.clearance import tight_places
from training.track_commands import check, loop
from training.track_commands.centreline import Wish, find_centreline
from training.track_commands.line_files import CENTRELINE, RACING_LINE, read_line
from training.track_commands.survey import CAR_TURNING_RADIUS_M

RESOLUTION_M = 0.05
SIDE = 300
UNKNOWN = 205


def blank() -> np.ndarray:
    """Return a map (SIDE, SIDE) of walls, row 0 at the bottom, 0.05 m a cell, as pixels."""
    return np.zeros((SIDE, SIDE), np.uint8)


def room(  # noqa: PLR0917 - four edges
    pixels: np.ndarray, left: float, bottom: float, right: float, top: float, value: int = 254
) -> None:
    """Fill a rectangle given in metres from the lower left corner."""
    col, row, end_col, end_row = (round(edge / RESOLUTION_M) for edge in (left, bottom, right, top))
    pixels[row:end_row, col:end_col] = value


def corridor_ring() -> np.ndarray:
    """A corridor of 1.6 m round a block of rooms."""
    pixels = blank()
    room(pixels, 1.0, 1.0, 14.0, 10.0)
    room(pixels, 2.6, 2.6, 12.4, 8.4, 0)
    return pixels


def hall_with_side_rooms() -> np.ndarray:
    """The same with rooms behind doors of 1 m, a dead end, and a pole of 0.2 m in the way."""
    pixels = corridor_ring()
    room(pixels, 4.0, 10.3, 7.0, 13.0)
    room(pixels, 5.0, 10.0, 6.0, 10.3)
    room(pixels, 9.0, 5.0, 12.0, 7.5)
    room(pixels, 12.0, 6.0, 12.4, 7.0)
    room(pixels, 14.0, 1.0, 14.8, 2.0)
    room(pixels, 7.4, 1.3, 7.6, 1.5, 0)
    return pixels


def two_loops() -> np.ndarray:
    """A corridor round two blocks, with one between them."""
    pixels = corridor_ring()
    room(pixels, 6.0, 2.6, 7.6, 8.4)
    return pixels


def unknown_border() -> np.ndarray:
    """As slam_toolbox saves it: walls of two pixels, the ground that no beam reached is unknown."""
    pixels = np.full((SIDE, SIDE), UNKNOWN, np.uint8)
    room(pixels, 0.9, 0.9, 14.1, 10.1, 0)
    room(pixels, 1.0, 1.0, 14.0, 10.0)
    room(pixels, 2.6, 2.6, 12.4, 8.4, 0)
    room(pixels, 2.7, 2.7, 12.3, 8.3, UNKNOWN)
    return pixels


def drawn_in_the_open() -> np.ndarray:
    """Lines on white paper: free ground lies outside and inside, too, and leads round the lot."""
    pixels = np.full((SIDE, SIDE), 254, np.uint8)
    room(pixels, 0.9, 0.9, 14.1, 10.1, 0)
    room(pixels, 1.0, 1.0, 14.0, 10.0)
    room(pixels, 2.5, 2.5, 12.5, 8.5, 0)
    room(pixels, 2.6, 2.6, 12.4, 8.4)
    return pixels


def track_of(pixels: np.ndarray) -> Track:
    return Track.from_occupancy(pixels == 254, RESOLUTION_M, (-2.0, -1.0, 0.0), name="map")


def save(pixels: np.ndarray, directory: Path) -> Path:
    """Write the map as mapping tools do: map.png and map.yaml."""
    directory.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[::-1]).save(directory / "map.png")
    path = directory / "map.yaml"
    path.write_text(
        f"image: map.png\nresolution: {RESOLUTION_M}\norigin: [-2.0, -1.0, 0.0]\n"
        "negate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.196\n"
    )
    return path


# Round the block in the middle of a corridor of 1.6 m, its corners a little cut.
LAP_M = 2 * (13.0 - 1.6 + 9.0 - 1.6)


@pytest.mark.parametrize("drawing", [corridor_ring, hall_with_side_rooms, unknown_border, drawn_in_the_open])
def test_the_line_leads_round_the_block_in_the_middle_of_the_corridor(drawing) -> None:
    """Rooms, dead ends and what is outside make no lap; a pole is passed on one side."""
    found = find_centreline(track_of(drawing()), Wish())
    assert 0.88 * LAP_M < found.length_m < 1.01 * LAP_M
    assert tight_places(found) == []
    off_m = 0.5 * (found.width_left_m - found.width_right_m)
    assert np.median(np.abs(off_m)) < 0.05
    assert found.curvature_1pm.sum() > 0.0
    assert 1.0 / np.abs(found.curvature_1pm).max() > CAR_TURNING_RADIUS_M


def test_direction_and_start_are_as_asked_for() -> None:
    bare = track_of(corridor_ring())
    found = find_centreline(bare, Wish(start=(11.2, 4.0), clockwise=True))
    assert found.curvature_1pm.sum() < 0.0
    assert np.hypot(*(found.centerline[0] - (11.2, 4.0))) < 0.3
    assert found.heading_rad[0] == pytest.approx(-np.pi / 2, abs=0.1)


def test_a_map_of_several_loops_asks_for_a_start_and_takes_the_loop_through_it() -> None:
    bare = track_of(two_loops())
    with pytest.raises(
        TrackError, match=r"2 pieces of wall to drive round, .* such as --start .* or --start "
    ) as told:
        find_centreline(bare, Wish())
    for text in str(told.value).split("--start ")[1:]:
        x, y = (float(part) for part in text.split()[0].split(","))
        ground = loop.grounds_of(bare, (x, y))[0]
        assert ground.clear_m[loop._cell_of(bare, ground.step, (x, y))] > loop.CLEARANCE_M + 0.1, (
            "rounded or not"
        )
        assert find_centreline(bare, Wish(start=(x, y))).length_m > 15.0
    left = find_centreline(bare, Wish(start=(-0.2, 4.5)))  # in the corridor on the left
    right = find_centreline(bare, Wish(start=(11.2, 4.5)))
    assert left.centerline[:, 0].max() < 6.0
    assert right.centerline[:, 0].min() > 3.5
    assert left.length_m == pytest.approx(2 * (5.0 + 7.4), rel=0.12)


def test_a_hall_without_an_island_and_a_start_in_a_wall_are_told() -> None:
    hall = blank()
    room(hall, 1.0, 1.0, 14.0, 10.0)
    with pytest.raises(
        TrackError, match=r"the free ground has no loop: there is no wall inside it to drive round"
    ):
        find_centreline(track_of(hall), Wish())
    with pytest.raises(TrackError, match=r"the start \(5, 4\) m is in a wall"):
        find_centreline(track_of(corridor_ring()), Wish(start=(5.0, 4.0)))
    pipes = blank()
    room(pipes, 1.0, 1.0, 14.0, 1.3)
    with pytest.raises(TrackError, match="has no loop"):
        find_centreline(track_of(pipes), Wish())


@pytest.mark.parametrize("name", ["kart", "street", "generated-5-r0.7"])
def test_on_a_made_up_track_the_line_is_the_one_it_was_made_of(name: str) -> None:
    track = Track.load(name)
    bare = Track.from_occupancy(track.free, track.resolution_m, track.origin, name=name)
    found = find_centreline(bare, Wish(clockwise=bool(track.curvature_1pm.sum() < 0.0)))
    _, lateral_m = track.project(found.centerline)
    assert np.abs(lateral_m).max() < 0.3
    assert found.length_m == pytest.approx(track.length_m, rel=0.02)


def test_the_command_writes_checks_and_draws_and_replaces_nothing_unasked(tmp_path: Path) -> None:
    path = save(hall_with_side_rooms(), tmp_path)
    told = run("centreline", path)
    assert f"{tmp_path / 'map_centerline.csv'}: lap 3" in told
    assert (tmp_path / "map_centerline.png").stat().st_size > 10_000
    assert [one for one in check(path) if one.level == "error"] == []
    assert Track.load(path).length_m > 30.0
    with pytest.raises(DataError, match=r"has a centreline, map_centerline.csv: --force replaces it"):
        run("centreline", path)
    before = Track.load(path)
    run("centreline", path, "--force", "--clockwise")
    assert before.curvature_1pm.sum() * Track.load(path).curvature_1pm.sum() < 0.0
    with pytest.raises(UsageError, match="--start here: it is two numbers"):
        run("centreline", path, "--start", "here")


def other_files(directory: Path, line: np.ndarray) -> dict[str, str]:
    """Write a closed line as each tool does; return what each is."""
    s_m = np.arange(len(line)) * 0.2
    rows = [f"{s:.7f};{x:.7f};{y:.7f};1.5;0.0;8.0;0.0" for s, (x, y) in zip(s_m, line, strict=True)]
    head = "# 8288b625\n# 603fd398\n# s_m; x_m; y_m; psi_rad; kappa_radpm; vx_mps; ax_mps2\n"
    (directory / "race_raceline.csv").write_text(head + "\n".join(rows) + "\n")
    (directory / "bare_raceline.csv").write_text("\n".join(rows) + "\n")
    table = [f"{x};{y};0.8;0.8" for x, y in line]
    (directory / "tum.csv").write_text("# x_m;y_m;w_tr_right_m;w_tr_left_m\n" + "\n".join(table) + "\n")
    (directory / "centerline.csv").write_text(
        "\n".join(row.replace(";", ",") for row in [*table, table[0]]) + "\n"
    )
    points = [
        {"id": i, "x_m": x, "y_m": y, "d_right": 0.8, "d_left": 0.8} for i, (x, y) in enumerate(line.tolist())
    ]
    waypoints = {"est_lap_time": {"data": 3.8}, "centerline_waypoints": {"wpnts": points}}
    (directory / "global_waypoints.json").write_text(json.dumps(waypoints))
    (directory / "driven.json").write_text(json.dumps({"global_traj_wpnts_iqp": {"wpnts": points}}))
    return {
        "race_raceline.csv": RACING_LINE,
        "bare_raceline.csv": RACING_LINE,
        "tum.csv": CENTRELINE,
        "centerline.csv": CENTRELINE,
        "global_waypoints.json": CENTRELINE,
        "driven.json": RACING_LINE,
    }


def test_lines_of_other_tools_are_read_as_what_they_are(tmp_path: Path) -> None:
    """A racing line is said to be one; the widths come from the map, not from the file."""
    path = save(corridor_ring(), tmp_path)
    line = find_centreline(track_of(corridor_ring()), Wish(clockwise=True)).centerline
    for name, kind in other_files(tmp_path, line).items():
        read = read_line(tmp_path / name)
        assert read.kind == kind
        np.testing.assert_allclose(read.points, line, atol=1e-6)
        told = run("centreline", path, "--from", tmp_path / name, "--force")
        assert f"{name} is a {kind}" in told
        assert ("no centreline" in told) == (kind == RACING_LINE)
        track = Track.load(path)
        assert track.curvature_1pm.sum() < 0.0
        assert np.median(track.width_right_m + track.width_left_m) == pytest.approx(1.6, abs=0.1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", r"a.csv: has no points"),
        ("a.csv", "1,2,3\n4,5,6\n", r"a.csv: 3 columns and no header: put a line such as"),
        ("a.csv", "1,2\n1\n", r"a.csv: line 2 has 1 columns, the first 2"),
        ("a.csv", "x,y\n1,2\n", r"a.csv: line 1 is no row of numbers: 'x,y'"),
        ("a.json", "{}", r"a.json: has none of centerline_waypoints"),
        ("a.json", "[", r"a.json: is no global_waypoints.json"),
    ],
)
def test_a_file_of_something_else_is_refused_by_name(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TrackError, match=message):
        read_line(tmp_path / name)
