"""Runs that an earlier version began and stopped end, resumed with today's code, as that version would have ended them.

`tests.agents.record_runs` recorded them, and says how. Where the machine is of the class on which they were recorded
(`training.rng.machine_class`) every bit is the same; elsewhere sums of another order change the last digits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.agents.record_runs import END, HALF, KINDS, compared, unpack
from tests.support.training_sessions import begin
from training import rng
from training.config import Config

RUNS = Path(__file__).with_name("runs_before")


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """As it was recorded: another number of threads adds in another order."""
    before = torch.get_num_threads()
    rng.set_threads(1)
    yield
    rng.set_threads(before)


def resumed(kind: str, place: Path, settings: dict[str, Any]) -> dict[str, np.ndarray]:
    """Resume a copy of a recorded run, train it to its end, and return what is compared of it."""
    unpack(RUNS / kind / "store.npz", place)
    session = begin(Config.from_json_dict(settings), place, resume=True)
    assert HALF <= session.parts.learner.num_timesteps < END
    session.train_to(END)
    session.saver.close()
    return compared(session.everything())


def own_settings(kind: str) -> dict[str, Any]:
    return json.loads((RUNS / kind / "config.json").read_text())


def recorded(kind: str) -> dict[str, np.ndarray]:
    with np.load(RUNS / kind / "end.npz") as end:
        return {name: end[name] for name in end.files}


def assert_ends_alike(kind: str, found: dict[str, np.ndarray]) -> None:
    expected = recorded(kind)
    same_class = json.loads((RUNS / kind / "machine.json").read_text()) == rng.machine_class()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if same_class:
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        elif value.dtype.kind == "U":
            assert_text_close(str(found[name]), str(value), name)
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-3, err_msg=name)


def assert_text_close(found: str, expected: str, name: str) -> None:
    """Compare JSON whose numbers may differ in their last digits."""
    one, other = ([*numbers(json.loads(text))] for text in (found, expected))
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3, err_msg=name)


def numbers(data: Any) -> Any:
    if isinstance(data, dict):
        data = [data[key] for key in sorted(data)]
    if isinstance(data, list):
        for one in data:
            yield from numbers(one)
    elif isinstance(data, int | float):
        yield float(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_before_ends_as_it_would_have_ended_then(tmp_path: Path, kind: str) -> None:
    assert_ends_alike(kind, resumed(kind, tmp_path / "store", own_settings(kind)))


def test_settings_that_an_older_run_does_not_name_mean_what_they_meant(tmp_path: Path) -> None:
    """From before the friction circle, the draws of cars and the rules of the grid: none of them is in config.json."""
    settings = own_settings("linear")
    for name in ("friction_circle", "randomisation", "solid_thin_walls", "race"):
        del settings["env"][name]
    assert_ends_alike("linear", resumed("linear", tmp_path / "store", settings))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("linear", {"friction_circle": True}),
        ("friction_circle", {"friction_circle": False}),
        ("randomised", {"randomisation": {}}),
    ],
)
def test_the_comparison_notices_other_physics(tmp_path: Path, kind: str, change: dict[str, Any]) -> None:
    settings = own_settings(kind)
    settings["env"] |= change
    found = resumed(kind, tmp_path / "store", settings)
    with pytest.raises(AssertionError):
        assert_ends_alike(kind, found)
