"""A run claimed on an instance: its price, its attempts, the step that its fleet goes back to; without a trainer."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.support.fake_imds import FakeImds
from training import layout
from training.cloud.launch_record import LaunchRecord, write_launch_record
from training.config import load_config
from training.errors import ConfigurationError, NoProgress, UsageError
from training.evaluation.load_run import config_of
from training.instance.identity import LAUNCH_VARIABLE
from training.instance.imds import ENDPOINT_VARIABLE, ON_INSTANCE
from training.process.systemd_notify import alive
from training.run.claimed_run import ResumePoint, Run, open_run
from training.store import documents
from training.store.checkpoint import CheckpointData
from training.store.open import open_store

RUN = "race"
NOW = datetime.now(timezone.utc)
OPEN: list[Run] = []


@pytest.fixture(autouse=True)
def no_lock_outlives_its_test():
    yield
    while OPEN:
        OPEN.pop().lock.close()


def settings(**changes: object):
    overrides = {"training.run_name": RUN, "training.keep_checkpoints": 2, **changes}
    return load_config(None, [f"{key}={value}" for key, value in overrides.items()])


def begin(store: Path, *, resume: bool = True, **origin: object) -> Run:
    run = open_run(settings(), str(store), resume=RUN if resume else None, origin=ResumePoint(**origin))
    OPEN.append(run)
    return run


def save(run: Run, step: int) -> None:
    run.lineage.commit(step, CheckpointData({"learner": f"{step}".encode()}))
    run.saved(step)


@pytest.fixture
def instance(monkeypatch, tmp_path) -> FakeImds:
    """Be a spot instance of a fleet whose launcher wrote down the prices of its pools."""
    with FakeImds() as imds:
        imds.paths = {
            "meta-data/instance-id": "i-0abc",
            "meta-data/instance-type": "g5.xlarge",
            "meta-data/placement/availability-zone": "us-east-2b",
            "meta-data/tags/instance/aws:ec2:fleet-id": "fleet-0a",
            "meta-data/instance-life-cycle": "spot",
        }
        monkeypatch.setenv(ON_INSTANCE, "1")
        monkeypatch.setenv(ENDPOINT_VARIABLE, imds.url)
        intent = LaunchRecord(
            run=RUN,
            launch=1,
            by="me",
            created_at=NOW,
            valid_until=NOW + timedelta(hours=6),
            market="spot",
            price_cap_usd_per_hour=1.2,
            cap_usd=5.0,
            bundle_sha256="0" * 64,
            image_id="ami-0",
            prices_usd_per_hour={"g5.xlarge us-east-2b": 0.36, "g5.xlarge us-east-2a": 0.40},
            price_source="spot history",
        )
        write_launch_record(open_store(str(tmp_path)), intent, lambda _: False)
        storage = open_store(str(tmp_path))
        storage.put(layout.config_key(RUN), settings().model_dump_json().encode())
        yield imds


def rows(store: Path) -> tuple[documents.Attempt, ...]:
    return documents.read_attempts(open_store(str(store)), RUN)


def age(store: Path, run: Run, **ago: timedelta) -> None:
    """Let fields of an attempt lie in the past."""
    fields = {name: datetime.now(timezone.utc) - one for name, one in ago.items()}
    documents.change_attempt(open_store(str(store)), RUN, run.attempt.boot_id, **fields)


def test_an_attempt_knows_its_machine_and_price_and_costs_accrue(instance, tmp_path):
    """Half an hour at $0.36, then a relaunch in another zone: $0.18 and what comes to it, in attempts.json."""
    first = begin(tmp_path)
    save(first, 100)
    age(tmp_path, first, started_at=timedelta(minutes=60), seen_at=timedelta(minutes=30))
    first.lock.close()  # killed: it never says how it ended
    (row,) = rows(tmp_path)
    assert (row.instance_type, row.availability_zone, row.purchase) == ("g5.xlarge", "us-east-2b", "spot")
    assert (row.price_usd_per_hour, row.price_source, row.cause) == (0.36, "spot history", "running")
    instance.paths["meta-data/placement/availability-zone"] = "us-east-2a"
    instance.paths["meta-data/instance-id"] = "i-0def"
    second = begin(tmp_path)
    age(tmp_path, second, started_at=timedelta(minutes=15))
    second.end_attempt("interrupted", 75, 200)
    table = documents.read(open_store(str(tmp_path)), layout.attempts_key(RUN), documents.Attempts)
    assert [(one.cause, one.last_step) for one in table.attempts] == [("crashed", 100), ("interrupted", 200)]
    assert [one.cost_usd for one in table.attempts] == pytest.approx([0.18, 0.10], rel=1e-3)
    assert table.cost_usd == pytest.approx(0.28, rel=1e-3)
    assert table.attempts[0].ended_at is not None


def test_a_type_the_launcher_had_no_price_for_counts_at_the_most_it_can_cost(instance, tmp_path):
    instance.paths["meta-data/instance-type"] = "g6.xlarge"
    run = begin(tmp_path)
    assert run.attempt.price_usd_per_hour == 1.2


@pytest.mark.usefixtures("instance")
def test_kills_with_progress_never_fail_a_run(tmp_path):
    """Each boot is killed without a word, but saved something: the guard at boot counts that."""
    for step in range(100, 700, 100):
        run = begin(tmp_path)
        save(run, step)
        run.lock.close()
    assert documents.read_status(open_store(str(tmp_path)), RUN).state == "running"


@pytest.mark.usefixtures("instance")
def test_only_the_stores_calls_of_checkpoints_are_signs_of_life(tmp_path):
    """The log and the look for requests go on while the trainer hangs; what they do at the store says nothing."""
    run = begin(tmp_path)
    assert run.lineage.storage.policy.on_success is alive
    assert run.storage.policy.on_success is not alive


@pytest.mark.usefixtures("instance")
def test_a_start_that_is_one_too_many_is_refused_and_a_new_launch_is_not(tmp_path, monkeypatch):
    """Three starts of launch 1 end without a checkpoint: the fourth is told why; launch 2 trains."""
    monkeypatch.setenv(LAUNCH_VARIABLE, "1")
    for _ in range(3):
        begin(tmp_path).lock.close()
    with pytest.raises(NoProgress, match="3 starts in a row ended without a newer checkpoint"):
        begin(tmp_path)
    storage = open_store(str(tmp_path))
    assert documents.read_status(storage, RUN).state == "failed"
    documents.set_status(storage, RUN, "pending")
    monkeypatch.setenv(LAUNCH_VARIABLE, "2")
    assert begin(tmp_path).attempt.launch == 2
    assert [row.launch for row in rows(tmp_path)] == [1, 1, 1, 1, 2]


@pytest.mark.usefixtures("instance")
def test_a_run_with_thirty_starts_behind_it_goes_on(tmp_path, monkeypatch):
    """Each saved 50,000 steps and was taken away; neither their number nor an upgrade in between locks it out."""
    storage = open_store(str(tmp_path))
    for number in range(30):
        row = {"first_step": 50_000 * number, "last_step": 50_000 * (number + 1), "cause": "interrupted"}
        about = {"number": 1, "boot_id": f"b{number}", "started_at": NOW, "launch": 1 if number > 9 else None}
        documents.begin_attempt(storage, RUN, documents.Attempt.model_validate({**about, **row}))
    monkeypatch.setenv(LAUNCH_VARIABLE, "1")
    assert begin(tmp_path).attempt.number == 31


def test_a_fleet_goes_back_to_a_step_once(instance, tmp_path):
    """--at is on every machine's command line; a relaunch after a save goes on from the newest."""
    run = begin(tmp_path)
    for step in (100, 200):
        save(run, step)
    run.lock.close()
    instance.paths["meta-data/tags/instance/aws:ec2:fleet-id"] = "fleet-0b"
    killed_early = begin(tmp_path, at_step=100)
    assert killed_early.checkpoint.step == 100
    killed_early.lock.close()
    back = begin(tmp_path, at_step=100)
    assert back.checkpoint.step == 100, "nothing was saved since: back again"
    save(back, 150)
    back.lock.close()
    relaunched = begin(tmp_path, at_step=100)
    assert relaunched.checkpoint.step == 150


