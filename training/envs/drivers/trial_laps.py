"""Trial laps: whether a driver completes a track in the physics of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...process.systemd_notify import alive
from ..race import Race
from ..starts import clear_starts
from .registry import driver_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...config import EnvSettings
    from ...sim import Track

# Standing starts on each track, evenly spaced along its centreline.
_STARTS = 4
# A lap at a lower mean speed than this share of the speed cap is given up.
_SLOWEST_SHARE = 0.25


def completes_laps(name: str, settings: EnvSettings, tracks: Sequence[Track]) -> NDArray[np.bool_]:
    """Tell on which tracks (T,) a driver completes a lap from each of four standing starts, without a contact.

    name: of a driver. settings: of the car; without noise and randomisation, and in our simulator also where the
    backend is f1tenth_gym, whose physics it has.

    Raises:
        TrackError: a track has no centreline.
        DataError: there is no room for a car on a track.

    """
    race = _undisturbed_race(settings, [track for track in tracks for _ in range(_STARTS)])
    world, driver, lengths_m = race.world, driver_of(name, settings), race.lengths_m[:, 0]
    limit_s = float(lengths_m.max()) / (_SLOWEST_SHARE * settings.speed_cap_mps)
    going, done = np.ones(race.num_envs, dtype=np.bool_), np.zeros(race.num_envs, dtype=np.bool_)
    while going.any() and world.time_s.max() < limit_s:
        # Through the actions that an agent has: between the slowest speed and the cap.
        world.step(race.commands_of(race.actions_of(driver.act(world))), settings.action_repeat)
        alive()
        crashed = world.collisions[:, 0]
        done |= going & ~crashed & (world.progress_m[:, 0] >= lengths_m)
        over = going & (crashed | done)
        if over.any():
            world.take_out(over[:, None])
        going &= ~over
    whole: NDArray[np.bool_] = np.all(done.reshape(len(tracks), _STARTS), axis=1)
    return whole


def _undisturbed_race(settings: EnvSettings, fields: Sequence[Track]) -> Race:
    """Return a race of single cars, at rest on the centreline of each of the fields."""
    plain = {"scan_noise_m": 0.0, "randomisation": type(settings.randomisation)(), "random_starts": False}
    if settings.backend == "f1tenth_gym":
        plain |= {"backend": "native", "profile": "f1tenth_gym"}
    race = Race(settings.model_copy(update=plain), fields, len(fields))
    share = np.arange(len(fields)) % _STARTS / _STARTS
    poses = np.array(
        [[track.pose_at(part * track.length_m)] for track, part in zip(fields, share, strict=True)]
    )
    race.world.reset(clear_starts(race.world, settings, poses, np.ones((len(fields), 1), dtype=np.bool_)))
    return race
