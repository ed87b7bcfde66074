"""Maps of this computer that a run's settings name: checked here, uploaded with the run, named by their content.

The simulator checks them, in a process of its own: the launcher itself starts without it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ConfigurationError, TrainingError, UsageError
from ...sim.track import names as track_names
from ...store.storage import Storage
from ...stored_runs import carried_maps
from ..console.wait_notices import heartbeat
from .settings_checks import circuit_of

# A broken map is an answer, with the exit code of `tracks pack` for it.
ANSWERS = {0, 65}


class OwnMap(NamedTuple):
    """A map of this computer, packed for a run."""

    name: str  # by which the run's settings call it
    files: tuple[Path, ...]
    length_m: float
    cells: int


def pack_for_launch(  # noqa: PLR0913 - a launch and where to work
    tracks: Mapping[str, Sequence[str]],
    overrides: Sequence[str],
    *,
    resume: bool,
    root: Path,
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, OwnMap]:
    """Pack the user's own maps for a launch; return them by what the settings call them.

    tracks: those that the settings, with the overrides applied, name, by the key of the setting. A run that continues
    (resume) has its maps: for it only the overrides count, and a map of the settings file may be on another computer.
    root: the folder of the code.
    """
    try:
        return pack(tracks, root, folder, say)
    except ConfigurationError:
        if not resume or any(_key(text) in tracks for text in overrides):
            raise
        return {}


def on_this_computer(names: Iterable[str]) -> list[str]:
    """Return the tracks that no machine has: neither made up, nor a circuit of the image, nor carried by the run."""
    return [
        name
        for name in dict.fromkeys(names)
        if track_names.recipe(name) is None
        and track_names.packed_parts(name) is None
        and circuit_of(name) is None
    ]


def pack(
    tracks: Mapping[str, Sequence[str]], root: Path, folder: Path, say: Callable[[str], None]
) -> dict[str, OwnMap]:
    """Check and pack the maps of this computer that settings name; return them by those names.

    tracks: by the key of the setting; root: the folder of the code. Raises ConfigurationError for one that cannot be
    trained on, in the simulator's words.
    """
    names = on_this_computer(name for some in tracks.values() for name in some)
    if not names:
        return {}
    with heartbeat(say, f"  still checking the maps {', '.join(names)}"):
        rows = _packed(names, root, folder)
    broken = [row["error"] for row in rows if "error" in row]  # which names the map
    if broken:
        settings = " and ".join(key for key, some in tracks.items() if set(names) & set(some))
        raise ConfigurationError(
            f"{settings}: {'; '.join(broken)}",
            next_step=f"A machine has {', '.join(f'{family}-SEED' for family in track_names.FAMILIES)}, "
            f"{', '.join(track_names.BUNDLED)} and the circuits {', '.join(track_names.CIRCUITS)}; "
            "docs/your_own_map.md says how a map of your own becomes a track.",
        )
    return {
        row["map"]: OwnMap(
            row["name"],
            tuple(Path(row["folder"]) / file for file in row["files"]),
            row["length_m"],
            row["cells"],
        )
        for row in rows
    }


def new_names(maps: Mapping[str, OwnMap]) -> dict[str, str]:
    """Return what the run will call each map, by its content, not by where it is here."""
    return {given: one.name for given, one in maps.items()}


def renamed_overrides(
    overrides: Sequence[str], tracks: Mapping[str, Sequence[str]], maps: Mapping[str, OwnMap]
) -> tuple[str, ...]:
    """Return `a.b=value` for a run that continues, with the maps as the run will call them.

    tracks: those of the renamed settings, with the overrides applied, by the key of the setting.
    """
    if not maps:
        return tuple(overrides)
    return tuple(
        f"{key}={json.dumps(tracks[key])}" if (key := _key(text)) in tracks else text for text in overrides
    )


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def taken_by(tracks: Iterable[str], maps: Mapping[str, OwnMap]) -> dict[str, OwnMap]:
    """Return those of the packed maps that a run's settings name: one that continues need not take all of them."""
    names = carried_maps.packed_names(tracks)
    return {given: one for given, one in maps.items() if one.name in names}


def upload(storage: Storage, run: str, maps: Mapping[str, OwnMap]) -> None:
    """Put the maps into the run; may be repeated after an interruption."""
    for one in maps.values():
        carried_maps.put(storage, run, one.name, one.files)


def check_carried(storage: Storage, run: str, tracks: Iterable[str], maps: Mapping[str, OwnMap]) -> None:
    """Raise UsageError for a map that a run should carry, and does not, and that is not about to be uploaded."""
    new = {one.name for one in maps.values()}
    names = [name for name in carried_maps.packed_names(tracks) if name not in new]
    lacking = carried_maps.missing(storage, run, names)
    if lacking:
        raise UsageError(
            f"run {run} does not carry the map {', '.join(lacking)}",
            next_step="Name the map's yaml file on this computer instead; it is uploaded with the run.",
        )


def _packed(names: Sequence[str], root: Path, folder: Path) -> list[dict[str, Any]]:
    # From the folder of the code, where no other package called training can take its place.
    places = [
        name if track_names.is_name(name) and not Path(name).exists() else str(Path(name).absolute())
        for name in names
    ]
    options = ["--json", "--out", str(folder), "--", *places]
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "training", "tracks", "pack", *options],
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        rows: list[dict[str, Any]] = json.loads(done.stdout if done.returncode in ANSWERS else "")
    except ValueError:
        last = done.stderr.strip().splitlines()[-3:] or ["it said nothing"]
        raise TrainingError(
            f"the maps {', '.join(names)} could not be checked, exit code {done.returncode}: {' '.join(last)}",
            next_step=f"By hand: .venv/bin/python -m training tracks check {shlex.join(names)}",
        ) from None
    return [{**row, "map": name} for row, name in zip(rows, names, strict=True)]
