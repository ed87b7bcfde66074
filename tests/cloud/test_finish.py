"""What follows the trainer's end: the table of docs/architecture.md, row by row, on a real store."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import datetime, timedelta, timezone

import pytest

from tests.support.fake_imds import FakeImds
from training.instance import attempt_limit, finish
from training.instance.exit_record import VARIABLE, ExitRecord, read_exit_record, write_exit_record
from training.instance.identity import identity
from training.instance.imds import Imds
from training.process.systemd_notify import notify
from training.store import documents
from training.store.checkpoint import claim
from training.store.manifest import Owner
from training.store.open import open_store
from training.store.storage import Unavailable

RUN, FLEET = "finishing", "fleet-0123"
NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.setattr(finish, "STAY_UP", tmp_path / "stay-up")
    monkeypatch.setattr(finish, "DELETE_PAUSE_S", 0.0)
    store = open_store(str(tmp_path / "store"))
    documents.set_status(store, RUN, "running")
    return store


def end(
    storage, outcome: ExitRecord | None, fleet: str | None = FLEET, machine: documents.Attempt | None = None
) -> list[str]:
    """Finish a run; return the fleets that were deleted."""
    deleted: list[str] = []
    todo = finish.plan(outcome)
    finish.carry_out(
        todo,
        outcome,
        storage,
        RUN,
        fleet=fleet,
        delete=deleted.append,
        guard=lambda: attempt_limit.after_crash(storage, RUN, machine or crashed_machine("i-1")),
        say=lambda _: None,
    )
    return deleted


def crashed_machine(instance_id: str) -> documents.Attempt:
    return documents.Attempt(
        number=1,
        boot_id=uuid.uuid4().hex,
        instance_id=instance_id,
        started_at=NOW,
        ended_at=NOW + timedelta(minutes=6),
        cause="crashed",
        price_usd_per_hour=1.0,
    )


@pytest.mark.parametrize(
    ("outcome", "state", "deleted", "stays_up"),
    [
        (ExitRecord(exit_code=0), "done", [FLEET], False),
        (ExitRecord(exit_code=75, cause="interrupted"), "running", [], True),
        (ExitRecord(exit_code=75, cause="stopped"), "stopped", [FLEET], False),
        (ExitRecord(exit_code=75, cause="terminated"), "running", [], True),
        (ExitRecord(exit_code=64), "failed", [FLEET], False),
        (ExitRecord(exit_code=65, message="broken map"), "failed", [FLEET], False),
        (ExitRecord(exit_code=78), "failed", [FLEET], False),
        (ExitRecord(exit_code=1), "running", [], False),
        (None, "running", [], False),
    ],
)
def test_each_end_has_its_consequences(storage, outcome, state, deleted, stays_up):
    """Status, fleet and machine after every exit code of the trainer."""
    assert end(storage, outcome) == deleted
    assert documents.read_status(storage, RUN).state == state
    assert finish.STAY_UP.exists() == stays_up


def test_a_fenced_machine_deletes_its_own_fleet_only_if_the_owner_is_of_another(storage):
    """The fleet of the attempt that owns the run is never touched."""
    outcome = ExitRecord(exit_code=3)
    claim(storage, RUN, "sac", 1, owner=Owner(fleet_id=FLEET))
    assert end(storage, outcome) == []
    claim(storage, RUN, "sac", 2, owner=Owner(fleet_id="fleet-other"))
    assert end(storage, outcome) == [FLEET]
    assert documents.read_status(storage, RUN).state == "running"


def test_an_end_that_was_reached_before_stays(storage):
    """A machine that boots late and finds the run stopped does not turn it into done; its fleet goes all the same."""
    documents.set_status(storage, RUN, "stopped")
    assert end(storage, ExitRecord(exit_code=0)) == [FLEET]
    assert documents.read_status(storage, RUN).state == "stopped"


def test_a_fleet_that_cannot_be_deleted_is_tried_again_and_stops_nothing(storage):
    """Errors are said; the third try succeeds."""
    tries, said = [], []

    def delete(fleet: str) -> None:
        tries.append(fleet)
        if len(tries) < 3:
            raise ConnectionError("no route")

    outcome = ExitRecord(exit_code=0)
    finish.carry_out(
        finish.plan(outcome),
        outcome,
        storage,
        RUN,
        fleet=FLEET,
        delete=delete,
        guard=lambda: attempt_limit.StartDecision("train"),
        say=said.append,
    )
    assert tries == [FLEET] * 3
    assert sum("no route" in line for line in said) == 2


def refuse(*_: object) -> None:
    raise Unavailable("the bucket does not answer")


@pytest.mark.parametrize(
    ("outcome", "broken", "reported"),
    [
        (None, "guard", False),
        (ExitRecord(exit_code=1), "guard", False),
        (ExitRecord(exit_code=78), "set_status", False),
        (ExitRecord(exit_code=0), "set_status", False),
        (ExitRecord(exit_code=75, cause="interrupted"), "set_status", True),
        (ExitRecord(exit_code=3), "set_status", True),
        (ExitRecord(exit_code=0), "", True),
        (None, "", True),
    ],
)
def test_an_end_that_the_bucket_has_not_heard_of_is_told_to_the_image(
    storage, monkeypatch, outcome, broken, reported
):
    """Nobody would count such a machine: its unit fails, and f1tenth-fleet-check looks at the fleet's history."""
    if broken == "set_status":
        monkeypatch.setattr(documents, "set_status", refuse)
    told = finish.carry_out(
        finish.plan(outcome),
        outcome,
        storage,
        RUN,
        fleet=FLEET,
        delete=lambda _: None,
        guard=refuse if broken == "guard" else lambda: attempt_limit.StartDecision("train"),
        say=lambda _: None,
    )
    assert told == reported


