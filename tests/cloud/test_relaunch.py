"""A run that ended badly is launched again: what is said before a machine boots, what is refused, and whose launch wins."""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import pytest

from tests.cloud.fake_aws import ROOT, Account
from tests.support.servers import CREDENTIALS
from training import layout
from training.cloud import launch_record
from training.cloud.aws import inventory, launch_requests
from training.cloud.aws.client import Clock
from training.cloud.cleanup import leaks, stop
from training.cloud.console import output
from training.cloud.console.output import OutputOptions
from training.cloud.context import CommandContext
from training.cloud.launch import basis, launch, run_checks, setup, up_and_train
from training.cloud.launch.earlier_failure import fingerprint_of
from training.cloud.launch_record import LaunchRecord, read_launch_record
from training.config import Config, load_config
from training.errors import UsageError
from training.instance import attempt_limit
from training.store import documents
from training.store.documents import Attempt
from training.store.storage import Storage

pytestmark = pytest.mark.slow  # each test boots a machine many times

YES = OutputOptions(yes=True)
GUARD = "3 starts in a row ended without a newer checkpoint"


@pytest.fixture(scope="module")
def project(
    moto_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[CommandContext, Storage]]:
    """Give a project that is set up, with an image; each test has a run of its own in it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        account = Account(moto_server, f"p{secrets.token_hex(4)}", tmp_path_factory.mktemp("laptop"))
        cloud, scope = account.cloud, account.scope
        setup.apply(setup.plan(cloud, scope), lambda _: None)
        account.bake(cloud=cloud)
        # Packed and opened once: the same in every launch.
        patch.setattr(basis, "make_bundle", functools.lru_cache(basis.make_bundle))
        storage = account.storage
        patch.setattr(CommandContext, "storage", storage)
        yield CommandContext(Config(aws=account.aws), cloud, scope), storage


class Bench(NamedTuple):
    """A run of a test's own, and what acts on it."""

    site: CommandContext
    storage: Storage
    run: str

    @property
    def intent(self) -> LaunchRecord:
        found = read_launch_record(self.storage, self.run)
        assert found is not None
        return found

    @property
    def asked(self) -> documents.Control:
        found = documents.read_control(self.storage, self.run)
        assert found is not None
        return found

    @property
    def has_fleet(self) -> bool:
        return inventory.fleet_of(self.site.cloud, self.site.project, self.run) is not None

    def train(self, how: OutputOptions = YES, **options: Any) -> int:
        wanted = launch.Options(self.run, **options)
        return up_and_train.train(self.site, wanted, ROOT, how, up_first=False, detach=True)

    def begin(self, launch: int | None, **fields: Any) -> None:
        """Begin an attempt as a machine of a launch does."""
        started = datetime.now(timezone.utc)
        row = Attempt(number=1, boot_id=secrets.token_hex(8), started_at=started, launch=launch, **fields)
        documents.begin_attempt(self.storage, self.run, row)

    def end(self, state: documents.State, **fields: Any) -> None:
        """End the run as its machine does: its fleet goes, its status says why."""
        fleet = inventory.fleet_of(self.site.cloud, self.site.project, self.run)
        if fleet is not None:
            leaks.delete_fleet(self.site.cloud, fleet["FleetId"])
        documents.set_status(self.storage, self.run, state, **fields)

    def fail_by_the_guard(self, launch: int | None) -> None:
        """Let three machines crash without a checkpoint; the guard does not let the fourth train."""
        for _ in range(3):
            self.begin(launch, cause="crashed")
        self.begin(launch)
        assert attempt_limit.at_start(self.storage, self.run) == attempt_limit.StartDecision("failed", GUARD)
        self.end("failed", only_from={"pending"})

    def forget_fleet(self) -> None:
        """Leave what a start leaves that broke off after its fleet was made."""
        key, nameless = layout.fleet_key(self.run), self.intent.model_copy(update={"fleet_id": ""})
        documents.update(self.storage, key, LaunchRecord, lambda _: nameless)


@pytest.fixture
def bench(project: tuple[CommandContext, Storage]) -> Iterator[Bench]:
    made = Bench(*project, f"r{secrets.token_hex(4)}")
    yield made
    made.end("done")


@pytest.mark.parametrize("numbered", [True, False])
def test_a_run_that_the_guard_failed_trains_again_and_the_plan_says_so_first(
    bench: Bench, capsys: pytest.CaptureFixture[str], numbered: bool
) -> None:
    """Also one whose attempts are from before launches had numbers."""
    bench.train()
    bench.fail_by_the_guard(1 if numbered else None)
    capsys.readouterr()
    bench.train(OutputOptions(dry_run=True), resume=True)
    told = capsys.readouterr().out
    assert f"before     launch 1 failed ({GUARD}); starts are counted from 0 again" in told
    assert not bench.has_fleet
    bench.train(resume=True)
    status = documents.read_status(bench.storage, bench.run)
    assert status is not None
    assert (status.state, status.reason, status.exit_code) == ("pending", "", None)
    bench.begin(2)
    assert attempt_limit.at_start(bench.storage, bench.run).verdict == "train"


