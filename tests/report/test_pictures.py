"""Tracks, curves and frames as they are drawn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.report.runs import QUICK, driver_by_hand, put_curves, straight_on
from training.config import Config, load_config
from training.envs.rendering.canvas import FRAME_SIZE
from training.envs.rendering.scenery import Scenery
from training.evaluation.baselines import EvalTrack, drive
from training.evaluation.recording import Trace, best_lap
from training.report import plots
from training.report.curves import Curves, Series, read_curves
from training.report.frames import Painter
from training.report.video import GIF_WIDTH, film
from training.sim import Track
from training.store.open import open_store

CAP_MPS = 8.0
RED = np.array([255, 82, 82])


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(None, QUICK, "local")


@pytest.fixture(scope="module")
def track() -> Track:
    return Track.load("generated-1-l60")


@pytest.fixture(scope="module")
def trace(config: Config, track: Track) -> Trace:
    tape, drives = drive(driver_by_hand(config), config.env, EvalTrack(track, seen=True), starts=2)
    return best_lap(tape, drives, track, config.env)


@pytest.fixture(scope="module")
def crash(config: Config, track: Track) -> Trace:
    tape, drives = drive(straight_on(config), config.env, EvalTrack(track, seen=True), starts=2)
    return best_lap(tape, drives, track, config.env)


# --- the road ---
def test_the_road_is_positive_where_cells_are_free_and_negative_elsewhere(track: Track) -> None:
    np.testing.assert_array_equal(Scenery(track).edge_m > 0.0, track.free)


def test_free_cells_that_no_car_can_reach_are_no_road() -> None:
    line = Track.load("generated-1-l60")
    free = line.free.copy()
    free[:3, :3] = True
    other = Track.from_occupancy(free, line.resolution_m, line.origin, line.centerline)
    assert (Scenery(other).edge_m[:3, :3] < 0.0).all()


def test_the_road_is_as_wide_as_the_track_says_even_where_the_map_lies_turned(track: Track) -> None:
    turn, shift = 0.7, np.array([3.0, -5.0])
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    corner = np.array(track.origin[:2]) @ rotation + shift
    turned = Track.from_occupancy(
        track.free, track.resolution_m, (*corner, turn), track.centerline @ rotation + shift
    )
    middle = Scenery(turned).edge_at(*turned.centerline.T)
    narrower = np.minimum(turned.width_right_m, turned.width_left_m)
    np.testing.assert_allclose(middle, narrower, atol=2.0 * track.resolution_m)


def test_beyond_the_map_there_is_less_road_the_further_one_goes(track: Track) -> None:
    x, y = track.origin[:2]
    near, far = Scenery(track).edge_at([x - 1.0, x - 5.0], [y, y])
    assert far < near - 3.0 < 0.0


# --- pictures of the page ---
def test_a_track_picture_takes_its_text_colours_from_the_page_and_names_nothing_outside(
    track: Track, trace: Trace
) -> None:
    svg = plots.track_picture(Scenery(track), trace, (0.0, CAP_MPS))
    assert svg.startswith("<svg")
    for stray in ("#010101", "#020202", "http", "xlink", "<metadata", ' id="figure'):
        assert stray not in svg


def test_a_drive_that_ended_in_a_wall_is_marked(track: Track, trace: Trace, crash: Trace) -> None:
    scenery = Scenery(track)
    assert "#ff4d4d" in plots.track_picture(scenery, crash, (0.0, CAP_MPS))
    assert "#ff4d4d" not in plots.track_picture(scenery, trace, (0.0, CAP_MPS))


def test_there_is_a_chart_for_every_curve_that_was_logged_and_no_empty_one(tmp_path: Path) -> None:
    storage = open_store(str(tmp_path / "store"))
    put_curves(storage, "run", tmp_path)
    drawn = plots.learning_curves(read_curves(storage, "run"), 41_000)
    assert {chart.name for chart, _ in drawn} == {
        "evaluation/completed",
        "evaluation/mean_speed_mps",
        "rollout/reward",
        "rollout/terms/",
        "rollout/crash_rate",
        "rollout/laps",
        "train/critic_loss",
        "train/ent_coef",
        "time/steps_per_s",
    }
    assert all(svg.startswith("<svg") and "var(--line-1)" in svg for _, svg in drawn)
    (terms,) = [svg for chart, svg in drawn if chart.name == "rollout/terms/"]
    assert ">progress<" in terms
    assert "var(--line-2)" in terms


def test_a_curve_of_one_point_or_of_constant_values_is_no_trouble() -> None:
    steps = np.array([1.0, 2.0, 3.0])
    curves = Curves(
        {
            "rollout/reward": Series(steps[:1], steps[:1]),
            "train/critic_loss": Series(steps, np.zeros(3)),
            "train/ent_coef": Series(steps, np.full(3, 0.2)),
        }
    )
    assert [chart.name for chart, _ in plots.learning_curves(curves, 0)] == [
        "train/critic_loss",
        "train/ent_coef",
    ]


def test_faster_is_another_colour_and_beyond_the_cap_the_last_one() -> None:
    slow, fast, cap, beyond = plots.speed_colours(np.array([1.0, 6.0, 8.0, 11.0]), (0.0, CAP_MPS))
    assert not np.array_equal(slow, fast)
    np.testing.assert_array_equal(cap, beyond)


# --- the film ---
def red_pixels(picture: np.ndarray) -> np.ndarray:
    """Return where the picture has the car's colour, outside the small map."""
    close = np.abs(picture.astype(int) - RED).sum(axis=2) < 40
    close[:200, 700:] = False
    return np.argwhere(close)


