"""Work that is left for a stop: it ends between two pieces, in its own thread alone, and leaves nothing behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.training_sessions import Session, begin, several
from training.evaluation.policy_selection import all_or_nothing
from training.process import systemd_notify
from training.process.systemd_notify import Left, alive, leaving


def after(calls: int) -> Callable[[], bool]:
    """Return what asks for a stop from so many pieces of work on."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_work_ends_at_its_first_piece_after_the_stop_was_asked_for() -> None:
    done = []

    def work() -> None:
        for piece in range(10):
            done.append(piece)
            alive()

    with pytest.raises(Left), leaving(after(3)):
        work()
    assert done == [0, 1, 2, 3]
    alive()  # outside nothing is left


def test_no_error_is_made_of_it_on_the_way() -> None:
    """A report's faults stop no run, and are caught; a stop is none."""

    def work() -> None:
        try:
            alive()
        except Exception:  # noqa: BLE001 - as where a fault must not undo a finished run
            pytest.fail("taken for a fault")

    with pytest.raises(Left), leaving(lambda: True):
        work()


def test_other_threads_go_on() -> None:
    """A checkpoint that is being committed, for one."""
    ended = []

    def commit() -> None:
        alive()
        ended.append("whole")

    with leaving(lambda: True):
        thread = threading.Thread(target=commit)
        thread.start()
        thread.join()
    assert ended == ["whole"]


def judged(session: Session) -> str:
    return json.dumps([keeper.state_dict()[1] for keeper in session.parts.keepers])


def judge(session: Session) -> None:
    for keeper in session.parts.keepers:
        keeper.evaluate(session.parts.learner)
        keeper.select_final()


@pytest.mark.slow
def test_an_evaluation_that_is_left_is_due_as_before_and_ends_as_if_it_never_had_been(tmp_path: Path) -> None:
    """Left while the second of two agents drives: the first is judged again too."""
    config = several(2, "independent", **{"evaluation.frequency": 200})
    whole, left = (begin(config, tmp_path / name) for name in ("whole", "left"))
    pieces = 0

    def count() -> bool:
        nonlocal pieces
        pieces += 1
        return False

    for session in (whole, left):
        session.train_to(192)
    before = judged(left)
    with leaving(count):
        judge(whole)
    with pytest.raises(Left), all_or_nothing(left.parts.keepers, after(pieces * 3 // 4)):
        judge(left)
    assert judged(left) == before
    assert all(keeper.due(200) for keeper in left.parts.keepers)
    judge(left)
    assert judged(left) == judged(whole)
    for session in (whole, left):
        session.saver.close()


# --- silence ---
class Clock:
    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


def after_three_seconds_of_work(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock of a process that has worked without a pause."""
    clock = Clock()
    monkeypatch.setattr(systemd_notify, "time", clock)
    monkeypatch.setattr(systemd_notify, "_pulse", systemd_notify._Pulse())
    for _ in range(30):
        alive()
        clock.now_s += 0.1
    return clock


@pytest.mark.parametrize("works_first", [False, True])
def test_a_silence_is_told_once_whoever_notices_first_that_the_process_goes_on(
    monkeypatch: pytest.MonkeyPatch, *, works_first: bool
) -> None:
    """A signal may reach another thread after the one that works has worked again."""
    clock = after_three_seconds_of_work(monkeypatch)
    clock.now_s += 60.0  # stopped
    if works_first:
        alive()
        clock.now_s += 0.1
    assert systemd_notify.silence() == pytest.approx(60.0, abs=1.0)
    alive()
    assert systemd_notify.silence() == 0.0


def test_a_process_that_works_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    after_three_seconds_of_work(monkeypatch)
    assert systemd_notify.silence() == pytest.approx(0.0, abs=0.2)
