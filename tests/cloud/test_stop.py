"""`stop` as it asks a run to end: what the trainer reads, what the launcher waits for, and what is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cloud.fake_aws import Account, boot
from tests.cloud.service_model import problems_of_answer
from training.cloud.aws import inventory
from training.cloud.aws.client import Clock, Cloud
from training.cloud.cleanup import leaks, stop
from training.cloud.context import CommandContext
from training.config import Config
from training.store import documents

pytestmark = pytest.mark.slow  # each command is a process of its own

RUN = "race"


@pytest.fixture
def training(account: Account) -> Account:
    """Give an account in which a machine trains."""
    account.launch("up", "--yes")
    account.bake()
    assert account.launch("train", "--name", RUN, "--yes", "--detach").returncode == 0
    boot(account, RUN, steps=1_000)
    return account


@pytest.fixture
def machine(training: Account) -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Give what starts a trainer that does something as soon as it is asked to stop."""
    threads: list[threading.Thread] = []

    def start(answer: Callable[[], object]) -> threading.Thread:
        def look_out() -> None:
            deadline = time.monotonic() + 120
            while documents.read_request(training.storage, RUN) == "none" and time.monotonic() < deadline:
                time.sleep(0.1)  # polling the store, bounded by the deadline above
            answer()

        threads.append(threading.Thread(target=look_out))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join()


def nothing_is_left(account: Account) -> bool:
    found = leaks.find_leaks(account.cloud, account.scope, account.storage)
    return not found and not inventory.machines(account.cloud, account.scope, RUN)


@pytest.mark.parametrize("state", ["stopped", "done"])
def test_the_run_saves_and_ends_and_the_launcher_takes_its_fleet_away(
    training: Account, machine: Callable[[Callable[[], object]], threading.Thread], state: documents.State
) -> None:
    machine(lambda: documents.set_status(training.storage, RUN, state))
    ended = training.launch("stop", RUN)
    assert ended.returncode == 0, ended.stderr
    assert "asked   the run saves a checkpoint and ends" in ended.stderr
    assert f"run race is {state}" in ended.stdout
    assert ("--resume race" in ended.stdout) == (state == "stopped")
    assert documents.read_request(training.storage, RUN) == "stop_now"
    assert nothing_is_left(training)


def test_a_machine_that_goes_before_it_answers_has_no_successor(training: Account) -> None:
    """With the launcher's own calls counted: moto cannot delete a fleet whose machine is gone."""
    deleted: list[str] = []

    class Emptied(Cloud):
        def call(self, service: str, operation: str, **parameters: Any) -> Any:
            if operation == "delete_fleets":
                deleted.extend(parameters["FleetIds"])
                reply = {"SuccessfulFleetDeletions": [{}], "UnsuccessfulFleetDeletions": []}
                assert problems_of_answer(service, operation, reply) == []
                return reply
            return super().call(service, operation, **parameters)

    def machine_goes(_: float) -> None:
        for one in inventory.machines(training.cloud, training.scope, RUN):
            training.cloud.call("ec2", "terminate_instances", InstanceIds=[one["InstanceId"]])

    said: list[str] = []
    cloud = Emptied(training.aws, said.append, Clock(sleep=machine_goes))
    site = CommandContext(Config(aws=training.aws), cloud, training.scope)
    state = stop.stop_run(site, training.storage, RUN, when="saved", wait=True)
    assert state == "stopped"
    assert any("its machine is gone" in line for line in said)
    assert deleted == [fleet["FleetId"] for fleet in inventory.fleets(training.cloud, training.scope)]


@pytest.mark.parametrize(
    ("option", "request_"), [("--no-wait", "stop_now"), ("--after-checkpoint", "stop_after_checkpoint")]
)
def test_a_run_that_nobody_waits_for_is_only_asked(training: Account, option: str, request_: str) -> None:
    asked = training.launch("stop", RUN, option)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout == "run race is stopping. How far: ./launch.py status race\n"
    assert documents.read_request(training.storage, RUN) == request_
    assert documents.read_status(training.storage, RUN).state == "running"  # type: ignore[union-attr]
    assert len(inventory.machines(training.cloud, training.scope, RUN)) == 1, "the trainer itself ends it"


def test_now_and_after_the_checkpoint_contradict_each_other(account: Account) -> None:
    refused = account.launch("stop", RUN, "--now", "--after-checkpoint")
    assert refused.returncode == 2
    assert "--now takes the machine away" in refused.stderr