def test_a_fleet_goes_on_from_a_partial_save_once(instance, tmp_path):
    """--from-partial is on every machine's command line; a relaunch after a save goes on from that."""
    run = begin(tmp_path)
    save(run, 100)
    run.lineage.commit_partial(150, CheckpointData({"learner": b"part"}))
    run.lock.close()
    instance.paths["meta-data/tags/instance/aws:ec2:fleet-id"] = "fleet-0b"
    killed_early = begin(tmp_path, from_partial=True)
    assert killed_early.partial.step == 150
    killed_early.lock.close()
    again = begin(tmp_path, from_partial=True)
    assert again.partial.step == 150, "nothing was saved since"
    save(again, 150)
    again.lock.close()
    relaunched = begin(tmp_path, from_partial=True)
    assert (relaunched.checkpoint.step, relaunched.partial) == (150, None)
    relaunched.lock.close()
    instance.paths["meta-data/tags/instance/aws:ec2:fleet-id"] = "fleet-0c"
    with pytest.raises(UsageError, match="no partial save"):
        begin(tmp_path, from_partial=True)


def test_this_computer_keeps_as_many_checkpoints_as_asked_for(tmp_path):
    """training.keep_checkpoints = 2; what goes leaves no empty folder, and the run goes on."""
    run = begin(tmp_path, resume=False)
    for step in range(100, 700, 100):
        save(run, step)
    run.lock.close()
    kept = sorted(
        path.name[:12] for path in (tmp_path / "runs" / RUN / "checkpoints").iterdir() if path.is_dir()
    )
    assert [int(name) for name in kept] == [500, 600]
    assert begin(tmp_path).checkpoint.step == 600


