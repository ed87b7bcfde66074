"""No wait in silence: every half minute, the user reads what the launcher waits for, and what happens next."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ...store.retry import RetryPolicy

if TYPE_CHECKING:
    from ..aws.client import Cloud

# A wait longer than this is explained to the user.
SILENCE_S = 30.0

# The tries themselves time out after up to half a minute: a pause of this length is reported at the latest after that.
STORE_SILENCE_S = 10.0


class WaitReporter:
    """Count the silence of a loop, and break it."""

    def __init__(self, cloud: Cloud, say: Callable[[str], None] | None = None) -> None:
        self._cloud, self._say = cloud, say or cloud.say
        self.start = self._spoken = cloud.clock.monotonic()

    @property
    def waited_s(self) -> float:
        """Return the seconds since the waiting began."""
        return self._cloud.clock.monotonic() - self.start

    def progress(self) -> None:
        """Note that something has happened, and was said."""
        self._spoken = self._cloud.clock.monotonic()

    def explain(self, line: str | Callable[[], str]) -> None:
        """Say a line, if nothing has been said for half a minute; one that asks AWS for its reason is made then."""
        if self._cloud.clock.monotonic() - self._spoken >= SILENCE_S:
            self._say(line if isinstance(line, str) else line())
            self.progress()


@contextlib.contextmanager
def heartbeat(say: Callable[[str], None], line: str, every_s: float = SILENCE_S) -> Iterator[None]:
    """Say a line every half minute of one long call (an upload, a download) that does not come back between."""
    done = threading.Event()

    def speak() -> None:
        while not done.wait(every_s):
            say(line)

    speaker = threading.Thread(
        target=contextvars.copy_context().run, args=(speak,), name="wait notice", daemon=True
    )
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join()


def store_policy(cloud: Cloud) -> RetryPolicy:
    """Return how the launcher asks the store again: as long as the trainer does, but aloud."""
    silent_s = 0.0

    def sleep(delay_s: float) -> None:
        nonlocal silent_s
        silent_s += delay_s
        if silent_s >= STORE_SILENCE_S:
            cloud.say(
                f"  the store does not answer; asking again, for {RetryPolicy().deadline_s:.0f} s in all"
            )
            silent_s = 0.0
        cloud.clock.sleep(delay_s)

    return RetryPolicy(sleep=sleep)
