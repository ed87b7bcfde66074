"""The trainer's output as numbered chunks in the store: `./launch.py logs -f` reads them, relaunches or not.

A chunk never changes once it may have been read, so a reader asks only for what comes after the last one. If the
store accepts none, text waits in memory, the oldest is dropped beyond a bound, and training continues.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from .. import layout
from ..errors import TrainingError
from ..store.retry import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..store.storage import Storage

# Often at first, when someone watches; then a request every half minute: 0.06 cents an hour.
INTERVAL_S, LATER_INTERVAL_S, LATER_S = 5.0, 30.0, 600.0
# Limits of the text that waits in memory and of what one attempt writes: a line every ten seconds is 2 MB a day.
MAX_WAITING = 1 << 20
MAX_ATTEMPT_BYTES = 32 << 20
CLOSE_S = 5.0
FULL = b"\n(the log of this attempt ends here, it has reached its bound; the machine's journal continues)\n"


class LogChunks:
    """Write text to the store in a thread of its own; nothing here raises, and only `close` waits."""

    def __init__(self, storage: Storage, run: str, attempt: int) -> None:
        self._storage, self._run, self._attempt = storage, run, attempt
        self._text = ""  # in no chunk yet
        self._lost = 0  # characters given up before it
        self._chunk = b""  # on its way, perhaps already there: tried again as it is
        self._number = 1
        self._written = 0
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="log-chunks", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Add text; beyond the bound the oldest that waits is given up."""
        with self._lock:
            waiting = self._text + text
            self._text = waiting[-MAX_WAITING:]
            self._lost += len(waiting) - len(self._text)

    def close(self) -> None:
        """Write what is left, for at most a few seconds."""
        self._closing.set()
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        while not self._closing.wait(
            INTERVAL_S if time.monotonic() - self._began < LATER_S else LATER_INTERVAL_S
        ):
            self._send(None)
        end = time.monotonic() + CLOSE_S
        while self._send(end):  # a chunk that waited, and then what came after it
            pass

    def _send(self, not_after: float | None) -> bool:
        """Write the next chunk, by `not_after` (monotonic clock, s); tell whether there was one and it is there."""
        self._chunk = self._chunk or self._take()
        if not self._chunk:
            return False
        key = layout.log_chunk_key(self._run, self._attempt, self._number)
        try:
            until(self._storage, not_after).put(key, self._chunk)
        except Exception:  # noqa: BLE001 - a log that cannot be kept stops nothing; commits say what is wrong
            return False
        self._number += 1
        self._written += len(self._chunk)
        self._chunk = b""
        return True

    def _take(self) -> bytes:
        with self._lock:
            text, lost = self._text, self._lost
            self._text, self._lost = "", 0
        if not text or self._written >= MAX_ATTEMPT_BYTES:
            return b""
        gap = f"({lost:,} characters are missing here: the store was away)\n" if lost else ""
        data = (gap + text).encode(errors="replace")
        return data if self._written + len(data) < MAX_ATTEMPT_BYTES else data + FULL


class _Tee:
    """A stream of text that is logged as well; everything but writing is the stream's own."""

    def __init__(self, stream: Any, log: LogChunks) -> None:  # noqa: ANN401 - any stream of text
        self._stream, self._log = stream, log

    def write(self, text: str) -> int:
        """Write to both."""
        self._log.write(text)
        written: int = self._stream.write(text)
        return written

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the stream
        return getattr(self._stream, name)


@contextlib.contextmanager
def logged(storage: Storage, run: str, attempt: int) -> Iterator[None]:
    """Log what the block prints, and the error that ends it; output for a terminal only is someone's live view."""
    log = LogChunks(storage, run, attempt)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream if stream.isatty() else _Tee(stream, log) for stream in before)
    try:
        yield
    except BaseException as error:
        explained = isinstance(error, TrainingError)
        log.write(f"{error}\n" if explained else traceback.format_exc())
        raise
    finally:
        sys.stdout, sys.stderr = before
        log.close()
