"""Races between policies and drivers: as typed, and their figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.report.runs import QUICK, driver_by_hand, make_run, save_policies, straight_on
from tests.sim.cluttered import cluttered
from training import layout
from training.__main__ import main
from training.config import EnvSettings, RaceSettings, load_config
from training.config.vehicle import CarSettings
from training.envs.drivers.registry import make_driver
from training.errors import UsageError
from training.evaluation.entrants import driver, parse
from training.evaluation.races import Entrant, pairings, physics_in_words, race_all
from training.evaluation.ratings import beaten, elo, table, wilson
from training.sim import Track
from training.store.checkpoint import claim
from training.store.open import open_store


@pytest.fixture(scope="module")
def track() -> Track:
    return Track.generate(1, length_m=60.0)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_run(open_store("."), "good")
    make_run(open_store("."), "bad", policy=straight_on(load_config(None, QUICK, "local")))
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main(["race", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("store")
def test_a_policy_that_laps_beats_one_that_drives_straight_into_the_wall(capsys) -> None:
    """All races won, the interval excludes chance, the loser's ends are at walls, laps are counted."""
    options = ("--races", "6", "--laps", "1", "--grid", "single_file")
    found = said(capsys, "good", "bad", "--track", "generated-1-l60", *options)
    good, bad = found["contestants"]
    assert (found["races"], found["laps"], found["track"]) == (6, 1, "generated-1-l60")
    assert found["grid"] == "single_file"
    assert (good["name"], good["wins"], good["finished"], good["win_rate"]) == ("good", 6, 6, 1.0)
    assert good["win_low"] > 0.5
    assert good["laps"] >= 6.0
    assert 5.0 < good["mean_finish_s"] < 30.0
    assert (bad["wins"], bad["finished"], bad["mean_finish_s"]) == (0, 0, None)
    assert bad["wall"] + bad["at_fault"] == 6


@pytest.mark.usefixtures("store")
def test_a_driver_by_name_races_a_run_and_the_table_says_how(capsys) -> None:
    track = ("--track", "generated-1-l60", "--races", "2", "--laps", "1")
    assert main(["race", "pure_pursuit", "bad", *track]) == 0
    text = capsys.readouterr().out
    assert "2 races of 1 lap on generated-1-l60" in text
    assert "2/2" in text
    assert "at fault" in text


@pytest.mark.usefixtures("store")
def test_the_policy_of_a_step_is_raced_by_run_at_step(capsys) -> None:
    storage = open_store(".")
    config = load_config(None, QUICK, "local")
    for step, policy in ((1_000, straight_on(config)), (2_000, driver_by_hand(config))):
        storage.put(layout.policy_key("good", 0, step), policy.encode())
    track = ("--track", "generated-1-l60", "--races", "2", "--laps", "1")
    early, late = said(capsys, "good@1000", "good@2000", *track)["contestants"]
    assert (early["name"], early["wins"], late["name"], late["wins"]) == ("good@1000", 0, "good@2000", 2)
    assert main(["race", "good@1500", "bad"]) == 64
    assert "no policy of agent 0 at step 1500; there are: 1000, 2000" in capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_one_of_several_agents_is_named_by_its_number(capsys) -> None:
    """By its kept policy, or that of a step; a run alone is the agent that laps best, its step alone the first."""
    storage, several = open_store("."), ("training.training_type=sac_multiagent", "training.num_agents=2")
    config = load_config(None, [*QUICK, *several], "local")
    straight, laps = straight_on(config), driver_by_hand(config)
    storage.put(layout.config_key("two"), json.dumps(config.to_json_dict()).encode())
    save_policies(claim(storage, "two", "sac_multiagent", 1), [straight, laps], 2_000, best_agent=1)
    for agent, policy in enumerate((straight, laps)):
        storage.put(layout.policy_key("two", agent, 1_000), policy.encode())
    options = ("--track", "generated-1-l60", "--races", "2", "--laps", "1", "--grid", "single_file")
    for better, worse in (
        ("two:1", "two:0"),
        ("two", "two:0"),
        ("two@1000:1", "two@1000"),
        ("two:1", "two@1000:0"),
    ):
        first, second = said(capsys, better, worse, *options)["contestants"]
        assert (first["name"], first["wins"], second["name"], second["wins"]) == (better, 2, worse, 0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("good", "worse"), "no run called 'worse'"),
        (("good", "good@"), "'good@' names no policy of a run\nGive one of RUN, RUN@STEP"),
        (("good", "good@12"), "no policy of agent 0 at step 12; there are: none"),
        (("good", "good:1"), "run good has no agent 1"),
        (("good", "bad", "--track", "nowhere"), "nowhere"),
    ],
)
@pytest.mark.usefixtures("store")
def test_who_cannot_race_is_named_with_the_next_step(capsys, arguments, told) -> None:
    assert main(["race", *arguments]) in {64, 65}
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "raced_on"),
    [
        (("evaluation.tracks=[generated-3-l60]",), "generated-3-l60"),
        (("evaluation.tracks=[]",), "generated-1001"),
        (("evaluation.tracks=[]", "env.tracks=[generated-1-l60, generated-1001]"), "generated-1002"),
        (("evaluation.tracks=[generated-1-l60, generated-2-l60]",), "generated-2-l60"),
    ],
)
def test_without_a_track_they_race_on_one_that_the_first_run_has_not_seen(
    store, capsys, settings, raced_on
) -> None:
    """A track for evaluation if one was kept from training, else a generated one that is not among its own."""
    make_run(open_store(str(store)), "one", *settings)
    assert said(capsys, "one", "bad", "--races", "1", "--laps", "1")["track"] == raced_on


