"""`python -m training tracks` lists, makes, draws and checks tracks."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.sim.cluttered import pinched
from tests.tracks.command_line import run
from training.errors import DataError, UsageError
from training.sim import Track
from training.sim.track import catalog
from training.sim.track.names import BUNDLED, FAMILIES
from training.track_commands import TrackFinding, check, known_tracks, summary


@pytest.fixture(autouse=True)
def no_fetched_tracks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(catalog.DIRECTORY_VARIABLE, str(tmp_path / "fetched"))


def test_list_shows_bundled_and_fetched_tracks_with_their_figures(tmp_path: Path) -> None:
    Track.generate(1, 40.0, name="Monza").save(tmp_path / "fetched" / "Monza")
    listed = {one["name"]: one for one in json.loads(run("list", "--json"))}
    assert set(listed) == {*BUNDLED, "Monza"}
    assert listed["Monza"]["kind"] == "fetched"
    assert listed["club"]["kind"] == "bundled"
    assert listed["club"]["length_m"] == pytest.approx(100.0, rel=0.02)
    table = run("list")
    assert all(name in table for name in listed)
    assert "tracks fetch" not in table
    assert known_tracks()[-1] == ("Monza", "fetched")


def test_list_tells_how_to_fetch_the_real_circuits_when_there_are_none() -> None:
    assert "tracks fetch brings 23 real circuits" in run("list")


def test_make_writes_maps_that_load_as_the_tracks_of_those_seeds(tmp_path: Path) -> None:
    output = run("make", 5, "--count", 2, "--length-m", 40, "--out", tmp_path, "--image", "pgm")
    for seed in (5, 6):
        path = tmp_path / f"generated-{seed}-l40_map.yaml"
        assert f"{path}: lap 40.0 m" in output
        assert Track.load(path) == Track.generate(seed, 40.0)


@pytest.mark.parametrize("name", ["circuit-3-l120", "hall-3-l40-b2", "generated-5-r0.7"])
def test_make_writes_the_tracks_of_a_name_and_of_the_seeds_after_it(name: str, tmp_path: Path) -> None:
    output = run("make", name, "--count", 2, "--out", tmp_path)
    family, seed, *letters = name.split("-")
    for made in (name, "-".join([family, str(int(seed) + 1), *letters])):
        assert f"{tmp_path / made}_map.yaml: lap " in output
        assert Track.load(tmp_path / f"{made}_map.yaml") == Track.load(made)
        assert not [finding for finding in check(made) if finding.level == "error"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("kart",), "tracks make kart: it is a seed, or generated-SEED, circuit-SEED, hall-SEED"),
        (
            ("hall-1-z3",),
            r"tracks make hall-1-z3: after hall-SEED may follow, in this order, .* x \(hall_length_m\)",
        ),
        (("hall-1", "--length-m", 40), "tracks make hall-1 --length-m: a name says its arguments itself"),
    ],
)
def test_make_refuses_names_that_are_none_of_a_family(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run("make", *words)


def test_list_names_the_families_of_tracks_that_are_made_up() -> None:
    listed = run("list")
    assert all(f"{family}-SEED" in listed for family in FAMILIES)


def test_make_refuses_what_cannot_be_built(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"length_m is 3: .* the shortest lap is 16 m"):
        run("make", 1, "--length-m", 3, "--out", tmp_path)


def test_draw_shows_the_corridor_its_walls_and_the_start(tmp_path: Path) -> None:
    run("draw", "kart", "--out", tmp_path / "pictures" / "kart.png")
    with Image.open(tmp_path / "pictures" / "kart.png") as opened:
        picture = np.asarray(opened.convert("RGB"), int).reshape(-1, 3)
    for colour in (0x2B2D42, 0xF4F1EA, 0xD62839):  # wall, ground, start
        wanted = (colour >> 16, colour >> 8 & 255, colour & 255)
        assert (np.abs(picture - wanted).max(axis=1) < 3).sum() > 50


def test_draw_puts_many_tracks_on_one_sheet_also_turned_ones_and_those_without_a_centreline(
    tmp_path: Path,
) -> None:
    kart = Track.load("kart")
    turned = Track.from_occupancy(kart.free, kart.resolution_m, (1.0, 2.0, 0.8), name="turned").save(tmp_path)
    run("draw", "kart", "club", turned, "street", "generated-3-l50", "--out", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 3 * sheet.height / 2


def test_check_finds_nothing_wrong_with_bundled_tracks() -> None:
    for name in BUNDLED:
        assert check(name) == []
    assert "kart: nothing wrong" in run("check", "kart")


def test_check_says_which_map_is_broken_and_fails(tmp_path: Path) -> None:
    path = Track.generate(1, 40.0, name="oval").save(tmp_path)
    path.with_suffix(".png").unlink()
    assert [finding.level for finding in check(path)] == ["error"]
    with pytest.raises(DataError, match=r"1 of 2 maps cannot be used: .*oval_map.yaml"):
        run("check", "kart", path)


def test_check_of_a_map_without_a_centreline_warns(tmp_path: Path) -> None:
    path = Track.from_occupancy(np.ones((9, 9)), 0.1, (0, 0, 0), name="hall").save(tmp_path)
    (finding,) = check(path)
    assert finding == TrackFinding(
        "warning",
        "hall has no centreline: cars can drive on it but not learn. "
        f"Make one: python -m training tracks centreline {path}",
    )


def test_check_names_the_places_where_a_cars_body_touches_a_wall_on_the_centreline(tmp_path: Path) -> None:
    """0.05 m of free way beside the line is a line through free cells, and no place for a car."""
    findings = check(pinched().save(tmp_path))
    assert findings[0].level == "error"
    assert re.search(
        r"pinched: a car's body .* touches a wall on the centreline at \(6.00, 0.00\) m, 0.0 to 0.\d m from the start, "
        r"and at 1 more place; move the centreline there",
        findings[0].message,
    )


def warnings(track: Track, tmp_path: Path) -> str:
    """Save the track; return what `check` warns of."""
    findings = check(track.save(tmp_path))
    assert {finding.level for finding in findings} <= {"warning"}
    return "; ".join(finding.message for finding in findings)


def test_check_finds_a_hole_in_the_wall(tmp_path: Path) -> None:
    track = Track.generate(1, 40.0, name="oval")
    cells = track.free.copy()
    _, column = np.argwhere(cells)[-1]  # a cell of the corridor's uppermost row
    cells[-60:, column] = True
    holed = Track.from_occupancy(cells, track.resolution_m, track.origin, track.centerline, name="oval")
    where = f"row {len(cells) - 1} from the bottom, column {column}"
    assert f"oval: the track is open: free cells lead to the map's edge at {where}" in warnings(
        holed, tmp_path
    )


def test_check_of_an_open_track_names_the_threshold_that_makes_unknown_ground_free(tmp_path: Path) -> None:
    """map_saver's grey, 205, has a darkness of 0.1961: below a free_thresh of 0.25 it is free ground."""
    path = Track.generate(1, 40.0, name="oval").save(tmp_path)
    with Image.open(path.with_suffix(".png")) as opened:
        pixels = np.asarray(opened).copy()
    grown = grow(pixels == 254)
    Image.fromarray(np.where(pixels == 254, 254, np.where(grown, 0, 205)).astype(np.uint8)).save(
        path.with_suffix(".png")
    )
    assert check(path) == []
    path.write_text(path.read_text().replace("free_thresh: 0.196", "free_thresh: 0.25"))
    shown = np.asarray(Image.open(path.with_suffix(".png"))).copy()
    shown[:, shown.shape[1] // 2 :] = np.where(shown == 0, 205, shown)[:, shown.shape[1] // 2 :]
    Image.fromarray(shown).save(path.with_suffix(".png"))
    (finding,) = [one for one in check(path) if "is open" in one.message]
    assert finding.message.endswith(
        "; free_thresh 0.25 takes the grey of unknown ground (205) for free; with 0.196 it is none"
    )


def grow(cells: np.ndarray) -> np.ndarray:
    """Return the cells and those two around them."""
    grown = cells.copy()
    for _ in range(2):
        grown[1:] |= grown[:-1]
        grown[:-1] |= grown[1:]
        grown[:, 1:] |= grown[:, :-1]
        grown[:, :-1] |= grown[:, 1:]
    return grown


def test_check_finds_a_centreline_that_crosses_itself(tmp_path: Path) -> None:
    angle = 2 * np.pi * np.arange(200) / 200
    eight = np.stack([6 * np.sin(2 * angle), 6 * np.sin(angle + 0.01)], axis=1)
    hall = Track.from_occupancy(np.ones((400, 400)), 0.05, (-10, -10, 0), eight, name="eight")
    assert "eight: the centreline crosses itself at (" in warnings(hall, tmp_path)


def test_check_finds_turns_too_tight_and_places_too_narrow_for_a_car(tmp_path: Path) -> None:
    angle = 2 * np.pi * np.arange(40) / 40
    ring = 0.6 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    along = (np.arange(100) + 0.5) * 0.02 - 1.0
    cells = np.abs(np.hypot(*np.meshgrid(along, along)) - 0.6) < 0.3
    found = warnings(Track.from_occupancy(cells, 0.02, (-1, -1, 0), ring, name="dot"), tmp_path)
    assert "turns with 0.60 m radius at (" in found
    assert "between the walls at (" in found


def test_check_finds_widths_that_are_not_the_maps(tmp_path: Path) -> None:
    path = Track.generate(1, 60.0, name="oval").save(tmp_path)
    table = tmp_path / "oval_centerline.csv"
    table.write_text(table.read_text().replace(" 1.1, 1.1", " 0.7, 0.7"))
    (finding,) = check(path)
    assert "the centreline's widths say 1.40 m from wall to wall, the map shows 2.1" in finding.message


def test_a_summary_tells_length_width_turns_and_direction() -> None:
    track = Track.load("national")
    told = summary(track, "bundled")
    assert told.name == "national"
    assert told.length_m == track.length_m
    assert told.width_m == pytest.approx(2.2)
    assert told.tightest_turn_m == pytest.approx(1 / np.abs(track.curvature_1pm).max())
    assert 15.0 < told.longest_straight_m < 30.0
    assert told.clockwise == (track.curvature_1pm.sum() < 0)
    assert summary(track.reversed()).clockwise != told.clockwise
