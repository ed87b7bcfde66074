"""The runner of experiments: a row for each run, none trained twice, one that was interrupted continues."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import yaml

from tests.bench import experiment
from tests.support.trainer_process import QUICK, begin_and_wait
from training.sim import Track
from training.store.checkpoint import load
from training.store.open import open_store

pytestmark = pytest.mark.slow  # each run is a process of its own
STEPS = "training.total_timesteps=2000"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(experiment, "tracks", lambda: [Track.load("generated-2-l60")])
    place = tmp_path / "spec.yaml"
    variants = {"As it is": [], "n-step": ["sac.n_steps=3"]}
    place.write_text(yaml.safe_dump({"settings": [*QUICK, STEPS], "variants": variants, "seeds": [0]}))
    return place


def test_each_variant_has_a_row_and_what_has_one_is_not_trained_again(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    assert experiment.main([str(spec), str(results)]) == 0
    rows = experiment.rows_in(results)
    assert [(row["variant"], row["seed"], row["step"]) for row in rows] == [
        ("As it is", 0, 2000),
        ("n-step", 0, 2000),
    ]
    assert "sac.n_steps=3" in rows[1]["settings"]
    assert rows[0]["tracks"]["generated-2-l60"].keys() == {"completed", "first_s", "second_s"}
    assert 0.0 <= rows[0]["others"] <= 1.0
    (known,) = json.loads((results / "reference.json").read_text()).values()
    assert known["generated-2-l60"]["completed"] == 10, "the racing line laps"
    assert experiment.main([str(spec), str(results)]) == 0
    assert experiment.rows_in(results) == rows
    assert capsys.readouterr().out.count("| n-step | 0 | 2000 |") == 2


@pytest.mark.usefixtures("spec")
def test_a_run_that_was_interrupted_continues(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store = results / "store"
    process = begin_and_wait(store, 12_000, "--set", "training.run_name=as-it-is-0")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    saved = load(open_store(str(store)), "as-it-is-0", "sac").step
    row = experiment.run_one("As it is", 0, [], "none", results)
    assert saved < row["step"] == 12_000
    assert f"continues from step {saved:,}" in (results / "as-it-is-0.log").read_text()


def test_a_setting_that_there_is_not_ends_the_experiment_and_names_it(spec: Path, tmp_path: Path) -> None:
    text = yaml.safe_load(spec.read_text())
    spec.write_text(yaml.safe_dump({**text, "settings": ["sac.n_step=3"]}))
    with pytest.raises(SystemExit, match="As it is, seed 0, was not trained"):
        experiment.main([str(spec), str(tmp_path / "results")])
    assert "sac.n_step" in (tmp_path / "results" / "as-it-is-0.log").read_text()


def test_no_run_begins_when_time_is_up(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert experiment.main([str(spec), str(tmp_path / "results"), "--minutes", "-1"]) == 0
    assert "time is up" in capsys.readouterr().out
    assert experiment.rows_in(tmp_path / "results") == []
