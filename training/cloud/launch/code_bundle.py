"""The code that a machine runs: a tar.gz whose bytes, and so whose name, depend on the code alone."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path
from typing import NamedTuple

from ...errors import DataError

REQUIREMENTS = "requirements.txt"
CODE = "training"
# One time for every file, the image's too: the same code is the same archive, and numba before 0.68 keyed its cache so.
SOURCE_EPOCH_S = 1_577_836_800
_SUFFIXES = {".py", ".sha256", ".json", ".yaml", ".html", ".j2", ".csv", ".png", ".css", ".js", ".svg"}


class Bundle(NamedTuple):
    """The bytes, their name, and the requirements that the image must have."""

    data: bytes
    sha256: str
    requirements_sha256: str


def make_bundle(root: Path) -> Bundle:
    """Pack the code below `root`; the same code gives the same bytes again.

    Raises DataError where `root` is not this project.
    """
    requirements = root / REQUIREMENTS
    if not requirements.is_file() or not (root / CODE / "__main__.py").is_file():
        raise DataError(
            f"{root} lacks {CODE}/ or {REQUIREMENTS}", next_step="Run ./launch.py in its own folder."
        )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in _files(root):
            _add(archive, path.relative_to(root).as_posix(), path.read_bytes())
    # No name and no time in the gzip header either.
    data = gzip.compress(packed.getvalue(), compresslevel=6, mtime=0)
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    return Bundle(data, hashlib.sha256(data).hexdigest(), digest)


def _files(root: Path) -> list[Path]:
    code = [
        path
        for path in (root / CODE).rglob("*")
        if path.is_file() and path.suffix in _SUFFIXES and "__pycache__" not in path.parts
    ]
    return sorted([*code, root / REQUIREMENTS], key=lambda path: path.relative_to(root).as_posix())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(data), SOURCE_EPOCH_S, 0o644
    archive.addfile(entry, io.BytesIO(data))
