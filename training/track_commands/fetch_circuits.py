"""Fetch the real race tracks of f1tenth_racetracks, checked against pinned sums.

https://github.com/f1tenth/f1tenth_racetracks holds 23 circuits at 1:10 under GPL-3.0, which is why they
are fetched and not shipped. The commit and the SHA-256 of every file are pinned: what a mirror or a
broken line changed is refused. racetracks.sha256 is in the form of sha256sum.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from ..sim import TrackError
from ..sim.track import catalog
from ..sim.track.names import BUNDLED

COMMIT = "b95c4eff766f6367d66b310ea20cd2c9563712c0"
LICENCE = "LICENSE"
TIMEOUT_S = 30.0
ATTEMPTS = 3
_LARGEST_BYTES = 8 * 2**20


class Source(NamedTuple):
    """The location of the files and their expected digests."""

    address: str  # comes before each file's path
    pins: Path  # in the form of sha256sum
    pause_s: float = 1.0  # before the second attempt; twice that before the third


GITHUB = Source(
    address=f"https://raw.githubusercontent.com/f1tenth/f1tenth_racetracks/{COMMIT}",
    pins=Path(__file__).with_name("racetracks.sha256"),
)


class Pin(NamedTuple):
    """A file of the source, and its expected digest."""

    path: str
    sha256: str


def read_pins(path: Path) -> dict[str, list[Pin]]:
    """Return the pinned files of each track; the licence comes with every one."""
    pins: dict[str, list[Pin]] = {}
    licence = []
    for line in path.read_text(encoding="utf-8").splitlines():
        sha256, file = line.split("  ", 1)
        if file == LICENCE:
            licence.append(Pin(file, sha256))
        else:
            # "Mexico City/MexicoCity_map.yaml" is of the track MexicoCity
            pins.setdefault(Path(file).name.rpartition("_")[0], []).append(Pin(file, sha256))
    return {name: files + licence for name, files in pins.items()}


def fetch(
    names: Iterable[str] = (),
    directory: Path | None = None,
    *,
    source: Source = GITHUB,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Fetch tracks (all if no names) into directory/NAME; return those directories.

    What is there and whole already is not fetched again. A file appears only once its sum is right.
    Raises TrackError for an unknown name, without a
    network, and for a file that is not the pinned one.
    """
    known = read_pins(source.pins)
    wanted = list(names) or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise TrackError(f"{', '.join(unknown)}: not among the tracks to fetch, which are {', '.join(known)}")
    root = directory or catalog.directory()
    for name in wanted:
        missing = [pin for pin in known[name] if not _is_whole(root / name / Path(pin.path).name, pin)]
        for pin in missing:
            url = f"{source.address}/{urllib.parse.quote(pin.path)}"
            content = _download(url, source.pause_s)
            seen = hashlib.sha256(content).hexdigest()
            if seen != pin.sha256:
                raise TrackError(
                    f"{url} is not the pinned file: its SHA-256 is {seen}, not {pin.sha256}; "
                    "nothing of it was kept. Something between here and there changed it"
                )
            _place(root / name / Path(pin.path).name, content)
        progress(f"{name}: {f'fetched {len(missing)} files' if missing else 'already there'}")
    return [root / name for name in wanted]


def _is_whole(path: Path, pin: Pin) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == pin.sha256


def _place(path: Path, content: bytes) -> None:
    """Write the file so that it is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(content)
    partial.replace(path)


def _download(url: str, pause_s: float) -> bytes:
    """Return what the address holds; tries again, a little later, what may pass by itself."""
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise TrackError(f"{url}: tracks are fetched by http or https")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - checked above
                content = answer.read(_LARGEST_BYTES + 1)
        except urllib.error.HTTPError as error:
            reason, passes = (
                f"the server answered {error.code} {error.reason}",
                error.code in {429, 500, 502, 503},
            )
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason, passes = f"{getattr(error, 'reason', error)}", True
        else:
            if len(content) <= _LARGEST_BYTES:
                return content
            reason, passes = f"more than {_LARGEST_BYTES} bytes", False
        if not passes:
            break
        if attempt < ATTEMPTS:
            time.sleep(pause_s * 2 ** (attempt - 1))
    raise TrackError(
        f"cannot fetch {url}: {reason}. The bundled tracks ({', '.join(BUNDLED)}) and "
        "generated-SEED need no network"
    )
