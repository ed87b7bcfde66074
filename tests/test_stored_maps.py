"""Maps that a run carries: found by name on another computer, or named as missing or damaged."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from training import layout
from training.config import Config, load_config
from training.sim import Track, TrackError
from training.sim.track import catalog
from training.store.directory import DirectoryStorage
from training.stored_runs import carried_maps
from training.track_commands.pack import Packed, pack


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a computer that knows no maps; return the folder of those that runs carry."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return catalog.packed_directories()[0]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStorage:
    return DirectoryStorage(tmp_path / "store")


@pytest.fixture
def hall(tmp_path: Path, store: DirectoryStorage) -> Packed:
    """Return a map that the run `race` carries."""
    packed = pack(Track.generate(3, name="hall").save(tmp_path / "mine"), tmp_path / "packed")
    carried_maps.put(store, "race", packed.name, [packed.folder / file for file in packed.files])
    return packed


def settings(*tracks: str, evaluation: str = "kart") -> Config:
    return load_config(None, [f"env.tracks=[{','.join(tracks)}]", f"evaluation.tracks=[{evaluation}]"])


def test_a_map_that_a_run_carries_loads_by_its_name(
    cache: Path, store: DirectoryStorage, hall: Packed
) -> None:
    with pytest.raises(TrackError, match=r"is not on this computer: .* evaluate RUN` brings it"):
        Track.load(hall.name)
    config = settings(hall.name, "kart")
    assert carried_maps.packed_names(config.all_tracks) == [hall.name]
    assert carried_maps.missing(store, "race", [hall.name]) == []
    carried_maps.bring(store, "race", config.all_tracks, needed=config.env.tracks)
    track = Track.load(hall.name)
    assert (track.name, track.digest) == ("hall", Track.load(hall.folder).digest)
    assert [path.name for path in cache.iterdir()] == [hall.name]


def test_its_files_lie_where_the_layout_says(store: DirectoryStorage, hall: Packed) -> None:
    keys = {entry.key for entry in store.list(f"{layout.maps_prefix('race')}/")}
    assert keys == {layout.map_file_key("race", hall.name[-16:], file) for file in hall.files}
    assert all(layout.is_own_key(key) for key in keys)


def test_another_map_never_takes_its_place(cache: Path, store: DirectoryStorage, hall: Packed) -> None:
    config = settings(hall.name)
    key = layout.map_file_key("race", hall.name[-16:], "hall_centerline.csv")
    whole = store.get(key, max_bytes=1 << 20).data
    store.put(key, whole.replace(b"1", b"2"))
    with pytest.raises(TrackError, match=r"the map hall@.* of run race is damaged: .* its launch"):
        carried_maps.bring(store, "race", config.all_tracks, needed=config.env.tracks)
    assert not list(cache.glob("*"))
    store.put(key, whole)
    carried_maps.bring(store, "race", config.all_tracks, needed=config.env.tracks)
    (cache / hall.name / "hall.png").write_bytes(b"half")  # here it is fetched again
    carried_maps.bring(store, "race", config.all_tracks, needed=config.env.tracks)
    assert Track.load(hall.name).digest == Track.load(hall.folder).digest


@pytest.mark.usefixtures("cache")
def test_one_that_is_missing_ends_learning_but_not_the_rest(store: DirectoryStorage, hall: Packed) -> None:
    gone = "other@0123456789abcdef"
    assert carried_maps.missing(store, "race", [gone, hall.name]) == [gone]
    config = settings(hall.name, evaluation=gone)
    carried_maps.bring(store, "race", config.all_tracks, needed=config.env.tracks)
    assert Track.load(hall.name).name == "hall"
    config = settings(gone)
    carried_maps.bring(store, "race", config.all_tracks)
    with pytest.raises(TrackError, match=rf"run race should carry the map {gone}: there is nothing below"):
        carried_maps.bring(store, "race", config.all_tracks, needed=config.env.tracks)


def test_without_a_cache_to_write_it_is_kept_with_temporary_files(
    cache: Path, store: DirectoryStorage, hall: Packed
) -> None:
    cache.parent.parent.mkdir()
    cache.parent.write_text("no folder", "utf-8")
    carried_maps.bring(store, "race", settings(hall.name).all_tracks, needed=[hall.name])
    assert Track.load(hall.name).name == "hall"
    temporary = catalog.packed_directories()[1]
    shutil.rmtree(temporary)
    temporary.write_text("no folder either", "utf-8")
    with pytest.raises(TrackError, match="cannot be kept on this computer"):
        carried_maps.bring(store, "race", settings(hall.name).all_tracks, needed=[hall.name])


def test_processes_that_begin_at_once_share_it(cache: Path, store: DirectoryStorage, hall: Packed) -> None:
    config = settings(hall.name)
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda _: carried_maps.bring(store, "race", config.all_tracks, needed=[hall.name]), range(32)
            )
        )
    assert [path.name for path in cache.iterdir()] == [hall.name], "nothing half-written stays"


@pytest.mark.usefixtures("cache")
def test_a_copy_carries_what_its_run_does(store: DirectoryStorage, hall: Packed) -> None:
    carried_maps.copy(store, "race", "fork")
    assert carried_maps.missing(store, "fork", [hall.name]) == []
    carried_maps.bring(store, "fork", settings(hall.name).all_tracks, needed=[hall.name])
    assert Track.load(hall.name).name == "hall"
