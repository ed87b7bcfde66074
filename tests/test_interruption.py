"""A Ctrl-C before the first step, whatever the code that it hits makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training.errors import DataError, Interrupted
from training.interruption import StopRequest, before_the_first_step

ROOT = Path(__file__).parents[1]


def swallowed_and_forgotten() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def swallowed_with_an_error_later() -> None:
    """What numba's compiler does."""
    swallowed_and_forgotten()
    raise RuntimeError("no compiled object yet")


def let_through() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("reaction", [swallowed_and_forgotten, swallowed_with_an_error_later, let_through])
def test_ctrl_c_ends_as_an_interruption_that_says_how_to_go_on(reaction) -> None:
    before = signal.getsignal(signal.SIGINT)
    with (
        pytest.raises(Interrupted, match=r"Ctrl-C before the first step.*\nmake train"),
        before_the_first_step("make train"),
    ):
        reaction()
    assert signal.getsignal(signal.SIGINT) is before


PROGRAM = """
import sys
from training.errors import Interrupted
from training.interruption import before_the_first_step

try:
    with before_the_first_step("make train"):
        exec("import signal; signal.raise_signal(signal.SIGINT)")
except Interrupted as early:
    sys.exit(early.exit_code)
"""


def test_the_exit_code_is_kept_where_ctrl_c_fell_into_an_exec(tmp_path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    python = [sys.executable, "-m", "program"]  # a plain file's exit code is not touched
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    assert subprocess.run(python, env=paths, check=False, timeout=60).returncode == 75


def test_a_handler_left_inside_stays_so_that_no_ctrl_c_falls_in_between() -> None:
    before, stop = signal.getsignal(signal.SIGINT), StopRequest()
    try:
        with before_the_first_step("make train"):
            stop.listen()
        signal.raise_signal(signal.SIGINT)
        assert stop.reason == "Ctrl-C"
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.mark.parametrize("error", [DataError("broken map"), RuntimeError("a bug")])
def test_an_error_without_ctrl_c_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), before_the_first_step("make train"):
        raise error
