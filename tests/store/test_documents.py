"""status.json, control.json and attempts.json: several writers, no update lost."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from training import layout
from training.store import documents
from training.store.directory import DirectoryStorage
from training.store.documents import (
    Attempt,
    Attempts,
    Control,
    Status,
    begin_attempt,
    change_attempt,
    read_attempts,
    read_control,
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
    ("asked_of", "launch", "hears"),
    [(1, 1, True), (1, 2, False), (2, 1, False), (None, 1, True), (1, None, True), (None, None, True)],
)
def test_a_new_request_is_heard_by_the_launch_that_is_asked(
    store: DirectoryStorage, asked_of: int | None, launch: int | None, *, hears: bool
) -> None:
    """By its number, whoever's clock says what; without numbers by whoever trains when it is made."""
    control = request(store, RUN, "stop_now", launch=asked_of)
    assert control.is_for(launch, found_at_start=None) == hears


@pytest.mark.parametrize(("launch", "hears"), [(1, True), (None, False)])
def test_a_request_that_an_attempt_finds_at_its_start_is_its_own_only_by_its_launch(
    store: DirectoryStorage, launch: int | None, *, hears: bool
) -> None:
    """It was made while no machine was up, and is not lost; without a number it was an earlier attempt's."""
    control = request(store, RUN, "stop_now", launch=launch)
    assert control.is_for(launch, found_at_start=control.nonce) == hears


AT = "2026-11-26T10:00:00Z"
# As the program wrote them before launches had numbers.
BEFORE = {
    Status: b'{"format": 1, "nonce": "%s", "state": "failed", "changed_at": "%s", "phase": "", "reason": '
    b'"3 boots in a row ended without a newer checkpoint", "exit_code": 78, "attempt": 3, "step": 0}',
    Control: b'{"format": 1, "nonce": "%s", "request": "stop_now", "requested_at": "%s", "requested_by": "kim"}',
    Attempts: b'{"format": 1, "nonce": "%s", "attempts": [{"number": 1, "boot_id": "a", "host": "", '
    b'"instance_id": "i-1", "instance_type": "g5.xlarge", "availability_zone": "us-east-2a", "fleet_id": '
    b'"fleet-1", "purchase": "spot", "price_usd_per_hour": 0.4, "price_source": "", "started_at": "%s", '
    b'"seen_at": null, "ended_at": null, "cause": "running", "exit_code": null, "at_step": null, '
    b'"first_step": 0, "last_step": 50000, "cost_usd": 0.0}], "cost_usd": 0.0}',
}


@pytest.mark.parametrize("model", BEFORE)
def test_a_document_from_before_launches_had_numbers_is_read_and_written_as_it_was(
    store: DirectoryStorage, model: type[documents.Versioned]
) -> None:
    """And what was not set is not written: a machine that was launched before an upgrade refuses unknown fields."""
    text = BEFORE[model] % (b"a" * 32, AT.encode())
    store.put("runs/run-a/document.json", text)
    documents.update(store, "runs/run-a/document.json", model, lambda seen: seen)
    again = json.loads(store.get("runs/run-a/document.json", max_bytes=1 << 20).data)
    assert {**again, "nonce": "a" * 32} == json.loads(text)


def test_what_is_set_is_written(store: DirectoryStorage) -> None:
    begin_attempt(store, RUN, boot("first").model_copy(update={"launch": 2}))
    set_status(store, RUN, "failed", repeats=True)
    request(store, RUN, "stop_now", launch=2)
    status, control = read_status(store, RUN), read_control(store, RUN)
    assert status is not None
    assert control is not None
    assert (read_attempts(store, RUN)[0].launch, status.repeats, control.launch) == (2, True, 2)


def test_a_run_is_not_locked_out_by_the_number_of_its_attempts(
    store: DirectoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound the oldest rows go; their numbers are not given again, and what they cost stays in the sum."""
    monkeypatch.setattr(documents, "MAX_ATTEMPTS", 3)
    hour = timedelta(hours=1)
    for number in range(1, 8):
        row = boot(f"b{number}").model_copy(update={"price_usd_per_hour": 0.5})
        assert begin_attempt(store, RUN, row).number == number
        change_attempt(store, RUN, f"b{number}", ended_at=row.started_at + hour, cause="interrupted")
    assert [row.number for row in read_attempts(store, RUN)] == [5, 6, 7]
    table = documents.read(store, layout.attempts_key(RUN), Attempts)
    assert table is not None
    assert table.cost_usd == pytest.approx(3.5)


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
