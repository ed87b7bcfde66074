"""`evaluate` and `report` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.report.runs import KEPT_STEP, QUICK, driver_by_hand, make_run, straight_on
from tests.support.servers import Bucket
from training.__main__ import main
from training.config import load_config
from training.evaluation.load_run import policy_of
from training.report import final_report
from training.store.open import open_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_run(open_store("."), "good")
    return tmp_path


@pytest.mark.usefixtures("store")
def test_evaluate_prints_one_json_object_with_every_lap(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "good", "--laps", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["run"], found["kept_step"], found["laps"]) == ("good", KEPT_STEP, 4)
    by_name = {one["track"]: one for one in found["tracks"]}
    assert {name: one["seen_in_training"] for name, one in by_name.items()} == {
        "generated-1-l60": True,
        "generated-3-l60": False,
    }
    for one in by_name.values():
        assert (one["starts"], one["completed"], one["completion_rate"], one["collisions"]) == (4, 4, 1.0, 0)
        assert len(one["lap_s"]) == 4
        assert one["best_lap_s"] == min(one["lap_s"])
        assert one["best_lap_s"] <= one["mean_lap_s"] <= max(one["lap_s"])
        assert 3.0 < one["mean_speed_mps"] < one["top_speed_mps"] <= 8.0


@pytest.mark.usefixtures("store")
def test_evaluate_prints_a_table_collisions_and_laps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "good", "--track", "generated-2-l60", "--laps", "3"]) == 0
    said = capsys.readouterr().out
    assert f"the policy of step {KEPT_STEP:,}" in said
    assert "3/3" in said
    assert "generated-2-l60: 0 collisions; laps, s: " in said
    assert "generated-1-l60" not in said


@pytest.mark.usefixtures("store")
def test_below_a_tracks_drivers_stands_the_point_mass_where_tyres_have_a_limit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_run(open_store("."), "linear", "env.tyres=linear")
    assert main(["evaluate", "linear", "--track", "generated-2-l60", "--laps", "1"]) == 0
    assert "point mass" not in capsys.readouterr().out
    assert main(["evaluate", "good", "--track", "generated-2-l60", "--laps", "1"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "point mass" in line]
    (time_s,) = [float(word) for word in row.split() if word[0].isdigit()]
    assert 60.0 / 8.0 < time_s < 60.0 / 4.0


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("tyres", "boldness", "said"),
    [
        ("linear", 8.0, "A real car could not be driven like this. The policy corners at up to "),
        ("saturating", 1.2, "The recorded drives stay within "),
    ],
)
def test_the_end_of_training_says_below_its_laps_whether_tyres_would_hold(
    tyres: str, boldness: float, said: str
) -> None:
    policy = driver_by_hand(load_config(None, QUICK, "local"), boldness=boldness)
    make_run(open_store("."), "ended", "evaluation.tracks=[]", f"env.tyres={tyres}", policy=policy)
    loaded, lines = policy_of(open_store("."), "ended"), []
    driven = final_report.drive_laps(loaded, open_store("."), lines.append)
    final_report.show(loaded, driven, lines.append)
    (line,) = lines
    assert line.startswith(said)


@pytest.mark.usefixtures("store")
def test_a_policy_that_crashes_is_a_result_and_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    make_run(open_store("."), "bad", policy=straight_on(load_config(None, QUICK, "local")))
    assert main(["evaluate", "bad", "--track", "generated-1-l60", "--laps", "2", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["tracks"]
    assert (one["completed"], one["completion_rate"], one["collisions"], one["lap_s"]) == (0, 0.0, 2, [])
    assert (one["mean_lap_s"], one["best_lap_s"], one["mean_speed_mps"]) == (None, None, None)
    assert 0.0 < one["mean_distance_m"] < 60.0
    assert main(["evaluate", "bad", "--track", "generated-1-l60", "--laps", "2"]) == 0
    assert "2 collisions, " in capsys.readouterr().out


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_an_unknown_run_ends_with_64_and_the_runs_there_are(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "goot"]) == 64
    assert "there are: good\nDid you mean good?" in capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_an_unknown_track_ends_with_65(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "good", "--track", "nowhere"]) == 65
    assert "no track called 'nowhere'" in capsys.readouterr().err


def test_a_run_in_a_bucket_is_evaluated_from_there(
    moto_url: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(
        f"aws: {{region: us-east-1, endpoints: {{s3: '{moto_url.endpoint}'}}}}\n", encoding="utf-8"
    )
    make_run(open_store(moto_url.url, moto_url.aws), "far")
    assert main(["evaluate", "far", "--store", moto_url.url, "--laps", "1", "--json"]) == 0
    assert [one["completed"] for one in json.loads(capsys.readouterr().out)["tracks"]] == [1, 1]
