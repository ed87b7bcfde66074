"""What users give an environment: settings as an object, a mapping or none, tracks as objects or names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..config import Config, EnvSettings, validated
from ..config.text import flatten
from ..errors import ConfigurationError
from ..sim import Track
from .drivers.registry import DRIVERS

if TYPE_CHECKING:
    from typing import TypeAlias

    Settings: TypeAlias = EnvSettings | Mapping[str, Any] | None


def settings_from(given: Settings) -> EnvSettings:
    """Return the settings of env.

    Raises:
        ConfigurationError: a mapping has a key that is no setting, or a value that is not legal.

    """
    if isinstance(given, EnvSettings):
        return given
    return validated(flatten(Config, {"env": dict(given or {})}, "settings")).env


def tracks_from(given: Track | str | Sequence[Track | str] | None, settings: EnvSettings) -> list[Track]:
    """Return the tracks that were named, or else those of the settings.

    Raises:
        TrackError: a name is unknown, or its map is broken.

    """
    if isinstance(given, (Track, str)):
        given = [given]
    named = settings.tracks if given is None else given
    return [track if isinstance(track, Track) else Track.load(track) for track in named]


def check_opponents(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of drivers.

    Raises:
        ConfigurationError: a name is none of a driver.

    """
    for name in [names] if isinstance(names, str) else names:
        if name not in DRIVERS:
            raise ConfigurationError(
                f"opponents: there is no driver {name!r}", next_step=f"Choose from {', '.join(DRIVERS)}."
            )
    return (names,) if isinstance(names, str) else tuple(names)
