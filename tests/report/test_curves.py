"""Curves come back from event files wherever they lie; damage is said and stops nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.report.runs import put_curves
from tests.support.servers import Bucket
from training import layout
from training.metrics.event_file import EventFile
from training.report.curves import MOST_POINTS, read_curves
from training.store.open import open_store


def test_the_points_that_were_written_are_read(tmp_path: Path) -> None:
    storage = open_store(str(tmp_path / "store"))
    put_curves(storage, "run", tmp_path)
    curves = read_curves(storage, "run")
    assert curves.problem == ""
    laps = curves.series["rollout/laps"]
    np.testing.assert_array_equal(laps.steps, np.arange(1_000, 60_000, 1_000))
    np.testing.assert_array_equal(laps.values, laps.steps // 70)
    assert list(curves.series["evaluation/completed"].steps) == [10_000, 20_000, 30_000, 40_000, 50_000]


def test_curves_in_a_bucket_are_read(moto_url: Bucket, tmp_path: Path) -> None:
    storage = open_store(moto_url.url, moto_url.aws)
    put_curves(storage, "run", tmp_path)
    assert "rollout/reward" in read_curves(storage, "run").series


def test_a_resumed_attempt_goes_on_where_the_checkpoint_was(tmp_path: Path) -> None:
    storage = open_store(str(tmp_path))
    folder = tmp_path / layout.metrics_prefix("run")
    folder.mkdir(parents=True)
    for first, steps, value in ((0, (10, 20, 30), 1.0), (21, (30, 40), 2.0)):
        events = EventFile(folder, first_step=first)
        for step in steps:
            events.add_scalars(step, {"rollout/reward": value})
        events.close()
    reward = read_curves(storage, "run").series["rollout/reward"]
    assert reward.steps.tolist() == [10, 20, 30, 40]
    assert reward.values.tolist() == [1, 1, 2, 2]


def test_long_curves_are_averaged_to_what_a_picture_shows(tmp_path: Path) -> None:
    storage = open_store(str(tmp_path))
    folder = tmp_path / layout.metrics_prefix("run")
    folder.mkdir(parents=True)
    events = EventFile(folder, first_step=0)
    for step in range(1_000):
        events.add_scalars(step, {"rollout/reward": float(step)})
    events.close()
    reward = read_curves(storage, "run").series["rollout/reward"]
    assert 100 < len(reward.steps) <= MOST_POINTS
    np.testing.assert_allclose(reward.values, reward.steps)


def test_no_event_files_are_said(tmp_path: Path) -> None:
    curves = read_curves(open_store(str(tmp_path)), "run")
    assert curves.series == {}
    assert "no event files in runs/run/metrics" in curves.problem


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 200, b"this is no event file" * 9], ids=["empty", "zeros", "text"]
)
def test_a_broken_event_file_is_said(tmp_path: Path, content: bytes) -> None:
    storage = open_store(str(tmp_path))
    storage.put(f"{layout.metrics_prefix('run')}/events.out.tfevents.1.host", content)
    curves = read_curves(storage, "run")
    assert curves.series == {}
    assert "no readable numbers" in curves.problem


def test_what_was_written_before_the_damage_is_kept(tmp_path: Path) -> None:
    storage = open_store(str(tmp_path / "store"))
    key = put_curves(storage, "run", tmp_path)
    path = tmp_path / "store" / key
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    steps = read_curves(storage, "run").series["rollout/laps"].steps
    assert 10 < len(steps) < 59
