"""Pack maps of one's own for a run elsewhere: checked, in one form, in a folder that is named by their content."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

from ..sim import Track, TrackError
from ..sim.clearance import check_body_fits
from ..sim.track import catalog, map_files, names
from ..stored_runs import carried_maps


class Packed(NamedTuple):
    """A map that a run can carry."""

    name: str  # that settings call it by
    folder: Path
    files: tuple[str, ...]  # in the folder
    length_m: float  # of a lap
    cells: int  # of the map's image


def pack(map_: str | Path, directory: Path) -> Packed:
    """Write yaml, image and centreline of a map into a folder of `directory`; return what became of it.

    map_: as `Track.load` takes it. The same files give the same name, wherever they are stored. Raises a TrackError for
    a map that is broken, has no centreline or does not let a car's body through.
    """
    where = _yaml_of(map_)
    track = Track.load(where)
    source = map_files.sources(where)
    if track.centerline is None or source.table is None:
        raise TrackError(f"{where} has no centreline. Make one: python -m training tracks centreline {where}")
    check_body_fits(track)
    stem = names.plain_stem(track.name)
    image = f"{stem}{source.image.suffix.lower()}"
    files = {
        f"{stem}.yaml": yaml.safe_dump({**source.settings, "image": image}).encode(),
        image: source.image.read_bytes(),
        f"{stem}_centerline.csv": source.table.read_bytes(),
    }
    for file, data in files.items():
        if len(data) > carried_maps.MAX_FILE_BYTES:
            limit = carried_maps.MAX_FILE_BYTES >> 20
            raise TrackError(
                f"{where}: {file} has {len(data) / 2**20:.0f} MiB, a run carries {limit} MiB a file: save it as png"
            )
    name = names.packed_name(stem, carried_maps.digest(files))
    folder = directory / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    return Packed(name, folder, tuple(files), track.length_m, track.free.size)


def _yaml_of(map_: str | Path) -> Path:
    """Return the yaml of a map; TrackError for a track that is made up, which needs no files."""
    if names.is_name(map_) and not Path(map_).exists():
        if names.recipe(str(map_)) is not None:
            raise TrackError(f"{map_} is made up by its name: there are no files to pack")
        return map_files.find(catalog.fetched(str(map_)))
    return map_files.find(Path(map_))
