"""The parts that we use of the optional package f1tenth_gym (v1.0.0), imported on first use."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import ConfigurationError
from ...sim import Lidar, Vehicle

if TYPE_CHECKING:
    from ...sim import Track

# Without pygame and OpenCV, which only its renderer imports. --no-deps, because it asks for a gymnasium of 2023 but
# runs with ours.
INSTALL = """\
.venv/bin/python -m pip install --no-deps \\
    scipy==1.15.3 yamldataclassconfig==1.5.0 dataclasses-json==0.6.7 marshmallow==3.26.2 \\
    typing-inspect==0.9.0 mypy-extensions==1.2.0 \\
    git+https://github.com/f1tenth/f1tenth_gym@5a301bd0ae1ceaf7dec653e7549c8d099db58a6b"""


class Package(NamedTuple):
    """Hold the package's classes and functions; it has no types."""

    race_car: Any
    simulator: Any
    car_action: Any
    integrator: Any
    scanner: Any
    track: Any
    ray_cast: Any
    vertices: Any


def load_package() -> Package:
    """Import the package.

    Raises:
        ConfigurationError: it, or one of its dependencies, is not installed; says how to.

    """
    try:
        base = importlib.import_module("f1tenth_gym.envs.base_classes")
        laser = importlib.import_module("f1tenth_gym.envs.laser_models")
        return Package(
            race_car=base.RaceCar,
            simulator=base.Simulator,
            car_action=base.CarAction,
            integrator=base.IntegratorType,
            scanner=laser.ScanSimulator2D,
            track=laser.Track,
            ray_cast=laser.ray_cast,
            vertices=base.get_vertices,
        )
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"env.backend = f1tenth_gym needs the package f1tenth_gym v1.0.0: {error}",
            next_step=f"Install it, or use env.backend = native:\n{INSTALL}",
        ) from error


def make_scanner(package: Package, track: Track) -> Any:  # noqa: ANN401 - the package has no types
    """Return the package's lidar over one of our tracks."""
    lidar = Lidar()
    scanner = package.scanner(lidar.beams, lidar.fov_rad)
    # Of a map's spec the lidar reads these two alone.
    spec = SimpleNamespace(resolution=track.resolution_m, origin=track.origin)
    cells = np.where(track.free, 255.0, 0.0).astype(np.float32)
    scanner.set_map(package.track(spec, cells))
    return scanner


def make_simulator(package: Package, num_cars: int) -> Any:  # noqa: ANN401 - the package has no types
    """Return the package's simulator of one environment, without a map."""
    params = Vehicle()._asdict()
    action = package.car_action(["speed", "steering_angle"], params)
    integrator = package.integrator.from_string("rk4")
    return package.simulator(params, num_cars, seed=0, action_type=action, integrator=integrator)
