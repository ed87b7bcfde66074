"""The car and its randomisation as settings: vehicles by name and by file, presets, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from training.config import Config, EnvSettings, load_config
from training.config.checks import check_backend
from training.config.expand import vehicle_file
from training.config.randomisation import PRESETS, RandomisationSettings, randomisation_of
from training.config.resume import changed
from training.config.vehicle import VEHICLES, CarSettings
from training.envs.car import actions_of, commands_of, vehicle_of
from training.envs.race import Race
from training.errors import ConfigurationError
from training.sim import Track, Vehicle
from training.sim.params import SPEED, STEERING


def env(*overrides: str) -> EnvSettings:
    return load_config(None, overrides).env


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_config(None, overrides)
    return str(refused.value)


@pytest.fixture
def car_file(tmp_path: Path) -> Path:
    path = tmp_path / "our_car.yaml"
    path.write_text(yaml.safe_dump({**VEHICLES["f1tenth_gym"], "mass_kg": 3.1, "length_m": 0.5}))
    return path


# --- vehicles ---
def test_the_default_is_the_simulators_own_vehicle():
    assert vehicle_of(EnvSettings()) == Vehicle()


@pytest.mark.parametrize("name", VEHICLES)
def test_every_vehicle_has_every_number_and_drives_a_lap_start(name):
    """Each stands, accelerates and turns both ways on tyres that slip, within its own limits."""
    assert set(VEHICLES[name]) == set(CarSettings.model_fields)
    settings = env(f"env.vehicle={name}", "env.tyres=saturating", "env.random_starts=false")
    race = Race(settings, [Track.generate(1)], 2)
    race.reset()
    car, low = race.vehicle, settings.min_speed_mps
    for _ in range(8):
        race.step(np.array([[[0.1, -0.6]], [[-0.1, -0.6]]]))
    assert not race.world.wall_contacts.any()
    wanted = low + 0.2 * (settings.speed_cap_mps - low)
    assert race.world.states[:, 0, SPEED] == pytest.approx([wanted] * 2, rel=0.35)
    assert race.world.states[:, 0, STEERING] == pytest.approx([0.1 * car.s_max, 0.1 * car.s_min], rel=0.01)
    assert settings.speed_cap_mps <= car.v_max


def test_every_number_is_a_setting():
    settings = env("env.vehicle=rpl4f110", "env.car.friction=0.7", "env.car.lidar_ahead_m=0.1")
    car = vehicle_of(settings)
    assert (car.mu, car.lidar_x, car.m) == (0.7, 0.1, 3.47)


def test_an_action_means_the_servos_end_on_its_side():
    settings = env("env.vehicle=f1tenth_stock")
    commands = commands_of(settings, np.array([[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]))
    np.testing.assert_allclose(commands[:, 0], [0.313, -0.263, 0.0])
    np.testing.assert_allclose(
        actions_of(settings, commands), [[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]], atol=1e-12
    )


def test_the_usual_speed_cap_is_lowered_to_what_the_car_can_do():
    assert env("env.vehicle=f1tenth_stock").speed_cap_mps == 5.04
    assert env("env.vehicle=f1tenth_stock", "env.speed_cap_mps=4.0").speed_cap_mps == 4.0
    assert env("env.car.top_speed_mps=6.0").speed_cap_mps == 6.0
    assert "top_speed_mps = 5.04 (f1tenth_stock)" in refusal(
        "env.vehicle=f1tenth_stock", "env.speed_cap_mps=8.0"
    )


def test_a_vehicle_may_come_from_a_file_that_is_not_needed_again(car_file):
    config = load_config(None, [f"env.vehicle={car_file}", "env.car.friction=0.9"])
    assert config.env.vehicle == "our_car"
    car_file.unlink()
    again = Config.from_json_dict(config.to_json_dict())
    assert again == config
    car = vehicle_of(again.env)
    assert (car.m, car.length, car.mu) == (3.1, 0.5, 0.9)


def test_a_file_with_a_missing_an_unknown_or_an_illegal_number_is_refused(car_file):
    numbers = yaml.safe_load(car_file.read_text())
    del numbers["mass_kg"]
    car_file.write_text(yaml.safe_dump(numbers))
    assert "it lacks mass_kg" in refusal(f"env.vehicle={car_file}")
    car_file.write_text(yaml.safe_dump({**numbers, "mass_kg": 3.0, "weight": 3.0}))
    assert "weight" in refusal(f"env.vehicle={car_file}")
    car_file.write_text(yaml.safe_dump({**numbers, "mass_kg": -3.0}))
    assert "mass_kg = -3.0" in refusal(f"env.vehicle={car_file}")
    car_file.write_text("- 3\n")
    assert "not groups of settings" in refusal(f"env.vehicle={car_file}")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        vehicle_file(car_file.with_name("nowhere.yaml"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("env.vehicle=batmobile", "'batmobile' is not known: choose f1tenth_gym"),
        (
            "env.car.length_m=0.3",
            "the wheelbase (cog_to_front_axle_m + cog_to_rear_axle_m = 0.3302) is longer",
        ),
        ("env.car.steering_min_rad=0.3", "Legal: number, -1 to -0.05"),
        ("env.car.mass_kg=-1", "Legal: number, 0.5 to 50"),
    ],
)
def test_cars_that_cannot_be_are_refused(override, said):
    assert said in refusal(override)


# --- presets of randomisation ---
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_written_out_and_a_range_given_by_itself_wins(preset):
    settings = env(
        f"env.randomisation.preset={preset}", "env.randomisation.drive_gain=[1.0, 1.0]"
    ).randomisation
    expected = randomisation_of(preset)
    assert settings == expected.model_copy(update={"drive_gain": (1.0, 1.0)})
    assert RandomisationSettings.model_validate(expected.model_dump()) == expected


def test_robust_includes_what_mild_draws():
    mild, robust = randomisation_of("mild"), randomisation_of("robust")
    for name in RandomisationSettings.model_fields:
        if name != "preset":
            low, high = getattr(mild, name)
            assert getattr(robust, name)[0] <= low <= high <= getattr(robust, name)[1], name


def test_another_preset_replaces_the_ranges_of_a_runs_own():
    config = load_config(None, ["env.randomisation.preset=robust"])
    assert config == Config.from_json_dict(config.to_json_dict())
    with pytest.raises(ConfigurationError, match="cannot change when a run continues"):
        changed(config, ["env.randomisation.preset=mild"])


def test_a_run_of_before_has_the_car_and_the_ranges_that_it_had():
    data = load_config(None).to_json_dict()
    for name in ("vehicle", "car"):
        del data["env"][name]
    data["env"]["randomisation"] = {
        "friction_factor": [0.9, 1.1],
        "mass_factor": [1.0, 1.0],
        "scan_noise_factor": [1.0, 1.0],
        "steering_delay_steps": [1, 3],
    }
    before = Config.from_json_dict(data).env
    assert vehicle_of(before) == Vehicle()
    drawn = before.randomisation
    assert (drawn.preset, drawn.friction_factor, drawn.scan_period_s) == ("none", (0.9, 1.1), (0.0, 0.0))


def test_a_preset_is_drawn_from_in_a_race():
    settings = env("env.randomisation.preset=robust", "env.tyres=saturating", "env.beams=36")
    race = Race(settings, [Track.generate(1)], 8)
    observations = race.reset()
    plain = Race(
        settings.model_copy(update={"randomisation": RandomisationSettings()}), [Track.generate(1)], 8
    )
    assert not np.array_equal(observations, plain.reset())
    for _ in range(10):
        assert np.isfinite(race.step(np.tile([0.1, 0.2], (8, 1, 1))).observations).all()


def test_boxes_that_leave_no_way_past_them_are_refused():
    settings = env("env.randomisation.obstacles=[1, 3]", "env.randomisation.obstacle_size_m=[1.5, 2.0]")
    with pytest.raises(ConfigurationError, match=r"a box of more than 1\.\d\d m leaves no way past it"):
        Race(settings, [Track.generate(1)], 1)


def test_the_package_refuses_by_name_what_it_cannot_do():
    for override, said in (
        ("env.vehicle=rpl4f110", "env.vehicle = rpl4f110"),
        ("env.car.mass_kg=3.0", "env.vehicle = f1tenth_gym"),
        ("env.randomisation.beam_dropout=[0.0, 0.1]", "env.randomisation.beam_dropout"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            check_backend(env("env.backend=f1tenth_gym", override))
