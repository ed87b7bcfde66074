"""`tracks pack`: maps of one's own in the one form in which a run carries them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.tracks.command_line import run
from training.errors import DataError
from training.sim import Track, TrackError
from training.sim.track import names
from training.track_commands.pack import pack


@pytest.fixture
def hall(tmp_path: Path) -> Path:
    """Return the yaml of a map as its owner has it, the image in another folder."""
    folder = tmp_path / "mine"
    path = Track.generate(3, name="hall").save(folder)
    (folder / "images").mkdir()
    (folder / "hall_map.png").rename(folder / "images" / "Scan 1.PNG")
    path.write_text(
        path.read_text("utf-8").replace("hall_map.png", "images/Scan 1.PNG") + "# drawn by hand\n", "utf-8"
    )
    return path


def test_a_packed_map_is_the_track_that_its_owner_has(hall: Path, tmp_path: Path) -> None:
    packed = pack(hall, tmp_path / "out")
    assert names.packed_parts(packed.name) is not None
    assert packed.folder == tmp_path / "out" / packed.name
    assert sorted(path.name for path in packed.folder.iterdir()) == [
        "hall.png",
        "hall.yaml",
        "hall_centerline.csv",
    ]
    ours, theirs = Track.load(packed.folder), Track.load(hall)
    assert (ours.name, ours.digest) == ("hall", theirs.digest)
    assert (packed.length_m, packed.cells) == (theirs.length_m, theirs.free.size)


def test_the_name_depends_on_the_content_alone(hall: Path, tmp_path: Path) -> None:
    first = pack(hall, tmp_path / "one").name
    elsewhere = shutil.copytree(hall.parent, tmp_path / "elsewhere")
    assert pack(elsewhere / hall.name, tmp_path / "two").name == first
    table = elsewhere / "hall_centerline.csv"
    table.write_text(table.read_text("utf-8") + "\n", "utf-8")
    assert pack(elsewhere / hall.name, tmp_path / "two").name != first


@pytest.mark.parametrize(
    ("name", "stem"), [("Halle 5 (Süd)", "Halle-5-S-d"), ("日本", "map"), ("a" * 60, "a" * 40), ("-x_", "x")]
)
def test_a_name_of_any_characters_becomes_one_that_a_store_takes(
    name: str, stem: str, tmp_path: Path
) -> None:
    path = Track.generate(3, name="hall").save(tmp_path / "mine")
    for file in path.parent.iterdir():
        file.rename(file.with_name(file.name.replace("hall", name)))
    path = path.with_name(f"{name}_map.yaml")
    path.write_text(path.read_text("utf-8").replace("hall", name), "utf-8")
    packed = pack(path, tmp_path / "out")
    assert names.packed_parts(packed.name) == (stem, packed.name[-16:])
    assert Track.load(packed.folder).digest == Track.load(path).digest


def test_what_cannot_be_trained_on_is_refused_with_the_way_on(hall: Path, tmp_path: Path) -> None:
    (hall.parent / "hall_centerline.csv").unlink()
    with pytest.raises(
        TrackError, match=r"has no centreline. Make one: python -m training tracks centreline"
    ):
        pack(hall, tmp_path / "out")
    with pytest.raises(TrackError, match="made up by its name"):
        pack("generated-7", tmp_path / "out")
    with pytest.raises(TrackError, match="there is no track called 'atlantis'"):
        pack("atlantis", tmp_path / "out")
    with pytest.raises(TrackError, match="there is no such file"):
        pack(tmp_path / "none.yaml", tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing is written for a map that is refused"


def test_a_body_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    track = Track.generate(3, name="hall")
    row, col = np.unravel_index(np.argmax(track.distance_field_m), track.free.shape)
    free = track.free.copy()
    x, y = track.centerline[40]
    row, col = (
        int((y - track.origin[1]) / track.resolution_m),
        int((x - track.origin[0]) / track.resolution_m),
    )
    free[row - 1 : row + 2, col + 3 : col + 5] = False
    blocked = Track.from_occupancy(
        free, track.resolution_m, track.origin, track.centerline, name="hall",
        widths_m=np.stack([track.width_right_m, track.width_left_m], axis=1),
    )  # fmt: skip
    with pytest.raises(TrackError, match=r"a car's body .* touches a wall"):
        pack(blocked.save(tmp_path / "mine"), tmp_path / "out")


def test_a_file_that_is_too_large_is_refused_before_anything_is_written(
    hall: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.stored_runs.carried_maps.MAX_FILE_BYTES", 1 << 10)
    with pytest.raises(TrackError, match=r"hall.png has .* MiB .* save it as png"):
        pack(hall, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_tells_of_all_maps_before_it_fails(hall: Path, tmp_path: Path) -> None:
    told = run("pack", hall, "--out", tmp_path / "out")
    assert told.startswith(f"{tmp_path / 'out'}/hall@")
    rows = json.loads(run("pack", hall, "--out", tmp_path / "out", "--json"))
    assert rows[0]["files"] == ["hall.yaml", "hall.png", "hall_centerline.csv"]
    with pytest.raises(DataError, match="1 of 2 maps cannot be packed: atlantis"):
        run("pack", hall, "atlantis", "--out", tmp_path / "out")
