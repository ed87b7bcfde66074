"""Maps in the ROS form mean what ROS says, come back as they were saved, and tell what is wrong with them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from tests.support.map_files import saved_oval, write_map
from training.sim import Track, TrackError
from training.sim.track import catalog


def row(*values: int) -> np.ndarray:
    return np.array([values], np.uint8)


@settings(deadline=None, max_examples=40)
@given(
    free=arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)).filter(np.any),
    resolution_m=st.floats(1e-6, 0.5),
    origin=st.tuples(*[st.floats(-1e6, 1e6)] * 3),
    image_format=st.sampled_from(["png", "pgm"]),
)
def test_any_map_comes_back_as_it_was_saved(
    tmp_path_factory: pytest.TempPathFactory,
    free: np.ndarray,
    resolution_m: float,
    origin: tuple[float, float, float],
    image_format: str,
) -> None:
    track = Track.from_occupancy(free, resolution_m, origin, name="any.map-1")
    path = track.save(tmp_path_factory.mktemp("maps"), image_format=image_format)
    assert Track.load(path) == track


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3]), st.sampled_from(["png", "pgm"]))
def test_a_track_with_its_centreline_comes_back_as_it_was_saved(
    tmp_path_factory: pytest.TempPathFactory, seed: int, variation: float, image_format: str
) -> None:
    track = Track.generate(seed, 40.0, width_variation=variation)
    directory = tmp_path_factory.mktemp("maps")
    for one in (track, track.mirrored(), track.reversed()):
        assert Track.load(one.save(directory, image_format=image_format)) == one


def test_a_track_of_sharp_corners_and_a_turned_map_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    cells = np.ones((200, 200), np.bool_)
    cells[60:140, 60:140] = False
    side = np.arange(12) * 0.5
    square = np.concatenate(
        [
            np.stack(corner)
            for corner in (
                [side, 0 * side],
                [0 * side + 6.0, side],
                [6.0 - side, 0 * side + 6.0],
                [0 * side, 6.0 - side],
            )
        ],
        axis=1,
    ).T
    turn = np.array([[math.cos(0.4), math.sin(0.4)], [-math.sin(0.4), math.cos(0.4)]])
    track = Track.from_occupancy(
        cells, 0.05, (3.0, -1.0, 0.4), (square + 2.0) @ turn + (3.0, -1.0), name="square"
    )
    assert Track.load(track.save(tmp_path)) == track


def test_the_files_are_those_that_other_f1tenth_tools_read(tmp_path: Path) -> None:
    track = Track.generate(1, 40.0, name="oval")
    path = track.save(tmp_path / "deep" / "er")
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        "oval_centerline.csv",
        "oval_map.png",
        "oval_map.yaml",
    ]
    pixels = np.asarray(Image.open(path.with_suffix(".png")))
    assert np.array_equal(pixels[::-1] == 254, track.free)
    assert set(np.unique(pixels)) == {0, 254}
    lines = (path.parent / "oval_centerline.csv").read_text().splitlines()
    assert lines[0] == "# x_m, y_m, w_tr_right_m, w_tr_left_m"
    assert lines[1] == "0.0, 0.0, 1.1, 1.1"


def test_saving_a_track_without_a_centreline_removes_the_one_before(tmp_path: Path) -> None:
    track = Track.generate(1, 40.0, name="oval")
    track.save(tmp_path)
    bare = Track.from_occupancy(track.free, track.resolution_m, track.origin, name="oval")
    assert Track.load(bare.save(tmp_path)) == bare


def test_the_first_row_of_the_image_is_the_top_of_the_map(tmp_path: Path) -> None:
    pixels = np.zeros((3, 4), np.uint8)
    pixels[0, 1] = 254
    track = Track.load(write_map(tmp_path, pixels))
    assert np.argwhere(track.free).tolist() == [[2, 1]]
    assert track.origin == (-1.0, -2.0, 0.0)


GREYS = row(0, 89, 128, 129, 200, 205, 206, 254, 255)


@pytest.mark.parametrize(
    ("changes", "options", "free"),
    [
        ({}, {}, "000000111"),  # 205 is map_saver's "unknown": not free
        ({"free_thresh": "0.25"}, {}, "000011111"),
        ({"free_thresh": "0.6"}, {}, "001111111"),
        ({"negate": "1"}, {}, "100000000"),
        ({"negate": "true"}, {}, "100000000"),
        ({"mode": "scale"}, {}, "000000111"),
        ({"mode": "Trinary"}, {}, "000000111"),
        ({}, {"unknown_is_free": True}, "001111111"),
        ({"occupied_thresh": "0.45"}, {"unknown_is_free": True}, "000011111"),
        ({"negate": "1"}, {"unknown_is_free": True}, "111100000"),
        ({}, {"rule": "f1tenth_gym"}, "000111111"),
        ({"negate": "1", "free_thresh": None}, {"rule": "f1tenth_gym"}, "000111111"),  # it reads neither
    ],
)
def test_thresholds_negate_and_unknown_decide_what_is_free(
    tmp_path: Path, changes: dict[str, str | None], options: dict[str, Any], free: str
) -> None:
    track = Track.load(write_map(tmp_path, GREYS, **changes), **options)
    assert "".join("01"[int(cell)] for cell in track.free[0]) == free


def colours(*pixels: tuple[int, ...]) -> np.ndarray:
    return np.array([pixels], np.uint8)


@pytest.mark.parametrize(
    ("pixels", "free"),
    [
        (colours((255, 255, 255), (0, 0, 0), (255, 0, 0)), "100"),
        (colours((255, 255, 255, 255), (255, 255, 255, 0), (0, 0, 0, 255)), "100"),  # transparent: unknown
        (np.array([[65535, 52000, 0]], np.uint16), "100"),
        (np.array([[True, False, True]]), "101"),
    ],
)
def test_images_in_colour_of_sixteen_bits_and_of_one_are_read(
    tmp_path: Path, pixels: np.ndarray, free: str
) -> None:
    track = Track.load(write_map(tmp_path, pixels))
    assert "".join("01"[int(cell)] for cell in track.free[0]) == free


def test_a_pgm_of_text_is_read(tmp_path: Path) -> None:
    path = write_map(tmp_path, image="hall.pgm")
    (tmp_path / "hall.pgm").write_text("P2\n# by hand\n3 2\n255\n254 0 0\n0 0 254\n")
    assert Track.load(path).free.tolist() == [[False, False, True], [True, False, False]]


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path) -> None:
    assert Track.load(write_map(tmp_path, resolution="5e-2", origin="[1e-1, 0, 1e-05]")).origin[2] == 1e-05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, r"hall.yaml: lacks 'image'; add a line such as `image: oval.png`"),
        ({"resolution": None}, r"hall.yaml: lacks 'resolution'; .* `resolution: 0.05`"),
        ({"free_thresh": None}, r"hall.yaml: lacks 'free_thresh'; .* `free_thresh: 0.196`"),
        ({"image": "gone.png"}, r"gone.png: is missing; hall.yaml names it as its image"),
        ({"image": "hall.yaml"}, r"hall.yaml: cannot be read as an image: cannot identify"),
        ({"resolution": "0"}, r"hall.yaml: a resolution of 0 m a cell is wrong"),
        ({"resolution": "fine"}, r"hall.yaml: resolution is 'fine', not a number"),
        ({"resolution": ".nan"}, r"hall.yaml: resolution is nan, not a number"),
        ({"origin": "[1.0, 2.0]"}, r"hall.yaml: the origin is three finite numbers.*\[1.0, 2.0\]"),
        ({"origin": "7"}, r"hall.yaml: origin is 7: it is a list"),
        ({"origin": "[a, 0, 0]"}, r"hall.yaml: origin is 'a', not a number"),
        ({"mode": "raw"}, r"hall.yaml: mode is 'raw': only trinary and scale"),
        ({"negate": "2"}, r"hall.yaml: negate is 2: it is 0 or 1"),
        ({"free_thresh": "0.9"}, r"free_thresh 0.9, occupied_thresh 0.65: .* not the larger"),
        ({"free_thresh": "0.0"}, r"hall.yaml: none of the map's 8 x 6 cells is free: check the thresholds"),
        ({"image": "'['\n - :"}, r"hall.yaml: cannot be read as a map's yaml: .* line 2"),
    ],
)
def test_a_broken_yaml_is_an_error_that_names_file_setting_and_value(
    tmp_path: Path, changes: dict[str, str | None], message: str
) -> None:
    with pytest.raises(TrackError, match=message):
        Track.load(write_map(tmp_path, **changes))


def test_a_yaml_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(TrackError, match=r"list.yaml: holds list, not a map's settings"):
        Track.load(tmp_path / "list.yaml")


def test_a_cut_off_image_is_refused(tmp_path: Path) -> None:
    path = write_map(tmp_path, np.random.default_rng(1).integers(0, 255, (60, 60)).astype(np.uint8))
    whole = (tmp_path / "hall.png").read_bytes()
    (tmp_path / "hall.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrackError, match=r"hall.png: cannot be read as an image: "):
        Track.load(path)


def test_an_unknown_rule_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(TrackError, match=r"rule is 'nav2': it is one of ros, f1tenth_gym"):
        Track.load(write_map(tmp_path), rule="nav2")


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda lines: lines[1:],
        lambda lines: ["x_m,y_m,w_tr_right_m,w_tr_left_m", *(line.replace(" ", "") for line in lines[1:])],
        lambda lines: ["# a comment", "", *lines, ""],
        lambda lines: ["# drawn by hand, in our hall", "# Hall, second floor", *lines],
        lambda lines: ["\ufeff" + lines[0], *lines[1:], lines[1]],
    ],
    ids=[
        "no header",
        "header without #",
        "comments and blank lines",
        "comments with commas",
        "byte order mark, closed",
    ],
)
def test_centrelines_in_other_hands_are_read_the_same(
    tmp_path: Path, rewrite: Callable[[list[str]], list[str]]
) -> None:
    path, lines = saved_oval(tmp_path)
    before = Track.load(path)
    (tmp_path / "oval_centerline.csv").write_text("\r\n".join(rewrite(lines)), encoding="utf-8")
    assert Track.load(path) == before


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (
            0,
            "# s_m, x_m, y_m, psi_rad",
            r"line 1 names the columns s_m, x_m, y_m, psi_rad, not x_m, y_m, w_tr_",
        ),
        (7, "1.0, 2.0", r"line 8 has 2 columns, not the four x_m, y_m, w_tr_right_m, w_tr_left_m"),
        (7, "1.0; 2.0; 1.1; 1.1", r"line 8 has 1 column, .*; it separates them by semicolons: put commas"),
        (0, "# x_m; y_m; w_tr_right_m; w_tr_left_m", r"line 1 separates the columns by semicolons"),
        (7, "1.0, nan, 1.1, 1.1", r"line 8: y_m is 'nan', not a number"),
        (7, "1.0, 2.0, wide, 1.1", r"line 8: w_tr_right_m is 'wide', not a number"),
        (7, "1.0, 2.0, 1.1, 0", r"line 8: w_tr_left_m is 0: a width is more than 0"),
    ],
)
def test_a_broken_centreline_is_an_error_that_names_the_line(
    tmp_path: Path, line: int, text: str, message: str
) -> None:
    path, lines = saved_oval(tmp_path)
    lines[line] = text
    (tmp_path / "oval_centerline.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(TrackError, match="oval_centerline.csv: " + message):
        Track.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# x_m, y_m, w_tr_right_m, w_tr_left_m\n", r"oval_centerline.csv: has no points"),
        (b"\xff\xfe\x00", r"oval_centerline.csv: cannot be read: .*utf-8"),
        (b"0,0,1,1\n1,0,1,1\n", r"oval_map.yaml: the centreline has 2 distinct points"),
        (b"0,0,1,1\n900,0,1,1\n", r"oval_map.yaml: the centreline leaves|oval_map.yaml: the centreline goes"),
    ],
)
def test_a_centreline_file_of_nothing_useful_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path, _ = saved_oval(tmp_path)
    (tmp_path / "oval_centerline.csv").write_bytes(content)
    with pytest.raises(TrackError, match=message):
        Track.load(path)


def test_a_map_of_the_wrong_resolution_is_refused(tmp_path: Path) -> None:
    path, _ = saved_oval(tmp_path)
    path.write_text(path.read_text().replace("resolution: 0.05", "resolution: 0.5"))
    with pytest.raises(TrackError, match=r"oval_map.yaml: .*0.5 m"):
        Track.load(path)


def test_a_directory_with_one_map_is_that_map(tmp_path: Path) -> None:
    path, _ = saved_oval(tmp_path)
    assert Track.load(tmp_path) == Track.load(path) == Track.load(str(path))
    write_map(tmp_path)
    with pytest.raises(TrackError, match=r"with one map's yaml is needed; it has hall.yaml, oval_map.yaml"):
        Track.load(tmp_path)


def test_a_digest_tells_maps_apart_and_names_not(tmp_path: Path) -> None:
    """One cell, one point of the line, a width, the place of the map: each is another map; a copy is the same."""
    track = Track.load(saved_oval(tmp_path)[0])
    assert track.digest == Track.load(saved_oval(tmp_path)[0], name="other").digest
    cells = track.free.copy()
    cells[0, 0] = True
    line = track.centerline.copy()
    line[3] += 1e-3
    widths = np.stack([track.width_right_m, track.width_left_m], axis=1)
    narrower = widths.copy()
    narrower[3, 0] -= 1e-3
    changed = [
        (cells, track.origin, track.centerline, widths),
        (track.free, (0.0, *track.origin[1:]), track.centerline - (track.origin[0], 0.0), widths),
        (track.free, track.origin, line, widths),
        (track.free, track.origin, track.centerline, narrower),
        (track.free, track.origin, None, None),
    ]
    digests = {
        Track.from_occupancy(free, track.resolution_m, origin, points, widths_m=given).digest
        for free, origin, points, given in changed
    }
    assert len(digests | {track.digest}) == 6


def test_a_name_can_be_given_at_loading(tmp_path: Path) -> None:
    assert Track.load(saved_oval(tmp_path)[0], name="mine").name == "mine"
    assert Track.load("kart", name="mine").name == "mine"


@pytest.mark.parametrize("path", ["gone/away.yaml", "gone.yaml", "./gone"])
def test_a_path_that_is_not_there_is_said_to_be_missing(path: str) -> None:
    with pytest.raises(TrackError, match=r"there is no such file"):
        Track.load(path)


def test_an_image_alone_is_no_map(tmp_path: Path) -> None:
    path = write_map(tmp_path).with_suffix(".png")
    with pytest.raises(TrackError, match=r"hall.png: is no map; name its yaml file"):
        Track.load(path)


def test_an_unknown_name_lists_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(catalog.DIRECTORY_VARIABLE, str(tmp_path))
    Track.generate(1, 40.0, name="Spielberg").save(tmp_path / "Spielberg")
    with pytest.raises(TrackError, match=r"called 'Monza'; bundled: kart, .*; fetched \(.*\): Spielberg"):
        Track.load("Monza")
    assert Track.load("Spielberg").name == "Spielberg"


def test_a_track_whose_fetch_broke_off_is_not_among_the_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(catalog.DIRECTORY_VARIABLE, str(tmp_path))
    Track.generate(1, 40.0, name="Spa").save(tmp_path / "Spa").unlink()
    assert catalog.fetched_names() == []


def test_fetched_tracks_lie_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(catalog.DIRECTORY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert catalog.directory() == tmp_path / "f1tenth-training" / "tracks"
    assert catalog.fetched_names() == []
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert catalog.directory() == Path(tmp_path) / ".cache" / "f1tenth-training" / "tracks"


@pytest.mark.parametrize("name", ["a/b", "..", "", "a b"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    track = Track.from_occupancy(np.ones((2, 2)), 0.05, (0, 0, 0), name=name)
    with pytest.raises(TrackError, match="cannot be a file"):
        track.save(tmp_path)


def test_an_unknown_image_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackError, match="image format 'bmp' is not one of png, pgm"):
        Track.generate(1, 40.0).save(tmp_path, image_format="bmp")