def test_the_outcome_is_handed_over_by_a_file(tmp_path, monkeypatch):
    """What the trainer leaves the finish unit finds; nothing, or rubbish, is a crash."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "outcome.json"))
    assert read_exit_record() is None
    write_exit_record(ExitRecord(exit_code=75, cause="stopped", message="asked"))
    assert read_exit_record() == ExitRecord(exit_code=75, cause="stopped", message="asked")
    (tmp_path / "outcome.json").write_text("{")
    assert read_exit_record() is None


def attempt(
    number: int, cause: str, first: int = 0, last: int = 0, launch: int | None = 1
) -> documents.Attempt:
    return documents.Attempt(
        number=number,
        boot_id=str(number),
        launch=launch,
        started_at=NOW,
        cause=cause,
        first_step=first,
        last_step=last,
    )


@pytest.mark.parametrize(
    ("state", "history", "verdict"),
    [
        ("running", [], "train"),
        ("done", [], "over"),
        ("stopped", [], "over"),
        ("failed", [], "over"),
        ("running", ["crashed", "crashed"], "train"),
        ("running", ["crashed", "running", "terminated"], "failed"),
        ("running", ["interrupted"] * 10, "train"),
        ("running", ["crashed", "interrupted", "crashed", "interrupted", "crashed"], "failed"),
        ("running", ["interrupted"] * 19, "train"),
        ("running", ["interrupted"] * 20, "failed"),
    ],
)
@pytest.mark.parametrize("launch", [1, None])
def test_the_guard_counts_fruitless_starts_and_no_interruptions(state, launch, history, verdict):
    """Three starts without a newer checkpoint end the run; of interrupted ones twenty do, for they buy nothing."""
    rows = [attempt(i + 1, cause, launch=launch) for i, cause in enumerate(history)]
    assert attempt_limit.decide(state, launch, rows).verdict == verdict


@pytest.mark.parametrize("cause", ["interrupted", "crashed", "running"])
@pytest.mark.parametrize("starts", [20, 30, 500])
def test_starts_that_get_further_never_count_however_many_they_are(cause, starts):
    """A spot run that is taken away thirty times, and saves each time, goes on: the launch's cap limits it."""
    rows = [attempt(i + 1, cause, 50_000 * i, 50_000 * (i + 1)) for i in range(starts)]
    assert attempt_limit.decide("running", 1, rows) == attempt_limit.StartDecision("train")


@pytest.mark.parametrize("earlier", [None, 1])
@pytest.mark.parametrize("starts", [3, 20, 30])
def test_a_new_launch_begins_a_new_count(earlier, starts):
    """A run that failed, also before launches had numbers, has three starts again, and no fourth."""
    rows = [attempt(i + 1, "crashed", launch=earlier) for i in range(starts)]
    for new in range(3):
        assert attempt_limit.decide("running", 2, rows).verdict == "train"
        rows.append(attempt(starts + new + 1, "crashed", launch=2))
    assert attempt_limit.decide("running", 2, rows).verdict == "failed"


def test_an_attempt_that_died_between_its_commit_and_its_row_has_got_further():
    """Its successor began where it had come to: the commit counts, not the row that nobody could write any more."""
    rows = [attempt(1, "crashed"), attempt(2, "crashed", 0, 0), attempt(3, "crashed", 50_000, 50_000)]
    rows += [attempt(4, "crashed", 50_000, 50_000)]
    assert attempt_limit.decide("running", 1, rows).verdict == "train"


