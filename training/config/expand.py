"""Settings that others follow: those of a vehicle's file or a preset of randomisation, and a car's or a learner's own.

What they stand for is written into the settings themselves, so that a run's config.json needs no file and no preset of
this version. A setting that is given by itself wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigurationError
from .env import USUAL_CAP_MPS
from .randomisation import PRESETS
from .text import Given, Leaves, flatten, read_settings_file
from .vehicle import VEHICLES, CarSettings

_CAR, _RANDOMISATION = "env.car.", "env.randomisation."
_PRESET = _RANDOMISATION + "preset"


def expanded(leaves: Leaves) -> Leaves:
    """Return the settings with what a vehicle's file and a preset stand for.

    Raises:
        ConfigurationError: a vehicle's file cannot be read, or lacks or does not know a number.

    """
    return _with_top_speed(_with_preset(_with_vehicle(leaves)))


def without_replaced(leaves: Leaves, overrides: Leaves) -> Leaves:
    """Return a run's settings without what its preset or vehicle stands for, where overrides name another one."""
    replaced = [
        group for key, group in ((_PRESET, _RANDOMISATION), ("env.vehicle", _CAR)) if key in overrides
    ]
    return {key: given for key, given in leaves.items() if not key.startswith(tuple(replaced))}


def _with_vehicle(leaves: Leaves) -> Leaves:
    given = leaves.get("env.vehicle")
    if given is None or not isinstance(given.value, str) or given.value in VEHICLES:
        return leaves
    path = Path(given.value)
    if path.suffix not in {".yaml", ".yml"}:
        return leaves  # refused later, unless every number of env.car is given
    numbers = vehicle_file(path)
    found = {_CAR + name: Given(value, str(path)) for name, value in numbers.items()}
    return {**found, **leaves, "env.vehicle": Given(path.stem, given.source)}


def vehicle_file(path: Path) -> Mapping[str, object]:
    """Return the numbers of a vehicle's file, by the names that they have in env.car.

    Raises:
        ConfigurationError: it cannot be read, or a number is missing or unknown.

    """
    numbers = {
        key: given.value for key, given in flatten(CarSettings, read_settings_file(path), str(path)).items()
    }
    missing = [name for name in CarSettings.model_fields if numbers.get(name) is None]
    if missing:
        raise ConfigurationError(
            f"{path}: a vehicle's file gives every number of the car; it lacks {', '.join(missing)}",
            next_step="config.example.yaml lists them with units and legal ranges, below env.car; to change some of a "
            "known vehicle, set env.vehicle and those numbers of env.car instead.",
        )
    return numbers


def _with_preset(leaves: Leaves) -> Leaves:
    given = leaves.get(_PRESET)
    if given is None or not isinstance(given.value, str) or given.value not in PRESETS:
        return leaves
    ranges = PRESETS[given.value]
    found = {_RANDOMISATION + name: Given(span, f"preset {given.value}") for name, span in ranges.items()}
    return {**found, **leaves}


def with_decay(leaves: Leaves) -> Leaves:
    """Return the settings whose step size falls to a tenth of one that is given, as that of the default does."""
    rate = leaves.get("sac.learning_rate")
    if rate is None or "sac.learning_rate_end" in leaves or not isinstance(rate.value, (int, float)):
        return leaves
    end = rate.value / 10 or rate.value  # of the smallest numbers there is no tenth
    return {**leaves, "sac.learning_rate_end": Given(end, "a tenth of sac.learning_rate")}


def _with_top_speed(leaves: Leaves) -> Leaves:
    """Return the settings whose speed cap is at most what the car can do, where no cap is given."""
    vehicle, top = leaves.get("env.vehicle"), leaves.get(_CAR + "top_speed_mps")
    if "env.speed_cap_mps" in leaves:
        return leaves
    top_mps = (
        top.value
        if top is not None
        else VEHICLES.get(str(vehicle.value), {}).get("top_speed_mps")
        if vehicle
        else None
    )
    if isinstance(top_mps, (int, float)) and top_mps < USUAL_CAP_MPS:
        return {**leaves, "env.speed_cap_mps": Given(float(top_mps), "the car's top speed")}
    return leaves
