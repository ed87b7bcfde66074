"""Record what f1tenth_gym v1.0.0 does, for the parity tests. Runs where that package is installed.

    python tests/parity/record.py TRACK.npz OUT.npz --kind fast --cars 1 --steps 600 --seed 7
    python tests/parity/record.py TRACK.npz OUT.npz --again OLD.npz     # the same poses and actions once more

The package's own `Simulator` is stepped, without its environment's wrapper, on a map that is handed over in memory, and
without scan noise. tests/parity/recordings/README.md describes both files.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

KINDS = ("lap", "fast", "crash", "reverse", "chase")
SCAN_EVERY = 10
_WHEELBASE_M = 0.3302


class Map(NamedTuple):
    """A track as its npz holds it."""

    occupancy: NDArray[np.uint8]  # (H, W), 1 = free, row 0 at the bottom
    resolution: float  # m
    origin: Array  # (3,) x m, y m, yaw rad
    centerline: Array  # (n, 2) m


def is_installed() -> bool:
    """Tell whether f1tenth_gym can be imported here."""
    return importlib.util.find_spec("f1tenth_gym") is not None


def load_map(path: Path) -> Map:
    """Read a track's npz."""
    with np.load(path) as arrays:
        return Map(arrays["occupancy"], float(arrays["resolution"]), arrays["origin"], arrays["centerline"])


class Reference:
    """Drive the cars of f1tenth_gym v1.0.0 on one map, with the meaning of `training.sim.World` for one environment."""

    def __init__(self, where: Map, num_cars: int) -> None:
        from f1tenth_gym.envs.action import CarAction
        from f1tenth_gym.envs.base_classes import DynamicModel, RaceCar, Simulator
        from f1tenth_gym.envs.f110_env import F110Env
        from f1tenth_gym.envs.integrator import IntegratorType
        from f1tenth_gym.envs.track import Track

        params = F110Env.default_config()["params"]
        RaceCar.scan_simulator = None  # class state: without this the first map would stay
        self._sim = Simulator(
            params,
            num_cars,
            seed=0,
            action_type=CarAction(["speed", "steering_angle"], params=params),
            integrator=IntegratorType.from_string("rk4"),
            model=DynamicModel.ST,
            time_step=0.01,
        )
        # A plain namespace: of the spec the simulator reads these two alone, and the package's own spec class only
        # works with yamldataclassconfig 1.5.
        spec = SimpleNamespace(resolution=where.resolution, origin=tuple(float(v) for v in where.origin))
        self._sim.set_map(Track(spec, where.occupancy.astype(np.float32) * 255.0))

    def reset(self, poses: Array) -> None:
        """Put the cars (N, 3) at rest and switch the scan's noise off."""
        self._sim.reset(np.array(poses, dtype=np.float64))
        for car in self._sim.agents:
            car.scan_rng = None

    def step(self, actions: Array) -> None:
        """Advance by 10 ms under (N, 2) steering rad, speed m/s."""
        self._sim.step(np.asarray(actions, dtype=np.float64))

    @property
    def states(self) -> Array:
        """(N, 7)."""
        return np.stack([car.state for car in self._sim.agents])

    @property
    def scans(self) -> Array:
        """(N, 1080) m."""
        return self._sim.agent_scans.copy()

    @property
    def collisions(self) -> NDArray[np.uint8]:
        """(N,)."""
        return self._sim.collisions.astype(np.uint8)

    @property
    def collision_idx(self) -> NDArray[np.int8]:
        """(N,)."""
        return self._sim.collision_idx.astype(np.int8)


