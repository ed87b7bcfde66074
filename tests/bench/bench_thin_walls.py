"""What a scan costs on maps without and with walls one cell thick.

    make bench ARGS="-k bench_thin_walls"

One thread, 64 environments that stand still: a step is a scan and little else. The same file runs in a worktree of an
earlier commit, to set both beside each other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.bench.measuring import in_turns
from tests.sim.drawn_maps import ring
from training.sim import Track, World
from training.sim.world import set_threads

ENVS, STEPS = 64, 10


def scanning(track: Track, beams: int) -> Callable[[], int]:
    """Return work that steps standing cars on one thread and counts scans."""
    world = World(track, ENVS, beams=beams)
    world.reset(np.array([[track.pose_at(e * track.length_m / ENVS)] for e in range(ENVS)]))
    still = np.zeros((ENVS, 1, 2))

    def work() -> int:
        set_threads(1)
        for _ in range(STEPS):
            world.step(still)
        return STEPS * ENVS

    return work


@pytest.mark.bench
@pytest.mark.parametrize("beams", [108, 1080])
def test_scans_beside_thin_walls(beams: int, record_speeds: Callable[..., None]) -> None:
    """Solid walls, a few cells that are thin, and nothing but lines one pixel wide."""
    maps = {name: Track.load(name) for name in ("kart", "generated-8-r0.7")} | {"a ring of lines": ring(1)}
    record_speeds(
        "thin walls",
        in_turns({f"{name}, {beams} beams": scanning(track, beams) for name, track in maps.items()}),
        peers=[f"kart, {beams} beams"],
    )
    set_threads(2)
