"""The courses of a report: two maps of one name are two headings."""

from __future__ import annotations

from pathlib import Path

from training.config import load_config
from training.evaluation.baselines import courses_of, loadable_courses, told_apart
from training.sim import Track


def maps(tmp_path: Path, *folders: str) -> list[str]:
    """Save a track as map.yaml in each folder, as mapping tools call it; return their paths."""
    paths = []
    for seed, folder in enumerate(folders, start=1):
        path = Track.generate(seed, 40.0, name="map").save(tmp_path / folder)
        plain = path.with_name("map.yaml")
        path.rename(plain)
        paths.append(str(plain))
    return paths


def test_maps_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = maps(tmp_path, "hall", "garage")
    config = load_config(None, [f"env.tracks={[*paths, 'kart']}".replace("'", '"'), "evaluation.tracks=[]"])
    assert [course.track.name for course in courses_of(config.all_tracks, config.env.tracks)] == [
        "hall-map",
        "garage-map",
        "kart",
    ]
    assert [course.track.name for course in courses_of(paths[:1], config.env.tracks)] == ["map"]


def test_two_maps_of_one_name_that_a_run_carries_are_told_apart_by_their_content(tmp_path: Path) -> None:
    names = ["map@0123456789abcdef", "map@fedcba9876543210"]
    tracks = [Track.load(path) for path in maps(tmp_path, "hall", "garage")]
    told = [track.name for track in told_apart([*tracks, Track.load("kart")], [*names, "kart"])]
    assert told == [f"{names[0]}-map", f"{names[1]}-map", "kart"]


def test_maps_in_folders_of_one_name_get_as_much_of_their_path_as_it_takes(tmp_path: Path) -> None:
    paths = maps(tmp_path, "monday/hall", "tuesday/hall")
    config = load_config(None, [f'env.tracks=["{paths[0]}"]', f'evaluation.tracks=["{paths[1]}"]'])
    courses, missing = loadable_courses(config.env.tracks, config.evaluation.tracks)
    assert missing == []
    assert [(course.track.name, course.seen) for course in courses] == [
        ("monday-hall-map", True),
        ("tuesday-hall-map", False),
    ]