def test_a_partial_save_is_taken_only_when_asked_for(tmp_path):
    run = begin(tmp_path, resume=False)
    save(run, 100)
    run.lineage.commit_partial(150, CheckpointData({"learner": b"part"}))
    run.lock.close()
    plain = begin(tmp_path)
    assert (plain.checkpoint.step, plain.partial) == (100, None)
    plain.lock.close()
    asked = begin(tmp_path, from_partial=True)
    assert (asked.checkpoint.step, asked.partial.step) == (100, 150)
    assert "Lost: what the replay buffer took in after step 100" in asked.greeting
    save(asked, 150)
    asked.lock.close()
    with pytest.raises(UsageError, match="no partial save that continues"):
        begin(tmp_path, from_partial=True)


def test_an_unfinished_run_of_another_version_is_passed_over(tmp_path):
    """Settings that this version cannot read are another experiment, no reason to refuse a new one."""
    storage = open_store(str(tmp_path))
    storage.put(layout.config_key("old"), b'{"training": {"gone": 1}}')
    documents.set_status(storage, "old", "running")
    config = load_config(None, [])
    run = open_run(config, str(tmp_path), resume=None, origin=ResumePoint())
    OPEN.append(run)
    assert run.checkpoint is None
    with pytest.raises(ConfigurationError, match="gone"):
        open_run(config, str(tmp_path), resume="old", origin=ResumePoint())


def test_an_unfinished_run_goes_on_as_long_as_is_asked_for_now(tmp_path):
    """What is given on the command line or in the file holds; what is not given stays as the run has it."""
    begun = ["training.max_minutes=30", "sac.gamma=0.9"]
    run = open_run(load_config(None, begun), str(tmp_path), resume=None, origin=ResumePoint())
    run.lock.close()
    for given, minutes in (
        ([], 30.0),
        (["training.max_minutes=5"], 5.0),
        (["training.max_minutes=null"], None),
    ):
        config = load_config(None, [begun[1], *given])
        again = open_run(
            config, str(tmp_path), resume=None, origin=ResumePoint(), overrides=[begun[1], *given]
        )
        again.lock.close()
        assert (again.name, again.config.training.max_minutes) == (run.name, minutes)
    assert config_of(open_store(str(tmp_path)), run.name).training.max_minutes == 30.0
