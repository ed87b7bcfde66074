"""The maps of a run: load them, check that its cars fit, and check that they have not changed since it began.

A map is named by a path, and the file there may change between two attempts: redrawn walls would silently change the
task. So each checkpoint contains a digest of every map, and a resume compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..envs.car import vehicle_of
from ..envs.grid import check_grid, check_obstacles
from ..errors import DataError
from ..process.systemd_notify import alive
from ..sim import Track, TrackError
from ..sim.clearance import check_body_fits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ..config import EnvSettings

# The key of the digests, by the maps' names, in the meta of a checkpoint.
META = "maps"


def load(names: Iterable[str], loaded: Mapping[str, Track] | None = None) -> dict[str, Track]:
    """Return the tracks of some names; those that are loaded already are taken from there. Raises TrackError."""
    known, tracks = loaded or {}, {}
    for name in names:
        tracks[name] = known[name] if name in known else Track.load(name)
        alive()
    return tracks


def load_for_new_run(env: EnvSettings, unseen: Iterable[str], num_cars: int) -> dict[str, Track]:
    """Return all tracks of a run that begins, by name; unseen: those to be tested on.

    Raises a TrackError for one that is missing, broken, or so narrow that a car's body touches a wall on the
    centreline; a ConfigurationError for one that does not hold the cars.
    """
    tracks = load((*env.tracks, *unseen))
    for track in tracks.values():
        check_body_fits(track, vehicle_of(env))
        alive()
    check_grid(env, [tracks[name] for name in env.tracks], num_cars)
    check_obstacles(env, list(tracks.values()))
    return tracks


def digests(learnt: Iterable[str], unseen: Iterable[str], loaded: Mapping[str, Track]) -> dict[str, str]:
    """Return the digest of each map of a run, by name; an unseen one that does not load is left out."""
    found = {name: loaded[name].digest for name in learnt}
    for name in unseen:
        try:
            found |= {name: track.digest for name, track in load([name], loaded).items()}
        except TrackError:
            continue  # the report will say so; learning does without it
    return found


def check_unchanged(
    run: str, tracks: Collection[str], now: Mapping[str, str], saved: Mapping[str, str]
) -> str:
    """Refuse to resume a run whose maps have changed; return a message about changed evaluation maps.

    tracks: the maps that it learns on. now, saved: present digests and those of the checkpoint, by name; an old
    checkpoint may have none.

    Raises:
        DataError: a training map has changed; names it, and the ways to continue.

    """
    other = [name for name, digest in now.items() if saved.get(name, digest) != digest]
    learnt = [name for name in other if name in tracks]
    if learnt:
        told = ", ".join(f"{name} (digest {now[name][:12]}, it was {saved[name][:12]})" for name in learnt)
        raise DataError(
            f"run {run} has learnt on maps that have changed since its checkpoint: {told}",
            next_step="Put back image, yaml and centreline csv as they were. Or begin a new run, on the maps of today, "
            f"with its networks: python -m training train --init-from {run}",
        )
    return f"changed since the last attempt, to evaluate on: {', '.join(other)}" if other else ""
