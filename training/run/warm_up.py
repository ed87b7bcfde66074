"""Compile ahead: the time that numba compiles at the first call must not be counted, or shown, as training."""

from __future__ import annotations

import time
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import rng
from ..agents.update import Backend, compile_update
from ..envs.batch import RaceBatch
from ..envs.drivers.registry import make_driver
from ..envs.race import Race
from ..sim import Track, World
from ..sim.world import PARALLEL_FROM

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import EnvSettings

# A warm cache answers in a second or two.
SLOW_WARM_UP_S = 5.0


def warm_up(settings: EnvSettings, track: Track, say: Callable[[str], None]) -> None:
    """Step a throw-away race, so that compiling the simulator is not counted, or shown, as training."""
    if settings.backend != "native":
        return
    began = time.monotonic()
    race = Race(settings, [track], max(settings.num_envs, PARALLEL_FROM))
    race.reset()
    race.step(np.zeros((race.num_envs, 1, 2)))
    took_s = time.monotonic() - began
    if took_s > SLOW_WARM_UP_S:
        say(f"compiled the simulator in {took_s:.0f} s; the next run finds it in the cache")


def warm_up_update(
    device: Any,  # noqa: ANN401 - torch.device
    say: Callable[[str], None],
    backend: Backend = "auto",
) -> None:
    """Make one update of throw-away networks, where the processor does the updates."""
    began = time.monotonic()
    compile_update(device, backend)
    took_s = time.monotonic() - began
    if took_s > SLOW_WARM_UP_S:
        say(f"compiled the update in {took_s:.0f} s; the next run finds it in the cache")


def precompile(settings: EnvSettings, say: Callable[[str], None]) -> None:
    """Call every compiled function once, with the types of a run; an image keeps the code for its instances."""
    track = Track.generate(seed=0)
    warm_up(settings, track, say)
    warm_up_update(rng.CPU, say)
    batch = RaceBatch(settings, [track], 2)
    batch.reset()
    for name, tyres in product(("racing_line", "follow_the_gap"), ("linear", "saturating")):
        driver = make_driver(name, settings.speed_cap_mps, tyres=tyres)
        batch.step(batch.race.actions_of(driver.act(batch.race.world)).astype(np.float32))
    few, there = np.zeros((2, 2, 3)), np.ones((2, 2), dtype=np.bool_)
    for profile in ("training", "f1tenth_gym"):
        world = World(track, num_envs=2, num_cars=2, profile=profile)
        world.reset(few)
        world.step(few[..., :2])
        world.place(few, there)
