"""Drivers on tyres that slip: they hold the road, follow the vehicle, and no lap beats the point mass."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.config import EnvSettings
from training.envs.drivers.grip import car_model, slipping_steering, speed_within_grip
from training.envs.drivers.grip_profile import point_mass_lap_s
from training.envs.drivers.grip_pursuit import GripPursuit, racing_shape
from training.envs.drivers.registry import DRIVERS, Driver, driver_of, make_driver
from training.envs.drivers.smooth_line import smooth_line
from training.envs.drivers.trial_laps import completes_laps
from training.envs.race import Race
from training.evaluation.lap_evaluation import Drive, evaluate
from training.sim import Track, Vehicle, World
from training.sim.dynamics import GRAVITY_MPS2
from training.sim.params import PROFILES

Array = NDArray[np.float64]
CAR = Vehicle()
SLIPPING = PROFILES["training"]._replace(slipping_tyres=True)
RATES = [{"action_repeat": 10, "beams": 20}, {"action_repeat": 4, "beams": 108}]
# Flowing, tight and narrow; the last three are among the tracks of training.
TRACKS = ("generated-1001", "generated-5-r0.7", "generated-19-w0.8-r0.9", "generated-23-w0.7-r0.7")


@pytest.fixture(scope="module")
def tracks() -> list[Track]:
    return [Track.load(name) for name in TRACKS]


def drive(driver: Driver, tracks: list[Track], starts: int = 3, laps: int = 1, **env: Any) -> list[Drive]:
    def control(race: Race, _observations: NDArray[np.float32]) -> Array:
        return race.actions_of(driver.act(race.world))

    settings = EnvSettings(tyres="saturating", **env)
    return evaluate(control, settings, tracks, starts=starts, laps=laps, seed=3)


@pytest.mark.parametrize("env", RATES)
@pytest.mark.parametrize("name", ["pure_pursuit", "racing_line"])
def test_each_line_is_driven_on_slipping_tyres_at_ten_and_at_twentyfive_hertz(
    tracks: list[Track], name: str, env: dict[str, Any]
) -> None:
    assert all(one.completed for one in drive(make_driver(name, tyres="saturating"), tracks, **env))


@pytest.mark.parametrize("env", RATES)
def test_follow_the_gap_brakes_for_its_grip(tracks: list[Track], env: dict[str, Any]) -> None:
    driver = make_driver("follow_the_gap", tyres="saturating")
    assert all(one.completed for one in drive(driver, tracks[:2], **env))


def test_the_racing_line_is_quicker_than_the_centreline_and_the_gap_and_none_beats_the_point_mass(
    tracks: list[Track],
) -> None:
    flowing = tracks[:2]
    second = {
        name: {
            one.track: one.lap_s[1]
            for one in drive(make_driver(name, tyres="saturating"), flowing, starts=1, laps=2, beams=108)
        }
        for name in DRIVERS
    }
    for track in flowing:
        bound_s = point_mass_lap_s(smooth_line(track, racing_shape(CAR)), CAR, 8.0)
        lap_s = {name: second[name][track.name] for name in DRIVERS}
        assert bound_s < min(lap_s.values())
        assert lap_s["racing_line"] == min(lap_s.values())
        assert lap_s["racing_line"] < 1.15 * bound_s


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pure_pursuit", "racing_line"])
def test_every_track_of_training_is_lapped(name: str) -> None:
    settings = EnvSettings(tyres="saturating")
    assert completes_laps(name, settings, [Track.load(one) for one in settings.tracks]).all()


def test_on_linear_tyres_nothing_has_changed_and_on_slipping_ones_everything_has(tracks: list[Track]) -> None:
    world = World(tracks, len(tracks), beams=108)
    world.reset([[track.pose_at(3.0)] for track in tracks])
    world.step(np.full((len(tracks), 1, 2), (0.0, 4.0)), 30)
    for name in DRIVERS:
        before = make_driver(name).act(world)
        np.testing.assert_array_equal(before, make_driver(name, 8.0, CAR, "linear").act(world))
        np.testing.assert_array_equal(before, make_driver(name, 8.0, CAR, "lateral_circle").act(world))
        assert not np.array_equal(before, make_driver(name, 8.0, CAR, "saturating").act(world))
        slipping = driver_of(name, EnvSettings(tyres="saturating"))
        np.testing.assert_array_equal(slipping.act(world), make_driver(name, tyres="saturating").act(world))


@pytest.mark.parametrize("tyres", ["linear", "saturating"])
@pytest.mark.parametrize("name", DRIVERS)
def test_the_steering_follows_the_vehicle(tracks: list[Track], name: str, tyres: str) -> None:
    """A servo with less range, not the same to both sides: no command beyond it, and some at its ends."""
    stock = CAR._replace(s_min=-0.263, s_max=0.313)
    rng = np.random.default_rng(1)
    world = World(tracks[0], 64, beams=20)
    poses = [
        [tracks[0].pose_at(rng.uniform(0.0, 100.0), rng.uniform(-0.5, 0.5), rng.uniform(-0.9, 0.9))]
        for _ in range(64)
    ]
    world.reset(poses)
    steering = make_driver(name, 8.0, stock, tyres).act(world)[..., 0]
    assert steering.min() == pytest.approx(-0.263)
    assert steering.max() == pytest.approx(0.313)


@pytest.mark.parametrize("name", ["pure_pursuit", "racing_line"])
def test_less_grip_is_driven_more_slowly(tracks: list[Track], name: str) -> None:
    """Half the friction, known to the driver: it laps, and takes longer."""
    slick = CAR._replace(mu=0.5 * CAR.mu)
    times = {}
    for car in (CAR, slick):
        world = World(tracks[0], 1, beams=20, vehicle=car, switches=SLIPPING)
        world.reset([[tracks[0].pose_at(0.0)]])
        driver = make_driver(name, 8.0, car, "saturating")
        while world.progress_m[0, 0] < tracks[0].length_m:
            world.step(driver.act(world), 4)
            assert not world.collisions.any()
            assert world.time_s[0] < 60.0
        times[car.mu] = float(world.time_s[0])
    assert times[slick.mu] > 1.2 * times[CAR.mu]


@pytest.mark.parametrize("speed_mps", [3.0, 5.0, 7.5])
def test_the_steering_for_a_curvature_is_that_of_steady_cornering(speed_mps: float) -> None:
    """Held for two seconds on an open field, the car drives the asked curvature."""
    free = np.ones((1000, 1000), dtype=np.bool_)
    world = World(Track.from_occupancy(free, 0.1, (-50.0, -50.0, 0.0)), 1, beams=4, switches=SLIPPING)
    world.reset([[(0.0, 0.0, 0.0)]])
    curvature = 0.6 * CAR.mu * GRAVITY_MPS2 / speed_mps**2
    steering = slipping_steering(curvature, speed_mps, car_model(CAR))
    for step in range(600):
        speed = float(world.states[0, 0, 3])
        # The speed controller is proportional: hold the speed against what sliding costs.
        world.step([[(steering if step > 150 else 0.0, speed_mps + 2.0 * (speed_mps - speed))]])
    speed, yaw_rate = float(world.states[0, 0, 3]), float(world.states[0, 0, 5])
    assert yaw_rate / speed == pytest.approx(curvature, rel=0.12)


def test_the_speed_controller_takes_no_more_than_the_grip_that_bends_leave() -> None:
    car = car_model(CAR)
    half = np.sqrt(0.75) * car.grip_mps2
    faster = speed_within_grip(8.0, 4.0, half, (0.8, 0.2), car)
    slower = speed_within_grip(1.0, 4.0, half, (0.8, 0.2), car)
    assert (faster - 4.0) * car.drive_gain_1ps == pytest.approx(0.8 * 0.5 * car.grip_mps2)
    assert (4.0 - slower) * car.brake_gain_1ps == pytest.approx(0.8 * 0.5 * car.grip_mps2)
    sliding = speed_within_grip(1.0, 4.0, 1.2 * car.grip_mps2, (0.8, 0.2), car)
    assert (4.0 - sliding) * car.brake_gain_1ps == pytest.approx(0.2 * car.grip_mps2)
    assert speed_within_grip(4.01, 4.0, 0.0, (0.8, 0.2), car) == 4.01


@pytest.mark.parametrize("name", DRIVERS)
def test_commands_do_not_depend_on_the_past_or_on_the_order_of_environments(
    tracks: list[Track], name: str
) -> None:
    rng = np.random.default_rng(4)
    world = World(tracks, len(tracks), 2, beams=108)
    world.reset([[track.pose_at(s, rng.uniform(-0.2, 0.2)) for s in (5.0, 40.0)] for track in tracks])
    world.step(np.full((len(tracks), 2, 2), (0.05, 3.0)), 20)
    order = [2, 0, 3, 1]
    turned = World([tracks[i] for i in order], len(tracks), 2, beams=108)
    turned.load_state_dict({k: np.ascontiguousarray(v[order]) for k, v in world.state_dict().items()})
    driver = make_driver(name, tyres="saturating")
    commands = driver.act(world)
    assert np.isfinite(commands).all()
    np.testing.assert_array_equal(driver.act(turned), commands[order])
    np.testing.assert_array_equal(driver.act(world), commands)


def test_a_slower_cap_is_kept(tracks: list[Track]) -> None:
    for name in DRIVERS:
        world = World(tracks[0], 1, beams=20, switches=SLIPPING)
        world.reset([[tracks[0].pose_at(0.0)]])
        driver = make_driver(name, 2.5, tyres="saturating")
        for _ in range(20):
            commands = driver.act(world)
            assert commands[0, 0, 1] <= 2.5
            world.step(commands, 10)


def test_a_driver_tells_which_tracks_it_laps(tracks: list[Track]) -> None:
    """The racing line of linear tyres is lost on slipping ones' hairpins; that of slipping tyres is not."""
    easy = Track.generate(1, length_m=60.0)
    told = completes_laps("racing_line", EnvSettings(tyres="linear"), [easy, tracks[3]])
    assert told.tolist() == [True, False]
    assert completes_laps("racing_line", EnvSettings(tyres="saturating"), [easy, tracks[3]]).all()


def test_the_trial_laps_are_driven_with_the_speeds_that_an_agent_has(tracks: list[Track]) -> None:
    """A run whose slowest speed is beyond what a hairpin bears has no expert there."""
    settings = EnvSettings(tyres="saturating", min_speed_mps=5.0)
    assert not completes_laps("racing_line", settings, tracks[3:]).any()


def test_no_two_vehicles_share_a_line() -> None:
    """Wider cars keep further from the walls."""
    wide = CAR._replace(width=0.5)
    assert GripPursuit(vehicle=wide).shape.margin_m == pytest.approx(GripPursuit().shape.margin_m + 0.095)