def test_runs_of_beams_that_fit_into_no_scan_are_refused_with_the_values(track) -> None:
    controller = make_driver("pure_pursuit")
    one = Entrant("one", EnvSettings(beams=1000), controller)
    other = Entrant("other", EnvSettings(beams=1080), controller)
    with pytest.raises(UsageError, match=r"env\.beams of 1000 and 1080"):
        race_all([one, other], [(0, 1)], track)
    narrow = Entrant("narrow", EnvSettings(car=CarSettings(lidar_fov_rad=3.14)), controller)
    whole = Entrant("whole", EnvSettings(), controller)
    with pytest.raises(
        UsageError, match=r"env\.car\.lidar_fov_rad differs: 4\.7 for whole, 3\.14 for narrow"
    ):
        race_all([whole, narrow], [(0, 1)], track)


OTHER_PHYSICS = {
    "tyres": ("env.tyres=linear", "env.tyres = linear, not saturating"),
    "profile": (
        "env.profile=f1tenth_gym",
        "env.profile = f1tenth_gym, not training, env.tyres = linear, not saturating",
    ),
    "vehicle": ("env.vehicle=rpl4f110", "env.vehicle = rpl4f110, not f1tenth_gym"),
}


@pytest.mark.parametrize("name", OTHER_PHYSICS)
def test_of_runs_that_learnt_in_other_physics_the_first_ones_hold_and_one_line_says_so(
    store, capsys, name: str
) -> None:
    setting, differing = OTHER_PHYSICS[name]
    make_run(open_store(str(store)), "other", setting)
    options = ("--track", "generated-1-l60", "--races", "2", "--laps", "1")
    assert main(["race", "good", "other", *options]) == 0
    line = f"The races have the physics of good: other learnt with {differing}. Name another one first for its physics."
    assert line in capsys.readouterr().out.replace("\n", " ")
    assert main(["race", "other", "good", *options]) == 0
    assert "The races have the physics of other: good learnt with env." in capsys.readouterr().out
    theirs = setting.partition("=")[2]
    assert said(capsys, "other", "good", *options)["physics"][name] == theirs
    assert said(capsys, "good", "other", *options)["physics"] == {
        "backend": "native", "profile": "training", "tyres": "saturating", "vehicle": "f1tenth_gym", "car": {},
    }  # fmt: skip
    assert main(["race", "good", "bad", *options]) == 0
    assert "physics" not in capsys.readouterr().out


