"""The log of a run in its store: read while it grows, over relaunches; bounded; stops nothing."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from tests.support.servers import Bucket
from training import layout
from training.cloud.watch.log import Lines, new_chunks
from training.errors import UsageError
from training.instance import log_upload
from training.instance.log_upload import LogChunks, logged
from training.store.directory import DirectoryStorage
from training.store.open import open_store
from training.store.storage import ALWAYS, Body, Condition, Storage, Unavailable

RUN = "run-a"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_upload, "INTERVAL_S", 0.01)
    monkeypatch.setattr(log_upload, "LATER_INTERVAL_S", 0.01)


def text_of(storage: Storage, run: str, read: set[str]) -> str:
    return "".join(text for _, text in new_chunks(storage, run, read))


class AwayStorage(DirectoryStorage):
    """A store that takes nothing until it is told to; counts the tries."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.away = True
        self.tried = threading.Event()

    def put(self, key: str, body: Body, *, condition: Condition = ALWAYS, sha256: str | None = None) -> str:
        if self.away:
            self.tried.set()
            raise Unavailable("away")
        return super().put(key, body, condition=condition, sha256=sha256)


def test_the_launcher_reads_what_two_attempts_printed_and_how_they_ended(weed_url: Bucket) -> None:
    """On a real S3 server: lines of both attempts in order, and the error that ended the first."""
    storage = open_store(weed_url.url, weed_url.aws)

    def first_attempt() -> None:
        with logged(storage, RUN, 1):
            sys.stdout.write("step 1\n")
            sys.stderr.write("a warning\n")
            raise UsageError("no such track", next_step="Choose another.")

    with pytest.raises(UsageError):
        first_attempt()
    read: set[str] = set()
    text = text_of(storage, RUN, read)
    assert text == "step 1\na warning\nno such track\nChoose another.\n"
    with logged(storage, RUN, 2):
        sys.stdout.write("step 2\n")
    assert text_of(storage, RUN, read) == "step 2\n"
    storage.put(layout.log_chunk_key(RUN, 1, 99), b"late\n")
    assert text_of(storage, RUN, read) == "late\n", "the last words of a lost machine"


def test_lines_are_whole_though_chunks_are_not_and_attempts_do_not_mix() -> None:
    told: list[tuple[int, str]] = []
    lines = Lines(lambda attempt, line: told.append((attempt, line)))
    lines.write(1, "one\nt")
    assert told == [(1, "one")]
    lines.write(2, "un\n")
    lines.write(1, "wo\n\nthr")
    assert told[1:] == [(2, "un"), (1, "two"), (1, "")]
    lines.close()
    assert told[4:] == [(1, "thr")], "the last words of who was cut off"


def test_a_fault_is_logged_with_its_traceback(tmp_path: Path) -> None:
    storage = DirectoryStorage(tmp_path)

    def attempt() -> None:
        with logged(storage, RUN, 1):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        attempt()
    assert "Traceback" in text_of(storage, RUN, set())


def test_streams_are_as_before_afterwards(tmp_path: Path) -> None:
    before = sys.stdout, sys.stderr
    with logged(DirectoryStorage(tmp_path), RUN, 1):
        assert sys.stdout is not before[0]
        assert sys.stdout.encoding == before[0].encoding, "everything but writing is the stream's own"
    assert (sys.stdout, sys.stderr) == before


def test_what_the_store_did_not_take_comes_later_and_no_chunk_changes(tmp_path: Path) -> None:
    """A chunk whose reply was lost may have been read: it is sent again as it was, what came since follows it."""
    storage = AwayStorage(tmp_path)
    log = LogChunks(storage, RUN, 1)
    log.write("one\n")
    assert storage.tried.wait(20)
    log.write("two\n")
    storage.away = False
    log.close()
    chunks = [storage.get(entry.key, max_bytes=100).data for entry in storage.list(layout.logs_prefix(RUN))]
    assert chunks == [b"one\n", b"two\n"]


def test_a_store_that_stays_away_costs_a_bounded_memory_and_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest text is given up, and where it is missing the log says so."""
    monkeypatch.setattr(log_upload, "MAX_WAITING", 100)
    storage = AwayStorage(tmp_path)
    log = LogChunks(storage, RUN, 1)
    log.write("first\n")
    assert storage.tried.wait(20)
    for number in range(100):
        log.write(f"line {number:04}\n")
    assert len(log._text) <= 100
    storage.away = False
    log.close()
    text = text_of(storage, RUN, set())
    assert text.startswith("first\n(900 characters are missing here")
    assert text.endswith("line 0099\n")


def test_an_attempt_writes_no_more_than_its_bound_and_says_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_upload, "MAX_ATTEMPT_BYTES", 200)
    storage = AwayStorage(tmp_path)
    log = LogChunks(storage, RUN, 1)
    log.write("x" * 150)
    assert storage.tried.wait(20)
    storage.away = False
    log.write("y" * 150)
    log.close()
    again = text_of(storage, RUN, set())
    assert again.startswith("x" * 150 + "y" * 150)
    assert "has reached its bound" in again
