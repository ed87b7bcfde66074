"""The user's own maps that a run carries in the store, so that a machine and every later command find them.

The files of a map are stored below the run, in a folder named by their SHA-256. The settings of the run name the map
by the same digits (`hall@0123456789abcdef`), so no other map can take its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from .. import layout
from ..process.systemd_notify import alive
from ..sim.track import catalog
from ..sim.track import names as track_names
from ..sim.track.spec import TrackError
from ..store.storage import Corrupt, NotFound, Storage

# Of one file of a map: an image of 8,000 x 8,000 pixels is 64 MB where nothing compresses it.
MAX_FILE_BYTES = 64 << 20


def digest(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of a map's files, hexadecimal; files: bytes by name, in any order."""
    found = hashlib.sha256()
    for name, data in sorted(files.items()):
        found.update(f"{name}\0{len(data)}\0".encode())
        found.update(data)
    return found.hexdigest()


def packed_names(names: Iterable[str]) -> list[str]:
    """Return those of a run's tracks that are maps which it must carry."""
    return [name for name in names if track_names.packed_parts(name) is not None]


def missing(storage: Storage, run: str, names: Iterable[str]) -> list[str]:
    """Return those of some packed maps that a run does not carry."""
    return [name for name in names if not any(True for _ in storage.list(_folder(run, name)))]


def put(storage: Storage, run: str, name: str, files: Iterable[Path]) -> None:
    """Put the files of a packed map into a run; may be repeated after an interruption."""
    for path in files:
        storage.put(layout.map_file_key(run, _parts(name)[1], path.name), path)


def copy(storage: Storage, source: str, run: str) -> None:
    """Copy all maps that one run carries into another run of the store."""
    prefix = f"{layout.maps_prefix(source)}/"
    for entry in storage.list(prefix):
        data = storage.get(entry.key, max_bytes=MAX_FILE_BYTES).data
        storage.put(f"{layout.maps_prefix(run)}/{entry.key.removeprefix(prefix)}", data)
        alive()


def bring(storage: Storage, run: str, tracks: Iterable[str], needed: Collection[str] = ()) -> None:
    """Bring all maps that a run carries to this computer, where `Track.load` finds them by name.

    tracks: all that its settings name. Raises a TrackError for one of those needed that is not in the run, or damaged;
    the others fail when loaded.
    """
    for name in packed_names(tracks):
        try:
            _bring(storage, run, name)
        except TrackError:
            if name in needed:
                raise
        alive()


def _bring(storage: Storage, run: str, name: str) -> None:
    if any(_is_whole(directory / name, name) for directory in catalog.packed_directories()):
        return
    files = _read(storage, run, name)
    problems = []
    for directory in catalog.packed_directories():
        try:
            _write(directory, name, files)
        except OSError as error:
            problems.append(str(error))
        else:
            return
    raise TrackError(f"the map {name} of run {run} cannot be kept on this computer: {'; '.join(problems)}")


def _read(storage: Storage, run: str, name: str) -> dict[str, bytes]:
    """Return the files of a map in a run, by name; TrackError where they are not those that its name means."""
    folder = _folder(run, name)
    try:
        files = {
            entry.key.removeprefix(folder): storage.get(entry.key, max_bytes=MAX_FILE_BYTES).data
            for entry in storage.list(folder)
        }
    except (NotFound, Corrupt) as error:
        raise TrackError(f"the map {name} of run {run}: {error.message}") from error
    if not files:
        raise TrackError(
            f"run {run} should carry the map {name}: there is nothing below {storage.url}/{folder}"
        )
    if not digest(files).startswith(_parts(name)[1]):
        raise TrackError(
            f"the map {name} of run {run} is damaged: {storage.url}/{folder} does not hold the files of its launch"
        )
    return files


def _is_whole(directory: Path, name: str) -> bool:
    try:
        files = {path.name: path.read_bytes() for path in directory.iterdir()}
    except OSError:
        return False
    return digest(files).startswith(_parts(name)[1])


def _write(directory: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Write a map's folder at once: another process sees all of it or nothing."""
    directory.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=".half-", dir=directory))
    try:
        for file, data in files.items():
            (half / file).write_bytes(data)
        if (directory / name).exists() and not _is_whole(directory / name, name):
            shutil.rmtree(directory / name)
        with contextlib.suppress(FileExistsError):
            half.rename(directory / name)
    except OSError:
        if not _is_whole(directory / name, name):  # else another process was first
            raise
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _folder(run: str, name: str) -> str:
    return f"{layout.maps_prefix(run)}/{_parts(name)[1]}/"


def _parts(name: str) -> tuple[str, str]:
    parts = track_names.packed_parts(name)
    if parts is None:
        raise TrackError(f"{name!r} is no packed map")
    return parts
