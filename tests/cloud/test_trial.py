"""`train --trial` against the emulator, whose machines are played whenever the launcher sleeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cloud.fake_aws import ROOT, Account
from training import layout
from training.cloud.aws import inventory
from training.cloud.aws.client import Clock, Cloud
from training.cloud.aws.project import read_project
from training.cloud.context import CommandContext
from training.cloud.launch import setup, trial
from training.cloud.launch.trial import Trial
from training.cloud.launch_record import read_launch_record
from training.config import load_config
from training.errors import UsageError
from training.store import documents
from training.store.checkpoint import CheckpointData, claim
from training.store.manifest import Owner, fresh_nonce


@dataclasses.dataclass
class Machine:
    """What the trainer does between two looks of the launcher: begin, step, save when asked, end."""

    account: Account
    resumes_at: Callable[[int], int] = lambda step: step
    launches_seen: list[int] = dataclasses.field(default_factory=list)
    boot_id: str = ""

    def act(self, run: str) -> None:
        store = self.account.storage
        intent = read_launch_record(store, run)
        if intent is None or not intent.fleet_id:
            return
        rows = documents.read_attempts(store, run)
        status = documents.read_status(store, run)
        if intent.launch not in self.launches_seen:
            self.launches_seen.append(intent.launch)
            self.begin(run, intent.launch, self.resumes_at(rows[-1].last_step if rows else 0))
        elif status is None or status.state != "running":
            return
        elif (asked := documents.read_control(store, run)) and asked.is_for(intent.launch, None):
            self.save(run, 20_000)
            documents.set_status(store, run, "stopped", step=20_000)
        elif len(self.launches_seen) > 1:
            self.save(run, 300_000)
            store.put(layout.model_key(run, "sac", 300_000), b"model")
            store.put(f"{layout.report_prefix(run)}/index.html", b"report")
            documents.set_status(store, run, "done", step=300_000)

    def begin(self, run: str, launch: int, first_step: int) -> None:
        store = self.account.storage
        self.boot_id = fresh_nonce()
        row = documents.Attempt(
            number=1,  # given when it is added
            launch=launch,
            boot_id=self.boot_id,
            instance_type="c7a.large",
            first_step=first_step,
            started_at=self.account.cloud.clock.now(),
        )
        documents.begin_attempt(store, run, row)
        documents.set_status(store, run, "running", step=first_step + 5_000)

    def save(self, run: str, step: int) -> None:
        store = self.account.storage
        lineage = claim(store, run, "sac", len(self.launches_seen), owner=Owner())
        lineage.commit(step, CheckpointData({"learner": b"x"}, (), {}))
        documents.change_attempt(store, run, self.boot_id, last_step=step)


def made(account: Account, tmp_path: Path, machine: Machine | None) -> tuple[Trial, list[str]]:
    """Return a trial of an account that is set up, and the list that what it says goes to."""
    account.write_config(availability_zones=[])
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    account.bake()
    said: list[str] = []
    config = load_config(account.folder / "config.yaml", trial.SETTINGS)
    ran: list[Trial] = []
    asleep = 0.0

    def sleep(seconds: float) -> None:
        nonlocal asleep
        asleep += max(seconds, 60.0) if machine is None else seconds
        if machine is not None and ran:
            machine.act(ran[0].run)

    real = Clock()
    clock = Clock(now=lambda: real.now() + timedelta(seconds=asleep), monotonic=lambda: asleep, sleep=sleep)
    cloud = Cloud(config.aws, said.append, clock)
    ran.append(Trial(CommandContext(config, cloud, read_project(cloud)), ROOT, tmp_path, said.append))
    return ran[0], said


@pytest.mark.slow
def test_a_trial_goes_the_whole_way_and_leaves_nothing_that_costs(account: Account, tmp_path: Path) -> None:
    one, said = made(account, tmp_path, Machine(account))
    trial.check(one)
    assert 0 < one.cap_usd <= 0.05
    outcomes = trial.carry_out(one)
    assert [outcome.result for outcome in outcomes] == ["works"] * 6, said
    assert outcomes[1].detail == "checkpoint at timestep 20,000"
    assert outcomes[2].detail == "from timestep 20,000"
    assert inventory.machines(account.cloud, account.scope) == []
    assert inventory.fleets(account.cloud, account.scope) == []
    folder = tmp_path / layout.run_prefix(one.run)
    assert (folder / "report" / "index.html").read_bytes() == b"report"


@pytest.mark.slow
def test_both_launches_of_a_trial_end_by_the_same_date(account: Account, tmp_path: Path) -> None:
    one, _ = made(account, tmp_path, Machine(account))
    ends: list[float] = []
    plan = Trial.plan

    def noted(self: Trial, *, resume: bool) -> object:
        made_plan = plan(self, resume=resume)
        ends.append((made_plan.launch.valid_until - self.began).total_seconds())
        return made_plan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trial, "plan", noted)
        trial.carry_out(one)
    assert len(ends) == 2
    assert all(trial.MINUTES * 60 - 5 <= end <= trial.MINUTES * 60 for end in ends)


@pytest.mark.slow
def test_a_run_that_resumes_elsewhere_than_at_its_checkpoint_fails_the_trial_and_ends_it(
    account: Account, tmp_path: Path
) -> None:
    one, said = made(account, tmp_path, Machine(account, resumes_at=lambda _: 0))
    results = {outcome.step: outcome.result for outcome in trial.carry_out(one)}
    assert list(results.values()) == ["works", "works", "failed", *["not reached"] * 3]
    assert any("attempt 2 began at 0, not at 20000" in line for line in said)
    assert inventory.fleets(account.cloud, account.scope) == []
    assert inventory.machines(account.cloud, account.scope) == []


@pytest.mark.slow
def test_a_trial_whose_machine_never_speaks_ends_by_its_date(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cloud, "now", lambda cloud: cloud.clock.now())  # moto's own clock cannot be advanced
    one, _ = made(account, tmp_path, None)
    outcomes = trial.carry_out(one)
    assert outcomes[0].result == "failed"
    assert "expired" in outcomes[0].detail
    assert outcomes[0].at_s <= trial.MINUTES * 60 + 120
    assert inventory.fleets(account.cloud, account.scope) == []


def test_a_region_where_it_would_cost_more_is_refused_by_name(account: Account, tmp_path: Path) -> None:
    one, _ = made(account, tmp_path, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trial, "cap_usd", property(lambda _: 0.07))
        with pytest.raises(UsageError, match=r"may cost \$0.070, more than \$0.05"):
            trial.check(one)


@pytest.mark.slow
def test_the_command_shows_the_cap_and_takes_no_other_run(account: Account) -> None:
    account.write_config(availability_zones=[])
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    account.bake()
    shown = account.launch("train", "--trial", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "cannot cost more than $0.0" in shown.stderr
    refused = account.launch("train", "--trial", "--resume", "race")
    assert refused.returncode == 2
    assert "--trial names its run and its limits itself" in refused.stderr