def test_numbers_of_the_car_that_differ_are_named_too() -> None:
    controller = make_driver("pure_pursuit")
    one = Entrant("one", EnvSettings(car=CarSettings(mass_kg=4.0)), controller)
    other = Entrant("other", EnvSettings(), controller)
    assert "other learnt with env.car.mass_kg = 3.74, not 4.0." in physics_in_words([one, other])
    assert physics_in_words([other, other]) == ""


def test_every_car_of_a_race_has_the_physics_of_the_first_contestant(track) -> None:
    """A fast driver laps on linear tyres, whatever it is said to have learnt on, and slides off on others."""
    controller = make_driver("pure_pursuit", 8.0)
    linear, slipping = (
        Entrant(tyres, EnvSettings(tyres=tyres, speed_cap_mps=8.0), controller)
        for tyres in ("linear", "saturating")
    )
    for first, other, finish in ((linear, slipping, True), (slipping, linear, False)):
        results = race_all([first, other], [(0, 1)] * 2, track, laps=1, grid="single_file")
        assert {entry.finished for result in results for entry in result.entries} == {finish}


def test_the_same_races_come_out_the_same_and_everyone_leads_the_grid_equally_often(track) -> None:
    field = [driver("pure_pursuit", EnvSettings()), driver("follow_the_gap", EnvSettings(beams=39))]
    first, again = (race_all(field, [(0, 1)] * 4, track, laps=1) for _ in range(2))
    assert [race.entries for race in first] == [race.entries for race in again]
    assert sorted(race.entries[0].start for race in first) == [1, 1, 2, 2]
    for race in first:
        assert sorted(entry.position for entry in race.entries) == [1, 2]
        assert sum(entry.won for entry in race.entries) <= 1