class Driver:
    """Make up commands: pure pursuit of the centreline, disturbed as the kind asks."""

    def __init__(self, where: Map, kind: str, num_cars: int, seed: int) -> None:
        self._line, self._kind, self._cars = where.centerline, kind, num_cars
        self._rng = np.random.default_rng(seed)
        self._spacing_m = float(np.linalg.norm(np.roll(self._line, -1, axis=0) - self._line, axis=1).mean())
        self._wander = np.zeros(num_cars)

    def start(self) -> Array:
        """Return (N, 3): one behind the other, some side by side, yaw anywhere in (-3 pi, 3 pi)."""
        at = int(self._rng.integers(len(self._line)))
        poses = np.empty((self._cars, 3))
        for n in range(self._cars):
            i = (at - n // 2 * round(1.2 / self._spacing_m)) % len(self._line)
            ahead = self._line[(i + 1) % len(self._line)] - self._line[i - 1]
            yaw = np.arctan2(ahead[1], ahead[0])
            left = np.array([-np.sin(yaw), np.cos(yaw)])
            side = 0.0 if self._cars == 1 else (0.3 if n % 2 else -0.3)
            poses[n, :2] = self._line[i] + side * left
            poses[n, 2] = yaw + 2 * np.pi * self._rng.integers(-1, 2)
        return poses

    def command(self, step: int, states: Array) -> Array:
        """Return (N, 2) for the cars' states."""
        actions = np.empty((self._cars, 2))
        for n, state in enumerate(states):
            actions[n] = self._one(step, n, state)
        return actions

    def _one(self, step: int, n: int, state: Array) -> tuple[float, float]:
        x, y, _, speed, yaw = state[:5]
        self._wander[n] = 0.95 * self._wander[n] + self._rng.normal(0.0, 0.05)
        nearest = int(np.argmin(np.hypot(self._line[:, 0] - x, self._line[:, 1] - y)))
        reach_m = 0.6 + 0.25 * max(speed, 0.0)
        target = self._line[(nearest + round(reach_m / self._spacing_m)) % len(self._line)]
        bearing = np.arctan2(target[1] - y, target[0] - x) - yaw
        pursuit = float(np.clip(np.arctan(2 * _WHEELBASE_M * np.sin(bearing) / reach_m), -0.4189, 0.4189))
        if self._kind == "lap":
            return pursuit, 3.0 + self._wander[n]
        if self._kind == "fast":
            return pursuit + self._wander[n], (9.0 if step // 60 % 2 else 4.0)
        if self._kind == "crash":
            return float(self._wander[n] * 3.0), (6.0 if step // 100 % 3 else -3.0)
        if self._kind == "reverse":
            return float(self._wander[n] * 2.0), 3.0 * float(np.sin(step / 40.0 + n))
        return pursuit + self._wander[n], (5.0 if (n + step // 50) % 2 else 1.0)


def record(where: Map, poses: Array, actions: Array | Driver, steps: int) -> dict[str, NDArray[Any]]:
    """Run the reference and return the arrays of a recording.

    actions: (T, N, 2), or a Driver that is asked at each of `steps` steps.
    """
    reference = Reference(where, len(poses))
    reference.reset(poses)
    kept: dict[str, list[NDArray[Any]]] = {
        k: [] for k in ("actions", "states", "collisions", "collision_idx", "scans")
    }
    for t in range(steps):
        action = actions.command(t, reference.states) if isinstance(actions, Driver) else actions[t]
        reference.step(action)
        kept["actions"].append(action)
        kept["states"].append(reference.states)
        kept["collisions"].append(reference.collisions)
        kept["collision_idx"].append(reference.collision_idx)
        if (t + 1) % SCAN_EVERY == 0:
            kept["scans"].append(reference.scans)
    return {
        "initial_poses": np.asarray(poses),
        "scan_every": np.array(SCAN_EVERY),
        **{name: np.stack(values) for name, values in kept.items()},
    }


def main() -> None:
    """Read the command line, record, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("track", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind", choices=KINDS, default="lap")
    parser.add_argument("--cars", type=int, default=1)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", type=Path, help="a recording whose poses and actions are driven again")
    asked = parser.parse_args()
    if not is_installed():
        parser.error("f1tenth_gym v1.0.0 is not importable: put a checkout of it on PYTHONPATH")
    where = load_map(asked.track)
    if asked.again:
        with np.load(asked.again) as old:
            poses, actions = old["initial_poses"], old["actions"]
        arrays = record(where, poses, actions, len(actions))
    else:
        driver = Driver(where, asked.kind, asked.cars, asked.seed)
        arrays = record(where, driver.start(), driver, asked.steps)
    np.savez_compressed(asked.out, **arrays)
    print(f"{asked.out}: {len(arrays['states'])} steps, {int(arrays['collisions'].sum())} collisions")  # noqa: T201 - a command for people


if __name__ == "__main__":
    main()
