"""The baselines of a report: which drivers, for which car, and the times that no car drives."""

import pytest

from training.config import EnvSettings
from training.evaluation.baselines import EvalTrack, baseline_drivers, drive, references, tally
from training.sim import Track


@pytest.fixture(scope="module")
def track() -> Track:
    return Track.generate(1, length_m=60.0)


def test_the_point_mass_is_quicker_than_every_baseline(track: Track) -> None:
    settings = EnvSettings(tyres="saturating", beams=36)
    bound_s = references(track, settings).point_mass_s
    assert bound_s is not None
    driven = {}
    for name, (controller, own) in baseline_drivers(settings).items():
        _, drives = drive(controller, own, EvalTrack(track, seen=False), starts=1, laps=2)
        driven[name] = tally(drives)
    assert list(driven) == ["racing line", "pure pursuit", "follow-the-gap"]
    assert all(one.completed == 1 for one in driven.values())
    assert bound_s < min(one.best_lap_s or 0.0 for one in driven.values())
    assert (driven["racing line"].best_lap_s or 99.0) < 1.15 * bound_s


def test_without_a_limit_of_the_tyres_there_is_no_bound(track: Track) -> None:
    assert references(track, EnvSettings(tyres="linear")) == (None, None)


def test_less_grip_and_a_slower_cap_make_the_bound_slower(track: Track) -> None:
    plain = EnvSettings(tyres="saturating")
    slick = plain.model_copy(update={"car": plain.car.model_copy(update={"friction": 0.5})})
    slow = plain.model_copy(update={"speed_cap_mps": 3.0})
    times = [references(track, settings).point_mass_s or 0.0 for settings in (plain, slick, slow)]
    assert times[0] < min(times[1:])