def test_it_trains_again_however_often_it_has_failed(bench: Bench) -> None:
    bench.train()
    bench.fail_by_the_guard(1)
    bench.train(resume=True)
    bench.fail_by_the_guard(2)
    bench.train(resume=True)
    bench.begin(3)
    assert attempt_limit.at_start(bench.storage, bench.run).verdict == "train"


@pytest.mark.parametrize("reason", ["20 boots, at most 20 are allowed", "3 boots in a row ended"])
def test_a_run_that_an_earlier_version_locked_out_trains_again(bench: Bench, reason: str) -> None:
    """Its thirty attempts, each with 50,000 steps, and its status are read as they were written."""
    bench.train()
    for number in range(30):
        bench.begin(None, first_step=50_000 * number, last_step=50_000 * (number + 1))
    bench.end("failed", reason=f"configuration: run race has failed: {reason}", exit_code=78)
    bench.train(resume=True)
    bench.begin(2)
    assert attempt_limit.at_start(bench.storage, bench.run) == attempt_limit.StartDecision("train")


def test_a_failure_by_the_settings_is_not_repeated_for_money(bench: Bench) -> None:
    """The same settings, code, image and checkpoint: a --yes is refused, and nothing is made."""
    bench.train()
    bench.end("failed", reason="configuration: env.beams", exit_code=78, repeats=True)
    with pytest.raises(UsageError, match="would fail again") as refused:
        bench.train(resume=True)
    assert "Change what the reason names" in refused.value.next_step
    assert not bench.has_fleet
    assert bench.intent.launch == 1


class Terminal:
    """A person at a terminal who has one answer."""

    closed = False

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return f"{self._answer}\n"


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_person_may_launch_it_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """What was wrong may have been mended where the launcher does not look: nothing locks a run out for good."""
    bench.train()
    bench.end("failed", reason="data: a broken map", exit_code=65, repeats=True)
    monkeypatch.setattr(output.sys, "stdin", Terminal(answer))
    if answer == "y":
        bench.train(OutputOptions(), resume=True)
    else:
        with pytest.raises(UsageError, match="nothing was done"):
            bench.train(OutputOptions(), resume=True)
    assert bench.has_fleet == (answer == "y")


def test_what_was_changed_since_is_tried(bench: Bench) -> None:
    bench.train()
    bench.end("failed", reason="configuration: it does not fit", exit_code=78, repeats=True)
    bench.train(resume=True, overrides=("training.total_timesteps=5000000",))
    assert bench.has_fleet


LAUNCH = launch_requests.Launch(
    run="race", number=1, owner="kim", image_id="ami-1", security_group_id="sg-1", bundle_sha256="ab" * 32,
    training_type="sac", instance_types=("g5.xlarge",), pools=(), valid_until=datetime.now(timezone.utc), hours=1.0,
    price_cap_usd_per_hour=1.0,
)  # fmt: skip
DECISIVE = [
    {"image_id": "ami-2"},
    {"bundle_sha256": "cd" * 32},
    {"instance_types": ("g6.xlarge",)},
    {"at_step": 50_000},
    {"from_partial": True},
]
INDIFFERENT: list[dict[str, Any]] = [{"number": 2, "owner": "lee"}, {"hours": 9.0, "market": "on-demand"}]


def test_what_decides_whether_a_trainer_accepts_a_launch_is_in_its_fingerprint() -> None:
    config = load_config(None, [])
    same = fingerprint_of(LAUNCH, config)
    for change in DECISIVE:
        assert fingerprint_of(LAUNCH._replace(**change), config) != same, change
    for change in INDIFFERENT:
        assert fingerprint_of(LAUNCH._replace(**change), config) == same, change
    assert fingerprint_of(LAUNCH, load_config(None, ["sac.gamma=0.5"])) != same
    assert fingerprint_of(LAUNCH, load_config(None, ["aws.max_hours=9"])) == same, "money mends no setting"


def test_a_failure_that_the_store_or_a_role_caused_is_tried_again(bench: Bench) -> None:
    """A bundle that was refused, a permission that was missing: nothing in the settings shows whether that is mended."""
    bench.train()
    bench.end("failed", reason="S3 answers 403; launch the run again", exit_code=65)
    bench.train(resume=True)
    assert bench.has_fleet


