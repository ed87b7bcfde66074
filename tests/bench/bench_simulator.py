"""The simulator beside f1tenth_gym v1.0.0 and f1tenth_gym_jax: the same track, cars that drive round it.

    make bench ARGS="-k bench_simulator"

Each of the environments starts at another place of the recordings' track and follows the centreline at 4 m/s by pure
pursuit; its commands are worked out before and replayed. A step is 10 ms of physics, with a scan; "repeat 10" is one
decision of 10 steps and one scan, as training drives, counted as 10. f1tenth_gym is stepped as its users do, by
`env.step` with its noise, and its Simulator alone, without noise. It is measured where it can be imported,
f1tenth_gym_jax where BENCH_JAX_PYTHON names a Python that has it (BENCH_JAX_PATH is put on that Python's path).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.bench.measuring import JAX_PYTHON, JaxPeer, flat, in_turns
from tests.parity import record
from training.config import EnvSettings, RaceSettings
from training.envs.batch import RaceBatch
from training.envs.drivers.registry import driver_of, make_driver
from training.sim import Track, World
from training.sim.world import set_threads

RECORDINGS = Path(__file__).parents[1] / "parity" / "recordings"
STEPS = 40
CARS = (1, 2, 4, 8, 16)
# profile, beams, cars, repeat: the goal beside env.step with as many cars, issue by issue.
GOALS = {
    ("f1tenth_gym", 1080, 1, 1): 30.0,
    ("training", 108, 1, 1): 250.0,
    ("training", 108, 1, 10): 250.0,
    ("training", 20, 1, 1): 800.0,
    ("training", 20, 1, 10): 800.0,
    ("f1tenth_gym", 1080, 4, 1): 200.0,
    ("training", 108, 4, 1): 200.0,
}
# What must never be lost again, beside env.step; on two quiet cores.
FLOORS = {("f1tenth_gym", 1080, 1, 1): 14.0, ("training", 108, 1, 1): 100.0}


@pytest.fixture(scope="module")
def recorded() -> record.Map:
    return record.load_map(RECORDINGS / "a_track.npz")


@pytest.fixture(scope="module")
def track(recorded: record.Map) -> Track:
    return Track.from_occupancy(
        recorded.occupancy.astype(bool), recorded.resolution, tuple(recorded.origin), recorded.centerline
    )


def grid(track: Track, envs: int, cars: int) -> np.ndarray:
    """Return poses (E, N, 3) all round the track, the cars of an environment 1.2 m apart."""
    places = [[e * track.length_m / envs - 1.2 * n for n in range(cars)] for e in range(envs)]
    return np.array([[track.pose_at(s % track.length_m) for s in row] for row in places])


def commands(track: Track, envs: int, cars: int, repeat: int) -> np.ndarray:
    """Return commands (STEPS, E, N, 2) of cars that stay on the track."""
    world = World(track, envs, cars, beams=4)
    world.reset(grid(track, envs, cars))
    driver, made = make_driver("pure_pursuit"), []
    for _ in range(STEPS):
        command = np.minimum(driver.act(world), [np.inf, 4.0])
        made.append(command)
        world.step(command, repeat)
    return np.stack(made)


def ours(track: Track, case: tuple[str, int, int, int], envs: int = 64) -> Callable[[], int]:
    """Return work that drives STEPS decisions of all environments and counts their physics steps."""
    profile, beams, cars, repeat = case
    world, poses = World(track, envs, cars, beams, profile=profile), grid(track, envs, cars)
    actions = commands(track, envs, cars, repeat)

    def work() -> int:
        world.reset(poses)
        for action in actions:
            world.step(action, repeat)
        return STEPS * repeat * envs

    return work


def package(where: record.Map, track: Track, cars: int) -> dict[str, Callable[[], int]]:
    """Return f1tenth_gym by `env.step`, and its Simulator alone, over a few of the same drives."""
    import f1tenth_gym.envs.f110_env as module
    from f1tenth_gym.envs.base_classes import RaceCar
    from f1tenth_gym.envs.track import Track as PackageTrack

    # Neither its window nor its random starts, which want a centreline of its own class, are used.
    module.make_renderer = lambda **_: (None, None)
    module.make_reset_fn = lambda **_: None
    starts, actions = grid(track, 8, cars), commands(track, 8, cars, 1)
    spec = SimpleNamespace(resolution=where.resolution, origin=tuple(float(v) for v in where.origin))
    alone = record.Reference(where, cars)
    lidar = RaceCar.scan_simulator
    env = module.F110Env(
        config={
            "map": PackageTrack(spec, where.occupancy.astype(np.float32) * 255.0),
            "num_agents": cars,
            "control_input": ["speed", "steering_angle"],
        }
    )
    RaceCar.scan_simulator = lidar
    turn = iter(int(e) for _ in iter(int, 1) for e in range(8))

    def by_env() -> int:
        e = next(turn)
        env.reset(options={"poses": starts[e]})
        for action in actions[:, e]:
            env.step(action)
        return STEPS

    def by_simulator() -> int:
        e = next(turn)
        alone.reset(starts[e])
        for action in actions[:, e]:
            alone.step(action)
        return STEPS

    return {_peer("env.step", cars): by_env, _peer("Simulator", cars): by_simulator}


@pytest.fixture
def jax_gym(recorded: record.Map, track: Track, tmp_path: Path) -> Iterator[Callable[[int], JaxPeer]]:
    """Return a function that starts f1tenth_gym_jax for a number of beams."""
    started: list[JaxPeer] = []

    def start(beams: int) -> JaxPeer:
        file = tmp_path / "track.npz"
        np.savez(file, **recorded._asdict(), poses=grid(track, 64, 1)[:, 0])
        started.append(JaxPeer("gym", str(file), str(beams), "64", "5"))
        return started[-1]

    yield start
    for peer in started:
        peer.close()


@pytest.mark.bench
@pytest.mark.parametrize("cars", [1, 4])
def test_steps_per_second_beside_the_packages(  # noqa: PLR0917 - fixtures
    recorded, track, cars, record_speeds, jax_gym, bench_note
) -> None:
    """Every case in turns with the package; the floors hold where it is there to compare with."""
    cases = [c for c in (*GOALS, ("training", 1080, 1, 1)) if c[2] == cars]
    candidates = {_name(case): ours(track, case) for case in cases}
    if record.is_installed():
        candidates |= package(recorded, track, cars)
    else:
        bench_note("f1tenth_gym v1.0.0 (not importable here)")
    if cars == 1 and JAX_PYTHON:
        candidates |= {f"f1tenth_gym_jax, {beams} beams": jax_gym(beams) for beams in (1080, 108)}
    elif cars == 1:
        bench_note("f1tenth_gym_jax (BENCH_JAX_PYTHON names no Python)")
    speeds = in_turns(candidates)
    goals = {_name(case): {_peer("env.step", cars): goal} for case, goal in GOALS.items()}
    record_speeds("simulator", speeds, peers=[n for n in speeds if n.startswith("f1tenth_gym ")], goals=goals)
    if record.is_installed():
        for case, floor in FLOORS.items():
            if case in cases:
                assert speeds[_name(case)] >= floor * speeds[_peer("env.step", cars)]


@pytest.mark.bench
@pytest.mark.parametrize(("beams", "repeat"), [(1080, 1), (108, 1), (20, 10)])
def test_speed_over_the_number_of_environments(track, beams, repeat, record_speeds) -> None:
    """Steps/s from 16 to 4,096 environments; the goal is that they stay within 20 % of one another."""
    sizes = (16, 64, 256, 1024, 4096)
    speeds = in_turns(
        {
            f"{_name(('training', beams, 1, repeat))}, {e} envs": ours(
                track, ("training", beams, 1, repeat), e
            )
            for e in sizes
        },
    )
    fastest, goals = flat(speeds, 0.2)
    record_speeds("growth", speeds, peers=[fastest], goals=goals)


@pytest.mark.bench
def test_two_threads_beside_one(track, record_speeds) -> None:
    """The goal is 1.8 times the steps with two cores; needs both of them quiet."""
    case = ("training", 1080, 1, 1)

    def with_threads(count: int) -> Callable[[], int]:
        work = ours(track, case, 256)

        def limited() -> int:
            set_threads(count)
            return work()

        return limited

    speeds = in_turns({f"{n} threads, {_name(case)}": with_threads(n) for n in (1, 2)})
    set_threads(2)
    one, two = (f"{n} threads, {_name(case)}" for n in (1, 2))
    record_speeds("threads", speeds, peers=[one], goals={two: {one: 1.8}})


@pytest.mark.bench
def test_car_steps_by_the_number_of_cars(recorded, track, record_speeds, bench_note) -> None:
    """Car-steps/s, 108 beams: with 16 cars in a race at least half of those with one; the package beside them."""
    candidates: dict[str, Callable[[], int]] = {}
    for cars in CARS:
        candidates[f"World, {_several(cars)}"] = _times(cars, ours(track, ("training", 108, cars, 1)))
        candidates[f"RaceBatch, {_several(cars)}"] = racing(track, cars)
        if record.is_installed():
            peer = _peer("env.step", cars)
            candidates[peer] = _times(cars, package(recorded, track, cars)[peer])
    if not record.is_installed():
        bench_note("f1tenth_gym v1.0.0 (not importable here)")
    one = "RaceBatch, 1 car"
    record_speeds(
        "cars",
        in_turns(candidates),
        peers=["World, 1 car", one],
        goals={f"RaceBatch, {_several(CARS[-1])}": {one: 0.5}},
    )


def racing(track: Track, cars: int, envs: int = 64) -> Callable[[], int]:
    """Return work that drives training's environments by pure pursuit, and counts physics steps of all cars.

    In single file and at one speed nobody meets anybody: a car that is out would cost next to nothing.
    """
    config = EnvSettings(beams=108, num_envs=envs, race=RaceSettings(grid="single_file"))
    batch, driver, actions = RaceBatch(config, [track], cars), driver_of("pure_pursuit", config), []
    batch.reset()
    begun = batch.state_dict()
    for _ in range(STEPS):
        command = np.minimum(driver.act(batch.race.world), [np.inf, 4.0])
        actions.append(batch.race.actions_of(command))
        batch.step(actions[-1])
    assert batch.active.all(), "all cars are still racing"

    def work() -> int:
        batch.load_state_dict(begun)
        for action in actions:
            batch.step(action)
        return STEPS * config.action_repeat * envs * cars

    return work


def _times(cars: int, work: Callable[[], int]) -> Callable[[], int]:
    return lambda: cars * work()


def _several(cars: int) -> str:
    return f"{cars} car{'s' * (cars > 1)}"


def _peer(what: str, cars: int) -> str:
    return f"f1tenth_gym {what}, {_several(cars)}"


def _name(case: tuple[str, int, int, int]) -> str:
    profile, beams, cars, repeat = case
    return f"profile {profile}, {beams} beams, {_several(cars)}, repeat {repeat}"