@pytest.mark.parametrize(
    ("grid", "level"), [("single_file", (0, 0)), ("side_by_side", (1, 1)), ("either", (0, 1))]
)
def test_races_start_in_single_file_or_side_by_side_everyone_at_each_place(track, grid, level) -> None:
    """Fixtures go through the places from the same spot; with either every second spot is for side by side."""
    field = [driver("pure_pursuit", EnvSettings()), driver("follow_the_gap", EnvSettings())]
    results = race_all(field, [(0, 1)] * 4, track, laps=1, grid=grid)
    assert [race.entries[0].start for race in results] == [1, 2, 1, 2]
    for k, race in enumerate(results):
        s_m, left_m = track.project(race.tape.poses[:, :2])
        apart_m = abs((s_m[0] - s_m[1] + track.length_m / 2) % track.length_m - track.length_m / 2)
        assert apart_m == pytest.approx(0.0 if level[k // 2] else 2.0, abs=0.2)
        if level[k // 2]:
            right = int(np.argmin(left_m))
            assert (left_m[right], left_m[1 - right]) == pytest.approx((-0.305, 0.305), abs=0.02)
            assert race.entries[right].start == 1
    first, second = results[0].tape.poses, results[1].tape.poses
    np.testing.assert_array_equal(first, second[::-1])


def test_races_on_several_tracks_at_once_end_as_those_on_each(track) -> None:
    """Cars, places, finish and lap are those of a race's own track."""
    field = [driver("pure_pursuit", EnvSettings()), driver("follow_the_gap", EnvSettings())]
    other = Track.generate(4, length_m=75.0)
    tracks = [other, track, track, other]
    together = race_all(field, [(0, 1)] * 4, tracks, laps=1, seed=5)
    for name, mine in (("other", [0, 3]), ("track", [1, 2])):
        alone = race_all(field, [(0, 1)] * 2, {"other": other, "track": track}[name], laps=1, seed=5)
        for k, race in zip(mine, alone, strict=True):
            assert together[k].entries == race.entries
            assert together[k].tape.track is race.tape.track
            assert together[k].tape.finish_m == race.tape.finish_m
            np.testing.assert_array_equal(together[k].tape.commands, race.tape.commands)
    assert {race.entries[0].start for race in together} == {1, 2}
    assert any(entry.won for race in together for entry in race.entries)


def test_a_start_side_by_side_where_there_is_no_room_for_two_is_refused() -> None:
    narrow = Track.generate(3, length_m=60.0, half_width_m=0.55)
    field = [driver("pure_pursuit", EnvSettings()), driver("follow_the_gap", EnvSettings())]
    with pytest.raises(UsageError, match="too narrow for 2 cars that start side by side") as refused:
        race_all(field, [(0, 1)], narrow, laps=1, grid="side_by_side")
    assert "single_file" in str(refused.value.next_step)
    # What a run's own setting asks for, or either, is single file there: no report fails for it.
    for settings in (EnvSettings(), EnvSettings(race=RaceSettings(grid="side_by_side"))):
        racers = [driver("pure_pursuit", settings), driver("follow_the_gap", settings)]
        for race in race_all(racers, [(0, 1)] * 4, narrow, laps=1):
            s_m, _ = narrow.project(race.tape.poses[:, :2])
            assert abs((s_m[0] - s_m[1] + 30.0) % 60.0 - 30.0) == pytest.approx(2.0, abs=0.2)


def test_a_driver_races_alike_whatever_the_others_see_and_how_often_they_decide(track) -> None:
    """Pure pursuit at 10 Hz finishes in the same time beside a car at 25 Hz with a finer scan, far behind it."""
    times = []
    for seeing in (EnvSettings(), EnvSettings(action_repeat=4, beams=72)):
        slow = Entrant("slow", seeing, make_driver("pure_pursuit", 1.5))
        (first, second) = race_all(
            [driver("pure_pursuit", EnvSettings()), slow], [(0, 1)], track, laps=1, grid="single_file"
        )[0].entries
        assert (first.start, first.won) == (1, True)
        assert second.finish_s > 30.0
        times.append(first.finish_s)
    # The moment of the finish is interpolated within a step, which is 0.1 s beside the one and 0.02 s beside the other.
    assert times[0] == pytest.approx(times[1], abs=0.01)


def test_names_are_read_as_they_are_meant() -> None:
    assert parse("run") == ("run", None, None)
    assert parse("run@50_000") == ("run", 50_000, None)
    assert parse("run:2") == ("run", None, 2)
    assert parse("run@7:0") == ("run", 7, 0)


def test_the_interval_is_wilsons() -> None:
    """Values of Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for (wins, races), (low, high) in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert wilson(wins, races) == pytest.approx((low, high), abs=5e-5)


def test_ratings_order_by_strength_and_predict_the_share_of_wins() -> None:
    """Nine of ten is 400 * log10(9) points, give or take the half win that is added each way."""
    wins = np.array([[0.0, 900.0], [100.0, 0.0]])
    ratings = elo(wins)
    assert ratings.mean() == pytest.approx(1000.0)
    assert ratings[0] - ratings[1] == pytest.approx(400 * np.log10(9), rel=0.01)
    chain = np.array([[0, 5, 9], [5, 0, 8], [1, 2, 0]], dtype=float)
    assert elo(chain)[2] == elo(chain).min()


def test_tables_count_what_happened(track) -> None:
    field = [driver("racing_line", EnvSettings()), driver("pure_pursuit", EnvSettings())]
    results = race_all(field, pairings(2, 4), track, laps=1)
    rows = table(["line", "pursuit"], results)
    assert [row.races for row in rows] == [4, 4]
    assert rows[0].wins + rows[1].wins == sum(any(e.won for e in race.entries) for race in results)
    assert beaten(2, results).sum() == 4.0
    assert rows[0].overtakes == sum(race.entries[0].overtakes for race in results)


def test_a_race_starts_clear_of_what_stands_beside_the_line() -> None:
    """Side by side a pole or a gate is in the way of every third grid, where `World.reset` raised ValueError."""
    seeing = EnvSettings(beams=20)
    pair = [Entrant(str(speed), seeing, make_driver("pure_pursuit", speed)) for speed in (1.5, 2.0)]
    results = race_all(pair, [(0, 1)] * 40, cluttered(1), laps=1, grid="side_by_side")
    assert len(results) == 40
    assert all(entry.position in {1, 2} for one in results for entry in one.entries)
