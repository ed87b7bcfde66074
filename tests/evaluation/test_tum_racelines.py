"""TUM's racing lines: read with their lap times where they are fetched, refused where they are broken."""

from pathlib import Path

import numpy as np
import pytest

from training.evaluation.tum_racelines import COLUMNS, raceline_of, read_raceline
from training.sim import Track, TrackError
from training.sim.track import catalog

# A circle of 10 m, once round: half of it at 4 m/s, half at 8, changing on one chord each.
COUNT, RADIUS_M = 400, 10.0


def write_line(path: Path, points: np.ndarray, speed: np.ndarray) -> Path:
    """Write a raceline csv as TUM's optimiser does, the first row again at the end."""
    closed = np.concatenate([points, points[:1]])
    way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    speeds = np.concatenate([speed, speed[:1]])
    rows = [
        f"{s:.7f};{x:.7f};{y:.7f};0.0;0.1;{v:.7f};0.0"
        for s, (x, y), v in zip(way, closed, speeds, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# 8288b625\n# " + "; ".join(COLUMNS) + "\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def circle() -> tuple[np.ndarray, np.ndarray]:
    angle = np.linspace(0.0, 2.0 * np.pi, COUNT, endpoint=False)
    return RADIUS_M * np.stack([np.cos(angle), np.sin(angle)], axis=1), np.where(angle < np.pi, 4.0, 8.0)


def test_the_lap_time_is_integrated_from_way_and_speed(tmp_path: Path) -> None:
    points, speed = circle()
    line = read_raceline(write_line(tmp_path / "line.csv", points, speed))
    assert line.lap_s == pytest.approx(np.pi * RADIUS_M * (1 / 4 + 1 / 8), rel=2e-3)
    np.testing.assert_allclose(line.points, points, atol=1e-6)
    np.testing.assert_allclose(line.speed_mps, speed)


def test_a_fetched_circuits_line_is_found_by_its_name_and_only_for_its_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generated track plays Spa: another map of that name has no line."""
    monkeypatch.setenv(catalog.DIRECTORY_VARIABLE, str(tmp_path))
    spa = Track.generate(1, 60.0, name="Spa")
    assert raceline_of(spa) is None
    spa.save(tmp_path / "Spa")
    assert raceline_of(spa) is None
    write_line(tmp_path / "Spa" / "Spa_raceline.csv", spa.curve.points, np.full(len(spa.curve.points), 6.0))
    found = raceline_of(Track.load("Spa"))
    assert found is not None
    assert found.lap_s == pytest.approx(spa.length_m / 6.0, rel=1e-3)
    assert raceline_of(Track.generate(2, 60.0, name="Spa")) is None
    assert raceline_of(Track.generate(1, 60.0)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("\n0.0000000;", "\n0.0000000,", 1), "line 3: could not convert"),
        (lambda text: text.replace(";0.1;4.0000000;", ";0.1;", 1), "line 3: needs 7 finite numbers: s_m"),
        (lambda text: text.replace(";0.1;4.0000000;", ";0.1;nan;", 1), "line 3: needs 7 finite numbers"),
        (lambda text: text.replace(";0.1;4.0000000;", ";0.1;0.0;", 1), "vx_mps above 0"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "no closed line"),
        (lambda _: "# nothing\n", "needs three rows or more"),
    ],
)
def test_a_broken_line_is_refused_with_what_is_wrong(tmp_path: Path, change, message: str) -> None:
    path = write_line(tmp_path / "line.csv", *circle())
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(TrackError, match=message):
        read_raceline(path)


def test_a_line_that_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrackError, match=r"line.csv cannot be read"):
        read_raceline(tmp_path / "line.csv")