def test_progress_makes_good_for_crashes():
    """A crash after a newer checkpoint does not count, nor what was before it."""
    rows = [attempt(1, "crashed"), attempt(2, "crashed"), attempt(3, "crashed", 0, 50_000)]
    rows += [attempt(4, "crashed", 50_000, 50_000)]
    assert attempt_limit.decide("running", 1, rows).verdict == "train"


@pytest.mark.parametrize("outcome", [None, ExitRecord(exit_code=1)])
def test_machines_whose_trainer_never_lived_to_be_counted_are_counted_at_their_end(storage, outcome):
    """Each is one attempt with its price, however often its end is told; the third ends the run and its fleet."""
    for number in (1, 2):
        assert end(storage, outcome, machine=crashed_machine(f"i-{number}")) == []
        assert end(storage, outcome, machine=crashed_machine(f"i-{number}")) == []
        assert documents.read_status(storage, RUN).state == "running"
    assert end(storage, outcome, machine=crashed_machine("i-3")) == [FLEET]
    status = documents.read_status(storage, RUN)
    assert status.state == "failed"
    assert "3 starts in a row" in status.reason
    rows = documents.read_attempts(storage, RUN)
    assert [(row.instance_id, row.cause) for row in rows] == [(f"i-{n}", "crashed") for n in (1, 2, 3)]
    assert rows[0].cost_usd == pytest.approx(0.1)


def test_a_machine_that_was_counted_by_its_trainer_is_not_counted_again(storage):
    """What the trainer's own attempts reached decides: here the last of them has saved."""
    documents.begin_attempt(storage, RUN, crashed_machine("i-1").model_copy(update={"cause": "running"}))
    documents.change_attempt(storage, RUN, documents.read_attempts(storage, RUN)[0].boot_id, last_step=50_000)
    assert end(storage, None) == []
    assert len(documents.read_attempts(storage, RUN)) == 1
    assert documents.read_status(storage, RUN).state == "running"


def test_a_run_that_the_guard_has_failed_keeps_the_guards_reason(storage):
    """The trainer that it refuses ends with 78, which says less; nothing says that a new launch would fail again."""
    for number in range(3):
        documents.begin_attempt(storage, RUN, crashed_machine(f"i-{number}"))
    documents.begin_attempt(storage, RUN, crashed_machine("i-3").model_copy(update={"cause": "running"}))
    assert attempt_limit.at_start(storage, RUN).verdict == "failed"
    assert end(storage, ExitRecord(exit_code=78, message="run finishing has failed")) == [FLEET]
    status = documents.read_status(storage, RUN)
    assert status.reason == "3 starts in a row ended without a newer checkpoint"
    assert (status.exit_code, status.repeats) == (None, None)


@pytest.mark.parametrize("repeats", [True, False])
def test_a_failure_says_whether_the_same_launch_would_fail_again(storage, repeats):
    end(storage, ExitRecord(exit_code=78, message="env.beams", repeats=repeats))
    assert documents.read_status(storage, RUN).repeats is (True if repeats else None)


def test_a_crash_of_a_run_that_is_over_ends_its_fleet(storage):
    """Nothing is left to train: no other machine is paid for."""
    documents.set_status(storage, RUN, "stopped")
    assert end(storage, None) == [FLEET]
    assert documents.read_status(storage, RUN).state == "stopped"


def test_a_machine_tells_of_itself_as_an_attempt(storage):
    """It began when its first process did, has crashed, and is valid where no metadata service answers."""
    machine = finish.this_machine(Imds(endpoint="http://127.0.0.1:9"), storage, RUN)
    assert machine.cause == "crashed"
    assert machine.started_at < machine.ended_at


def test_a_machine_knows_itself_by_its_metadata():
    """Instance, type, zone, fleet and purchase are read; what is not told is left out."""
    with FakeImds() as server:
        server.paths["meta-data/instance-id"] = "i-1"
        server.paths["meta-data/placement/availability-zone"] = "us-east-2a"
        server.paths["meta-data/tags/instance/aws:ec2:fleet-id"] = FLEET
        server.paths["meta-data/instance-life-cycle"] = "spot"
        known = identity(Imds(endpoint=server.url))
    assert known == {
        "instance_id": "i-1",
        "availability_zone": "us-east-2a",
        "fleet_id": FLEET,
        "purchase": "spot",
    }
    assert identity(Imds(endpoint="http://127.0.0.1:9")) == {}


def test_systemd_hears_from_us(tmp_path, monkeypatch):
    """Assignments arrive in one datagram at NOTIFY_SOCKET; without one nothing is sent."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert notify("READY=1", "STATUS=on the way")
        assert listener.recv(100) == b"READY=1\nSTATUS=on the way"
    assert not notify("READY=1")
    assert os.environ["NOTIFY_SOCKET"]