def test_every_frame_has_the_car_somewhere_near_its_middle(track: Track, trace: Trace) -> None:
    painter = Painter(trace, Scenery(track), "kart", 1)
    for row in range(0, len(trace.time_s), 97):
        picture = painter.frame(row)
        assert picture.shape == (FRAME_SIZE[1], FRAME_SIZE[0], 3)
        found = red_pixels(picture)
        assert len(found) > 60, f"row {row}"
        offset = found.mean(axis=0) - np.array(FRAME_SIZE[::-1]) / 2
        assert np.abs(offset).max() < 200, f"row {row}"


@pytest.mark.slow
def test_a_film_is_an_mp4_of_the_whole_lap_below_its_size_limit(
    track: Track, trace: Trace, tmp_path: Path
) -> None:
    made = film(trace, Scenery(track), tmp_path, "kart")
    data = made.path.read_bytes()
    assert (made.path.name, made.media_type, made.playback) == ("lap.mp4", "video/mp4", 1)
    assert data[4:8] == b"ftyp"
    assert b"avc1" in data
    assert 50_000 < len(data) < 3_000_000
    assert trace.lap_s < made.seconds < trace.lap_s + 3.0


@pytest.mark.slow
def test_a_long_lap_is_shown_faster(track: Track, trace: Trace, tmp_path: Path) -> None:
    times = math.ceil(33.0 / trace.time_s[-1])
    longer = trace._replace(
        time_s=np.arange(times * len(trace.states)) * trace.step_s,
        states=np.tile(trace.states, (times, 1)),
        commands=np.tile(trace.commands, (times, 1)),
        scans=np.tile(trace.scans, (times, 1)),
    )
    made = film(longer, Scenery(track), tmp_path, "kart")
    assert made.playback == 2
    assert made.seconds < 35.0


def test_without_a_working_encoder_the_film_is_a_gif(
    track: Track, crash: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no-encoder"))
    made = film(crash, Scenery(track), tmp_path / "out", "kart")
    assert made.media_type == "image/gif"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["lap.gif"]
    with Image.open(made.path) as gif:
        assert gif.width == GIF_WIDTH
        assert gif.n_frames > 5


def test_an_encoder_that_fails_leaves_a_gif_too(
    track: Track, crash: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false")
    assert film(crash, Scenery(track), tmp_path, "kart").path.name == "lap.gif"
