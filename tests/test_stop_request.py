"""A signal before the first step, whatever the code that it hits makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from training.errors import DataError, Interrupted
from training.run.stop_request import ControlPoller, StopRequest, interruptible_setup
from training.store import documents
from training.store.directory import DirectoryStorage

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
        interruptible_setup("make train"),
    ):
        reaction()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_a_start_as_ctrl_c_does(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    told = rf"stopped by {number.name}.* before the first step; nothing is lost\nmake train"
    with pytest.raises(Interrupted, match=told), interruptible_setup("make train"):
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_hangup_that_is_ignored_stays_ignored_at_the_start_and_later() -> None:
    """As nohup leaves it."""
    before, stop = signal.signal(signal.SIGHUP, signal.SIG_IGN), StopRequest()
    others = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with interruptible_setup("make train"):
            signal.raise_signal(signal.SIGHUP)
            stop.install_signal_handlers()
        signal.raise_signal(signal.SIGHUP)
        assert stop.reason is None
    finally:
        for number, handler in {signal.SIGHUP: before, **others}.items():
            signal.signal(number, handler)


PROGRAM = """
import sys
from training.errors import Interrupted
from training.run.stop_request import interruptible_setup

try:
    with interruptible_setup("make train"):
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
        with interruptible_setup("make train"):
            stop.install_signal_handlers()
        signal.raise_signal(signal.SIGINT)
        assert stop.reason == "Ctrl-C"
    finally:
        signal.signal(signal.SIGINT, before)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("error", [DataError("broken map"), RuntimeError("a bug")])
def test_an_error_without_ctrl_c_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), interruptible_setup("make train"):
        raise error


# --- what a laptop asks ---
FAR = [timedelta(days=-400), timedelta(), timedelta(days=400)]


@pytest.fixture
def asked(tmp_path: Path):
    """Give what a poller of a launch hears, and what lets a laptop with a wrong clock ask something."""
    store, heard = DirectoryStorage(tmp_path), list[str]()

    def poller(launch: int | None) -> ControlPoller:
        return ControlPoller(store, "race", heard.append, launch)

    def ask(what: documents.Request, launch: int | None, skew: timedelta) -> None:
        control = documents.Control(
            request=what, requested_at=datetime.now(timezone.utc) + skew, launch=launch
        )
        documents.update(store, "runs/race/control.json", documents.Control, lambda _: control)

    return poller, ask, heard


@pytest.mark.parametrize("skew", FAR)
@pytest.mark.parametrize("launch", [3, None])
def test_a_request_is_heard_whatever_the_laptops_clock_says(asked, launch, skew) -> None:
    poller, ask, heard = asked
    waiting = poller(launch)
    waiting.look()
    ask("stop_now", launch, skew)
    waiting.look()
    assert heard == ["stop_now"]


@pytest.mark.parametrize("skew", FAR)
@pytest.mark.parametrize(("of", "launch"), [(2, 3), (None, None)])
def test_a_request_to_an_earlier_launch_or_attempt_is_not_heard_whatever_the_clocks_say(
    asked, of, launch, skew
) -> None:
    poller, ask, heard = asked
    ask("stop_now", of, skew)
    waiting = poller(launch)
    for _ in range(3):
        waiting.look()
    assert heard == []


@pytest.mark.parametrize("skew", FAR)
def test_a_request_made_while_no_machine_was_up_is_heard_by_the_launchs_next_one(asked, skew) -> None:
    """The machine that was asked was taken away before it looked."""
    poller, ask, heard = asked
    ask("stop_after_checkpoint", 3, skew)
    poller(3).look()
    assert heard == ["stop_after_checkpoint"]
