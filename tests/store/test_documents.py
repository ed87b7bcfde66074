"""status.json, control.json and attempts.json: several writers, no update lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from training import layout
from training.store.directory import DirectoryStorage
from training.store.documents import (
    Attempt,
    begin_attempt,
    change_attempt,
    read_attempts,
    read_request,
    read_status,
    request,
    set_status,
)
from training.store.manifest import utc_now
from training.store.storage import Corrupt, NotFound

RUN = "run-a"


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStorage:
    return DirectoryStorage(tmp_path)


def boot(name: str) -> Attempt:
    return Attempt(number=1, boot_id=name, started_at=utc_now())


def test_attempts_are_counted_and_a_restart_in_the_same_boot_is_the_same_attempt(
    store: DirectoryStorage,
) -> None:
    assert begin_attempt(store, RUN, boot("first")).number == 1
    assert begin_attempt(store, RUN, boot("second")).number == 2
    assert begin_attempt(store, RUN, boot("first")).number == 1
    assert [row.boot_id for row in read_attempts(store, RUN)] == ["first", "second"]


def test_boots_at_the_same_time_all_get_a_number_of_their_own(store: DirectoryStorage) -> None:
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: numbers.append(begin_attempt(store, RUN, boot(f"b{n}")).number))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 13))


def test_the_end_of_an_attempt_is_written_into_its_own_row(store: DirectoryStorage) -> None:
    begin_attempt(store, RUN, boot("first"))
    begin_attempt(store, RUN, boot("second"))
    change_attempt(store, RUN, "first", cause="interrupted", exit_code=75, ended_at=utc_now(), last_step=5)
    first, second = read_attempts(store, RUN)
    assert (first.cause, first.exit_code, first.last_step) == ("interrupted", 75, 5)
    assert second.cause == "running"


def test_an_unknown_attempt_cannot_be_changed(store: DirectoryStorage) -> None:
    with pytest.raises(NotFound, match="no attempt with boot id 'nobody'"):
        change_attempt(store, RUN, "nobody", cause="done")


def test_a_late_boot_does_not_turn_done_into_running(store: DirectoryStorage) -> None:
    assert set_status(store, RUN, "running", only_from=["pending", "running"]).state == "running"
    set_status(store, RUN, "done", exit_code=0, reason="all timesteps", step=1000)
    assert set_status(store, RUN, "running", only_from=["pending", "running"]).state == "done"
    status = read_status(store, RUN)
    assert status is not None
    assert (status.state, status.reason, status.step) == ("done", "all timesteps", 1000)


def test_a_run_that_was_never_launched_has_no_status_and_no_request(store: DirectoryStorage) -> None:
    assert read_status(store, RUN) is None
    assert read_request(store, RUN) == "none"
    assert read_attempts(store, RUN) == ()


def test_a_laptop_asks_and_the_run_sees_it(store: DirectoryStorage) -> None:
    request(store, RUN, "stop_after_checkpoint", by="laptop")
    assert read_request(store, RUN) == "stop_after_checkpoint"
    request(store, RUN, "stop_now")
    assert read_request(store, RUN) == "stop_now"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"format": 2, "state": "running"}', "format 2, this program reads format 1"),
        (b'{"state": "resting", "changed_at": "2026-01-01T00:00:00Z"}', "state: Input should be 'pending'"),
        (b'{"state": "done", "changed_at": "2026-01-01T00:00:00Z", "evil": 1}', "evil: Extra inputs"),
        (b"not json", "Invalid JSON"),
        (b'{"state": "done"}', "changed_at: Field required"),
    ],
)
def test_a_broken_document_is_refused_by_the_name_of_what_is_wrong(
    store: DirectoryStorage, text: bytes, said: str
) -> None:
    store.put(layout.status_key(RUN), text)
    with pytest.raises(Corrupt, match=said):
        read_status(store, RUN)
