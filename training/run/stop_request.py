"""Why a run stops before its end: a signal, a spot notice, a laptop's word; and how long is left to save."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ..errors import Interrupted, TrainingError
from ..instance.imds import ON_INSTANCE, Imds, Notice, Watcher
from ..store import documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from ..store.documents import Cause
    from ..store.storage import Storage

CONTROL_POLL_S = 5.0
# The final commit ends this long before the machine goes.
MARGIN_S = 15.0
# AWS gives notice two minutes before an interruption, never earlier.
NOTICE_S = 120.0
# Signals that ask a run to save and stop, as people know them.
SIGNALS = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "SIGHUP (its terminal or its ssh session ended)",
}


class StopRequest:
    """Remember, for the next boundary, that training should stop or save, and why."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.cause: Cause = "terminated"
        self.deadline: float | None = None  # monotonic clock, s: when everything must be saved
        self.save_now = threading.Event()
        self.stop_after_save = False
        self.is_by_signal = False  # somebody at this computer waits for the end

    def request_stop(self, reason: str, cause: Cause, deadline: float | None = None) -> None:
        """Ask for a stop; the first reason stays, the earliest deadline counts."""
        if self.reason is None:
            self.cause, self.reason = cause, reason
        if deadline is not None:
            self.deadline = deadline if self.deadline is None else min(deadline, self.deadline)

    def install_signal_handlers(self) -> None:
        """Take signals as requests, except one that is ignored; a second SIGINT interrupts at once."""
        for number in handled_signals():
            signal.signal(number, self._on_signal)

    def on_notice(self, notice: Notice, now: datetime | None = None) -> None:
        """Stop before an interruption; save at a rebalance recommendation and at a maintenance (SIGTERM follows).

        now: by the clock that dated the notice; None: by this machine's.
        """
        if notice.kind == "interruption":
            self.request_stop(
                str(notice), "interrupted", _deadline(notice.at, now or datetime.now(timezone.utc))
            )
        else:
            self.save_now.set()

    def on_request(self, request: documents.Request) -> None:
        """Obey the request that a laptop wrote into control.json."""
        if request == "stop_now":
            self.request_stop("a request to stop", "stopped")
        elif request == "stop_after_checkpoint":
            self.stop_after_save = True

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.is_by_signal = True
        self.request_stop(SIGNALS[signal.Signals(number)], "terminated")


def handled_signals() -> list[signal.Signals]:
    """Return the signals that ask for a stop: all, except SIGHUP if the parent process ignores it, as nohup does."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in SIGNALS if not (ignored and number == signal.SIGHUP)]


def keep_exit_code() -> None:
    """Let the process end with its own exit code after a KeyboardInterrupt.

    If it ended an exec of source text (numba and dataclasses use it), Python remembers that until it exits, and then
    exits by SIGINT whatever its exit code is. The next exec clears that state.
    """
    exec("")  # noqa: S102 - a constant


@contextlib.contextmanager
def interruptible_setup(how_to_continue: str) -> Iterator[None]:
    """Let a signal end the code inside, while there is nothing to save yet.

    Raises Interrupted whatever the interrupted code did with the signal: numba's compiler swallows KeyboardInterrupt in
    its callbacks and fails later with an error of its own. The code inside may install another handler for the code
    that follows: it stays installed, so that no signal is lost between the two.
    """
    came: list[signal.Signals] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number))
        signal.default_int_handler(number, frame)

    def early() -> Interrupted:
        message = f"stopped by {SIGNALS[came[0]]} before the first step; nothing is lost"
        return Interrupted(message, next_step=how_to_continue)

    before = {number: signal.signal(number, on_signal) for number in handled_signals()}
    try:
        yield
    except TrainingError:
        raise
    except BaseException as error:
        if came:
            keep_exit_code()
            raise early() from error
        raise
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is on_signal:
                signal.signal(number, handler)
    if came:
        raise early()


class ControlPoller(threading.Thread):
    """Read control.json every few seconds and pass requests on."""

    def __init__(
        self,
        storage: Storage,
        run: str,
        on_request: Callable[[documents.Request], None],
        launch: int | None = None,
    ) -> None:
        super().__init__(name="control-poller", daemon=True)
        self._storage, self._run_name, self._on_request, self._launch = storage, run, on_request, launch
        self._has_looked = False
        self._found_at_start: str | None = None  # the nonce of what was asked before
        self._stopping = threading.Event()

    def run(self) -> None:
        """Poll until `stop`; a store that does not answer is asked again."""
        self.look()
        while not self._stopping.wait(CONTROL_POLL_S):
            self.look()

    def look(self) -> None:
        """Read once, and pass on requests to this attempt: matched by launch, never by a laptop's clock."""
        try:
            control = documents.read_control(self._storage, self._run_name)
        except Exception:  # noqa: BLE001 - training continues; commits say what is wrong with the store
            return
        if not self._has_looked:
            self._has_looked, self._found_at_start = True, None if control is None else control.nonce
        if control is not None and control.is_for(self._launch, self._found_at_start):
            self._on_request(control.request)

    def stop(self) -> None:
        """End the thread at its next wait."""
        self._stopping.set()


def watch(
    storage: Storage, run: str, stop: StopRequest, say: Callable[[str], None], launch: int | None = None
) -> list[Watcher | ControlPoller]:
    """Start the listeners for requests to stop; the threads end with the process. launch: the number of this one."""
    watchers: list[Watcher | ControlPoller] = [ControlPoller(storage, run, stop.on_request, launch)]
    if os.environ.get(ON_INSTANCE):
        imds = Imds()

        def tell(notice: Notice) -> None:
            say(str(notice))
            stop.on_notice(notice, imds.now())

        watchers.append(Watcher(imds, tell, say))
    for watcher in watchers:
        watcher.start()
    return watchers


def _deadline(at: datetime | None, now: datetime) -> float:
    """Return the monotonic time by which all must be saved: at most two minutes from now, less a margin."""
    left_s = NOTICE_S if at is None else min((at - now).total_seconds(), NOTICE_S)
    return time.monotonic() + max(left_s - MARGIN_S, 1.0)
