"""The maps of a run between two attempts: compared by digest, where there is one."""

from __future__ import annotations

import pytest

from training.config import load_config
from training.errors import DataError
from training.run import run_maps

CONFIG = load_config(None, ["env.tracks=[kart, club]", "evaluation.tracks=[street, Nowhere]"])


def test_every_map_that_loads_has_a_digest() -> None:
    tracks = run_maps.load(CONFIG.env.tracks)
    found = run_maps.digests(CONFIG.env.tracks, CONFIG.evaluation.tracks, tracks)
    assert set(found) == {"kart", "club", "street"}
    assert found["kart"] == tracks["kart"].digest


def test_a_run_from_before_there_were_digests_goes_on() -> None:
    assert run_maps.check_unchanged("old", CONFIG.env.tracks, {"kart": "a" * 64, "club": "b" * 64}, {}) == ""


def test_a_changed_map_to_learn_on_is_refused_and_one_to_evaluate_on_is_said() -> None:
    saved = {"kart": "a" * 64, "club": "b" * 64, "street": "c" * 64}
    assert run_maps.check_unchanged("race", CONFIG.env.tracks, saved, saved) == ""
    told = run_maps.check_unchanged("race", CONFIG.env.tracks, {**saved, "street": "d" * 64}, saved)
    assert told == "changed since the last attempt, to evaluate on: street"
    with pytest.raises(DataError, match=r"run race .*: club \(digest eeeeeeeeeeee, it was bbbbbbbbbbbb\)"):
        run_maps.check_unchanged("race", CONFIG.env.tracks, {**saved, "club": "e" * 64}, saved)