# --- whose launch it is ---
def launched_elsewhere(bench: Bench, monkeypatch: pytest.MonkeyPatch, skew: timedelta) -> None:
    """Let a launch break off before its fleet, on another laptop whose clock is wrong."""

    def broken(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as elsewhere:
        for module in (launch, run_checks):
            elsewhere.setattr(module, "owner", lambda: "kim@elsewhere")
        elsewhere.setattr(launch, "create_role", broken)
        with skewed(bench, skew), pytest.raises(KeyboardInterrupt):
            bench.train()


@contextlib.contextmanager
def skewed(bench: Bench, skew: timedelta) -> Iterator[None]:
    """Set the clock of the laptop wrong."""
    cloud = bench.site.cloud
    before, cloud.clock = (
        cloud.clock,
        Clock(now=lambda: datetime.now(timezone.utc) + skew, sleep=lambda _: None),
    )
    try:
        yield
    finally:
        cloud.clock = before


def of_ours(bench: Bench) -> list[str]:
    found = leaks.find_leaks(bench.site.cloud, bench.site.project, bench.storage)
    return [leak.line for leak in found if bench.run in leak.line]


SKEWS = [timedelta(minutes=-9), timedelta(minutes=9)]


@pytest.mark.parametrize("skew", SKEWS)
def test_a_launch_under_way_is_nobody_elses_whatever_the_laptops_clocks_say(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, skew: timedelta
) -> None:
    """`gc` leaves it alone, and a resume is refused: its age is the store's date, before AWS's time."""
    launched_elsewhere(bench, monkeypatch, skew)
    assert of_ours(bench) == []
    with skewed(bench, skew), pytest.raises(UsageError, match="was launched by kim@elsewhere"):
        bench.train(resume=True)


@pytest.mark.parametrize("skew", SKEWS)
def test_a_launch_that_somebody_else_left_half_made_locks_nobody_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, skew: timedelta
) -> None:
    """After five minutes by the store's clock it is over: it is found by `gc`, and the run can be launched from here."""
    launched_elsewhere(bench, monkeypatch, skew)
    monkeypatch.setattr(launch_record, "HALF_MADE_AFTER_S", -1.0)
    assert any("begun by kim@elsewhere" in line for line in of_ours(bench))
    bench.train(resume=True)
    found = bench.intent
    assert (found.launch, found.by, bool(found.fleet_id)) == (2, launch.owner(), True)


def test_the_cap_ends_by_awss_clock(bench: Bench) -> None:
    """A laptop whose clock is wrong buys no minute more or less than the plan says."""
    with skewed(bench, timedelta(minutes=4)):
        bench.train()
    hours = (bench.intent.valid_until - datetime.now(timezone.utc)).total_seconds() / 3600
    assert hours < bench.intent.cap_usd / bench.intent.price_cap_usd_per_hour + 0.01


# --- stop ---
def test_a_stop_names_its_launch_and_a_new_launch_is_not_stopped_by_an_old_one(bench: Bench) -> None:
    bench.train()
    bench.begin(1)
    assert stop.stop_run(bench.site, bench.storage, bench.run, when="saved", wait=False) == "stopping"
    assert (bench.asked.request, bench.asked.launch) == ("stop_now", 1)
    bench.end("stopped")
    bench.train(resume=True)
    assert not bench.asked.is_for(2, found_at_start=None)


def test_machines_from_before_launches_had_numbers_are_asked_as_they_understand_it(bench: Bench) -> None:
    """They refuse a document with a field that they do not know, and would not hear of the stop."""
    bench.train()
    bench.begin(None, fleet_id=bench.intent.fleet_id)
    stop.stop_run(bench.site, bench.storage, bench.run, when="saved", wait=False)
    assert b"launch" not in bench.storage.get(layout.control_key(bench.run), max_bytes=1 << 16).data


def test_a_start_that_broke_off_after_its_fleet_was_made_is_another_launch_than_the_next(
    bench: Bench,
) -> None:
    """Its machines and a stop of it were counted under its number, which the next may not share."""
    bench.train()
    bench.forget_fleet()
    bench.begin(1)
    documents.request(bench.storage, bench.run, "stop_now", launch=1)
    bench.end("stopped")
    bench.train(resume=True)
    assert bench.intent.launch == 2


def test_a_request_to_a_start_that_never_had_a_machine_is_taken_back(bench: Bench) -> None:
    bench.train()
    bench.forget_fleet()
    documents.request(bench.storage, bench.run, "stop_now", launch=1)
    bench.end("stopped")
    bench.train(resume=True)
    assert (bench.asked.request, bench.asked.launch) == ("none", 1)
