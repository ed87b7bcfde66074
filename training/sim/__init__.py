"""The batched F1TENTH simulator: numpy and numba alone.

The names below are looked up when they are first used: numba alone takes .4 s to import, and a command that only
reports an error need not wait for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import compiled
    from .params import Lidar, Randomisation, Switches, Vehicle
    from .track.spec import TrackError
    from .track.track import Track
    from .world import World, set_threads

__all__ = [
    "Lidar",
    "Randomisation",
    "Switches",
    "Track",
    "TrackError",
    "Vehicle",
    "World",
    "compiled",
    "set_threads",
]

_HOMES = {
    "Lidar": "params",
    "Randomisation": "params",
    "Switches": "params",
    "Track": "track.track",
    "TrackError": "track.spec",
    "Vehicle": "params",
    "World": "world",
    "set_threads": "world",
}


def __getattr__(name: str) -> object:
    """Import a public name's module (PEP 562)."""
    if name == "compiled":
        return importlib.import_module(".compiled", __name__)
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
