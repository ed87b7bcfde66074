"""Tell systemd that the service is ready and alive, and what it is doing (sd_notify(3)); elsewhere nothing happens.

`alive` is called inside each loop that may take long, after a finished piece of work: a step of a race, a picture, a
file in the store. No thread and no timer calls it, so a trainer that hangs is still found and killed. In a stretch
of work that may be left (`leaving`), `alive` also notices a request to stop.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

# Between two signs of life; systemd waits for minutes.
INTERVAL_S = 1.0
MOMENT_S = 2.0


class Left(BaseException):
    """A stretch of work was left before its end, for a stop was asked for; no error, so nothing takes it for one."""


class _Pulse:
    """When systemd last heard that work was done, whether it waits for READY=1, and what may be left meanwhile."""

    def __init__(self) -> None:
        self.at, self.is_starting = time.monotonic() - INTERVAL_S, True
        self.silent_s = 0.0  # before that
        self.asked: Callable[[], bool] | None = None
        self.thread = 0  # the one whose work may be left


_pulse = _Pulse()


def ready() -> None:
    """Say that the start is over: from now on silence is a hang, and before that it was a start that took too long."""
    notify("READY=1")
    _pulse.is_starting = False


@contextlib.contextmanager
def leaving(asked: Callable[[], bool]) -> Iterator[None]:
    """Let the block end by Left, raised by `alive` between two pieces of its work, once a stop is asked for.

    For work that leaves nothing half done behind: laps, races, pictures. Other threads continue.
    """
    before = _pulse.asked, _pulse.thread
    _pulse.thread, _pulse.asked = threading.get_ident(), asked
    try:
        yield
    finally:
        _pulse.asked, _pulse.thread = before


def silence() -> float:
    """Return for how long nothing was done until now, or until a moment ago, s; each silence is reported once.

    Work is noticed once a second, so the result is a second less. It is called when the process resumes after it was
    stopped. One thread learns of that while another one may already work again: hence the moment.
    """
    now = time.monotonic()
    longest = max(now - _pulse.at, _pulse.silent_s if now - _pulse.at < MOMENT_S else 0.0)
    _pulse.at, _pulse.silent_s = now, 0.0
    return max(0.0, longest - INTERVAL_S)


def alive(*assignments: str) -> None:
    """Say that a piece of work is done, at most once a second; cheap enough for inner loops.

    assignments: anything else to send, such as "STATUS=…". During the start systemd counts no watchdog; each piece of
    work extends the limit of the start by as long as the watchdog would wait. Raises Left inside of `leaving`.
    """
    if _pulse.asked is not None and _pulse.thread == threading.get_ident() and _pulse.asked():
        raise Left
    now = time.monotonic()
    if now - _pulse.at < INTERVAL_S:
        return
    _pulse.silent_s, _pulse.at = now - _pulse.at, now
    if not _pulse.is_starting:
        notify("WATCHDOG=1", *assignments, wait=False)
    elif limit_us := os.environ.get("WATCHDOG_USEC"):
        notify(f"EXTEND_TIMEOUT_USEC={limit_us}", wait=False)


def notify(*assignments: str, wait: bool = True) -> bool:
    """Send assignments such as "READY=1", "WATCHDOG=1", "STATUS=…"; return whether systemd listens.

    wait: until a busy manager takes it; a message that is repeated in a second need not arrive.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(wait)
            sender.sendto("\n".join(assignments).encode(), address)
    except OSError:
        return False  # a manager that does not listen must not end the training
    return True
