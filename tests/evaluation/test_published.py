"""Published tables: their maps are the pinned ones, their car is the run's, and a policy is compared with them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.report.runs import make_run
from training.__main__ import main
from training.config import EnvSettings, load_config
from training.errors import ConfigurationError, DataError
from training.evaluation import published
from training.evaluation.published import TABLES, Peer, check_driver, load_tracks
from training.sim import Track
from training.sim.track.names import CIRCUITS
from training.store.open import open_store


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a map, which a table of its own names; a run waits in the present directory."""
    folder = tmp_path / "maps"
    saved = Track.load("generated-2-l60").save(folder)
    place = saved.parent
    track = saved.stem
    pins = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in place.iterdir()}
    known = TABLES["f1tenth_benchmarks"]
    peers = (Peer("somebody", {track: 20.0}, {track: 70}),)
    monkeypatch.setitem(TABLES, known.name, known._replace(maps=pins, peers=peers))
    monkeypatch.chdir(tmp_path)
    make_run(open_store("."), "good")
    return place


def test_a_policy_is_compared_with_the_table_on_its_tyres_and_on_those_of_a_car(
    ring: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["benchmark", "f1tenth_benchmarks", "good", "--maps", str(ring)]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (linear,), (slipping,) = found["ours"]["linear"], found["ours"]["saturating"]
    assert linear["completed"] == slipping["completed"] == 10
    assert linear["best_s"] <= linear["mean_s"] < slipping["mean_s"], (
        "the hand-made policy slides on a car's tyres"
    )
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "20.00 (70 %)" in said
    assert f"{linear['mean_s']:.2f}" in said
    assert "theirs: linear tyres" in said
    assert "ours: the same tyres" in said


def test_a_map_that_is_not_the_published_one_is_refused(ring: Path) -> None:
    table = TABLES["f1tenth_benchmarks"]
    assert [track.length_m for track in load_tracks(table, ring)] == [pytest.approx(60.0, rel=0.02)]
    (image,) = ring.glob("*.png")
    image.write_bytes(image.read_bytes() + b" ")
    with pytest.raises(DataError, match=r"\.png is not that of .* its SHA-256 is"):
        load_tracks(table, ring)
    image.unlink()
    with pytest.raises(DataError, match=r"\.png cannot be read"):
        load_tracks(table, ring)


@pytest.mark.usefixtures("ring")
def test_without_the_folder_of_the_maps_the_command_says_where_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["benchmark", "f1tenth_benchmarks", "good"]) == 64
    assert (
        "commit c9730789dd0fa85fc18dd4b600c5246e134ebe22; then give its folder: --maps DIR"
        in capsys.readouterr().err
    )


def test_another_car_or_a_higher_cap_is_refused_with_the_run_to_train() -> None:
    table = TABLES["rpl4f110"]
    check_driver(table, load_config(None, ["env.vehicle=rpl4f110"]).env)
    with pytest.raises(
        ConfigurationError, match="learnt to drive f1tenth_gym; the table rpl4f110 is of rpl4f110"
    ) as told:
        check_driver(table, EnvSettings())
    assert "--set env.vehicle=rpl4f110" in str(told.value.next_step)
    with pytest.raises(ConfigurationError, match=r"speed_cap_mps = 9 .* at most 8"):
        check_driver(TABLES["f1tenth_benchmarks"], EnvSettings(speed_cap_mps=9.0))


def test_every_table_has_a_time_for_each_track_and_a_digest_for_each_file() -> None:
    for table in published.TABLES.values():
        assert all(set(peer.lap_s) == set(table.tracks) for peer in table.peers)
        files = {f"{name}{end}" for name in table.tracks for end in (".png", ".yaml", "_centerline.csv")}
        assert set(table.maps) in ({*files}, set())
        assert table.maps or set(table.tracks) <= set(CIRCUITS)
