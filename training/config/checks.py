"""Checks of settings that need no simulator and no networks: the trainer makes them, and the launcher before it.

Each raises a ConfigurationError that names the setting, the value and what to do, in the same words in both places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import ConfigurationError
from ..process import program
from .env import RaceSettings
from .fields import MOST_STEERING_DELAY
from .randomisation import SIMPLE_RANGES
from .settings import Config, EnvSettings
from .vehicle import VEHICLES

# The settings of env that cars of one race share: a policy that learnt in other physics still drives.
PHYSICS = ("backend", "profile", "tyres", "vehicle")
# Those that say what the numbers of an observation and of an action mean, and how often there are any.
OBSERVATION_SETTINGS = (
    "beams",
    "scans_stacked",
    "proprioception",
    "scan_range_m",
    "action_repeat",
    "speed_cap_mps",
    "min_speed_mps",
)
# Those of the car: an action of 1 steers to the servo's end, a scan begins at the lidar and spans its angle.
_ACTED_ON = ("steering_min_rad", "steering_max_rad", "lidar_ahead_m", "lidar_fov_rad")


def check_backend(settings: EnvSettings) -> None:
    """Refuse what the package f1tenth_gym, where it drives, cannot do."""
    if settings.backend != "f1tenth_gym":
        return
    if settings.tyres != "linear":
        raise ConfigurationError(
            f"env.tyres = {settings.tyres}: f1tenth_gym's tyres are linear",
            next_step="Use env.tyres = linear, or env.backend = native.",
        )
    if settings.car_numbers != VEHICLES["f1tenth_gym"]:
        raise ConfigurationError(
            f"env.vehicle = {settings.vehicle}: the package f1tenth_gym drives its own vehicle alone",
            next_step="Use env.vehicle = f1tenth_gym without env.car, or env.backend = native.",
        )
    if asked := settings.randomisation.faults:
        raise ConfigurationError(
            f"env.{', env.'.join(asked)}: the package f1tenth_gym draws only {', '.join(SIMPLE_RANGES)}",
            next_step="Leave it out, or use env.backend = native.",
        )
    low, high = settings.randomisation.steering_delay_steps
    if not 1 <= low <= high <= MOST_STEERING_DELAY:
        raise ConfigurationError(
            f"env.randomisation.steering_delay_steps = [{low}, {high}]: "
            f"f1tenth_gym's cars take 1 to {MOST_STEERING_DELAY}",
            next_step="Change its ends, or use env.backend = native.",
        )


def check_packages(*, report: bool) -> None:
    """Refuse a run whose report could not be written at its end: a wheel may be installed without those packages."""
    missing = program.missing("report") if report else []
    if missing:
        raise ConfigurationError(
            f"training.report = true needs packages that are not installed: {', '.join(missing)}",
            next_step=f"Install them: {program.install_command(missing[0])}, or use training.report = false.",
        )


def learns_nothing(config: Config) -> str:
    """Say that a run will end before its first update, "" if it will not; max_minutes may end it earlier still."""
    sac, total = config.sac, config.training.total_timesteps
    step = config.env.num_envs * config.num_cars // config.num_agents
    rounds = sac.train_freq * step
    first = (sac.learning_starts // rounds + 1) * rounds
    if first <= -(-total // step) * step:
        return ""
    return (
        f"nothing will be learnt: the first update comes after {first:,} timesteps (sac.learning_starts = "
        f"{sac.learning_starts:,}, sac.train_freq = {sac.train_freq:,} times {step:,} in each step), "
        f"training.total_timesteps = {total:,}"
    )


def grid_capacity(length_m: float, spacing_m: float) -> int:
    """Return how many cars a lap of a track holds, one behind the other at a spacing, m.

    Side by side more would find room, but not where the track is narrow, and there they start in single file.
    """
    return int(length_m / spacing_m)


def check_grid_length(race: RaceSettings, num_cars: int, track: str, length_m: float) -> None:
    """Refuse more cars than a track of this name and length holds."""
    limit = grid_capacity(length_m, race.grid_spacing_m)
    if num_cars > max(limit, 1):
        raise ConfigurationError(
            f"training.num_agents = {num_cars}: the starting grid of track {track} holds at most {limit} cars "
            f"({length_m:.1f} m, one every env.race.grid_spacing_m = {race.grid_spacing_m:g} m)",
            next_step=f"Use at most {limit} agents, a longer track, or a smaller env.race.grid_spacing_m.",
        )


# --- what a new run takes over from others ---
def check_shape(what: str, theirs: Sequence[int], ours: Sequence[int]) -> None:
    """Refuse networks of another shape than this run's; theirs, ours: the widths of the actors' layers."""
    if tuple(theirs) != tuple(ours):
        their_words, our_words = ("-".join(map(str, one)) for one in (theirs, ours))
        raise ConfigurationError(
            f"{what}: its policies have layers of {their_words} units, those of this run would have {our_words}",
            next_step="Give env.beams, env.scans_stacked, env.proprioception and sac.net_arch the values of that run.",
        )


def check_compatible(what: str, theirs: EnvSettings, ours: EnvSettings) -> None:
    """Refuse a policy that would see and act here otherwise than it has learnt to; a race would translate.

    Other physics are not refused: they change what the car does, not what the numbers mean.
    """
    if other := other_meaning(theirs, ours):
        values = " ".join(f"--set {key}={_as_yaml(their)}" for key, (their, _) in other.items())
        raise ConfigurationError(
            f"{what}: it learnt with {differing_settings(other)} as in this run, and would take what it sees and does "
            "for something else",
            next_step=f"Give this run the values of that one: {values}\nOr leave it out of the pool.",
        )


def other_meaning(theirs: EnvSettings, ours: EnvSettings) -> dict[str, tuple[object, object]]:
    """Return the settings by which the same numbers mean something else, with both values."""
    found = _differing(theirs, ours, OBSERVATION_SETTINGS)
    car = _differing_car(theirs, ours, _ACTED_ON)
    return found | (_differing(theirs, ours, ("vehicle",)) if car else {}) | car


def other_physics(theirs: EnvSettings, ours: EnvSettings) -> dict[str, tuple[object, object]]:
    """Return the settings by which the car does something else at the same commands, with both values.

    Of the car's numbers those that one of both has of its own, besides its vehicle's.
    """
    own = [
        name for name in type(theirs.car).model_fields if getattr(theirs.car, name) != getattr(ours.car, name)
    ]
    return _differing(theirs, ours, PHYSICS) | _differing_car(theirs, ours, own)


def _differing(
    theirs: EnvSettings, ours: EnvSettings, names: Sequence[str]
) -> dict[str, tuple[object, object]]:
    pairs = {f"env.{name}": (getattr(theirs, name), getattr(ours, name)) for name in names}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _differing_car(
    theirs: EnvSettings, ours: EnvSettings, names: Sequence[str]
) -> dict[str, tuple[object, object]]:
    pairs = {f"env.car.{name}": (theirs.car_numbers[name], ours.car_numbers[name]) for name in names}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def differing_settings(other: Mapping[str, Sequence[object]]) -> str:
    """Return settings that differ for people."""
    return ", ".join(f"{key} = {their}, not {our}" for key, (their, our) in other.items())


def _as_yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
