"""Machines that come and go without a trainer: `train`, `status` and `gc` notice them, say why, and end what is hopeless.

moto makes the machines; what it does not know, a fleet's history and the reasons of an end, is answered for it.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest

from tests.cloud import service_model
from tests.cloud.fake_aws import REGION, Account
from training import layout
from training.cloud import commands
from training.cloud.aws import inventory
from training.cloud.aws.aws_errors import CloudError
from training.cloud.aws.client import Clock, Cloud
from training.cloud.cleanup import leaks
from training.cloud.console.output import OutputOptions
from training.cloud.context import CommandContext
from training.cloud.launch import follow, setup
from training.cloud.launch_record import LaunchRecord, write_launch_record
from training.cloud.watch import lost_machines
from training.config import Config
from training.store import documents
from training.store.storage import Storage

pytestmark = pytest.mark.slow  # each test is a command of the launcher

RUN = "race"
BEGAN = datetime(2026, 11, 26, 10, 0, tzinfo=timezone.utc)
POWERED_OFF = (
    "Client.InstanceInitiatedShutdown",
    "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
)
SPOT = ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")
BY_USER = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
KEY = ("Client.InternalError", "Client.InternalError: Client error on launch")
CONSOLE = (
    "[    1.0] systemd[1]: Started.\r\n\x1b[32mci-info: eth0\x1b[0m\n"
    "f1tenth-fetch: s3://bucket/scripts/ab.tar.gz: not reached within 300 s, last: ConnectTimeoutError\n"
    "f1tenth-fleet-check: 2 machines in a row of fleet-1 ended within 30 minutes, unreported\n[  480.0] Power down\n"
)


class Ec2(Cloud):
    """The emulator, with a fleet's machines as AWS tells of them."""

    def __init__(self, account: Account, fleet: str, clock: Clock | None = None) -> None:
        self.said: list[str] = []
        super().__init__(account.aws, self.said.append, clock or Clock(sleep=lambda _: None))
        self.scope = account.scope
        self.fleet, self.machines, self.records = fleet, list[dict[str, Any]](), list[dict[str, Any]]()
        self.console: str | None = CONSOLE
        self.deleted: list[str] = []

    def call(self, service: str, operation: str, **request: Any) -> dict[str, Any]:
        answer: dict[str, Any] | None = None
        if operation == "describe_instances":
            states = [f["Values"] for f in request["Filters"] if f["Name"] == "instance-state-name"]
            found = [m for m in self.machines if not states or m["State"]["Name"] in states[0]]
            answer = {"Reservations": [{"Instances": found}]}
        elif operation == "describe_fleet_history":
            assert request["FleetId"] == self.fleet
            answer = {"HistoryRecords": self.records}
        elif operation == "get_console_output":
            if self.console is None:
                raise CloudError("UnauthorizedOperation")
            answer = {
                "InstanceId": request["InstanceId"],
                "Output": base64.b64encode(self.console.encode()).decode(),
            }
        elif operation == "terminate_instances":
            self.machines.clear()
            answer = {}
        elif operation == "delete_fleets":
            self.deleted += request["FleetIds"]
            answer = {}
        if answer is None:
            return super().call(service, operation, **request)
        assert service_model.problems_of_answer(service, operation, answer) == []
        return answer

    def add(
        self, minute: float, life_min: float | None, why: tuple[str, str] | None = None, *, shown: bool = True
    ) -> str:
        """Add a machine that was launched at a minute and lived so long; None: it is up. shown: not an hour ago yet."""
        id_ = f"i-{len(self.records):017x}"
        begun = BEGAN + timedelta(minutes=minute)
        self.records.append(_event(id_, "launched", begun))
        machine: dict[str, Any] = {
            "InstanceId": id_,
            "InstanceType": "g5.xlarge",
            "Placement": {"AvailabilityZone": "us-east-1a"},
            "LaunchTime": begun,
            "State": {"Name": "running", "Code": 16},
            "Tags": [
                {"Key": layout.TAG_FLEET_ID, "Value": self.fleet},
                *self.scope.run_tags(RUN, "kim@laptop", BEGAN),
            ],
        }
        if life_min is not None:
            ended = begun + timedelta(minutes=life_min)
            self.records.append(_event(id_, "terminated", ended))
            machine |= {"State": {"Name": "terminated", "Code": 48}}
            if why is not None:
                machine |= {"StateReason": {"Code": why[0], "Message": why[1]}}
                machine |= {"StateTransitionReason": f"User initiated ({ended:%Y-%m-%d %H:%M:%S} GMT)"}
        if shown:
            self.machines.append(machine)
        return id_


def _event(id_: str, kind: str, at: datetime) -> dict[str, Any]:
    about = {"EventSubType": kind, "InstanceId": id_}
    return {"EventType": "instance-change", "EventInformation": about, "Timestamp": at}


@pytest.fixture
def ec2(account: Account) -> Ec2:
    return Ec2(account, "fleet-12345678")


def lost(ec2: Ec2, account: Account, *started: str) -> list[str]:
    found = lost_machines.lost_in_a_row(ec2, account.scope, RUN, ec2.fleet, started)
    return [one.id for one in found]


def test_machines_that_ended_without_a_trainer_are_lost_in_order(ec2: Ec2, account: Account) -> None:
    ids = [ec2.add(10 * n, 8, POWERED_OFF) for n in range(3)]
    ec2.add(30, None)
    assert lost(ec2, account) == ids


def test_a_trainer_that_started_ends_the_row(ec2: Ec2, account: Account) -> None:
    first, trained, last = (ec2.add(10 * n, 8, POWERED_OFF) for n in range(3))
    assert lost(ec2, account, trained) == [last]
    assert lost(ec2, account, first, trained, last) == []


@pytest.mark.parametrize("why", [SPOT, BY_USER])
def test_what_aws_took_back_or_somebody_ended_is_not_lost(
    ec2: Ec2, account: Account, why: tuple[str, str]
) -> None:
    for number in range(5):
        ec2.add(10 * number, 8, why)
    assert lost(ec2, account) == []


def test_machines_that_ec2_shows_no_more_are_known_by_the_fleets_history(ec2: Ec2, account: Account) -> None:
    ids = [ec2.add(10 * n, 8, shown=False) for n in range(5)] + [ec2.add(90, 8, POWERED_OFF)]
    assert lost(ec2, account) == ids


def test_machines_of_another_launchs_fleet_do_not_count(ec2: Ec2, account: Account) -> None:
    ec2.add(0, 8, POWERED_OFF)
    ec2.machines[0]["Tags"][0]["Value"] = "fleet-87654321"
    ec2.records.clear()
    assert lost(ec2, account) == []


def test_a_history_that_may_not_be_read_leaves_what_ec2_shows(
    ec2: Ec2, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = ec2.add(0, 8, POWERED_OFF)
    monkeypatch.setattr(lost_machines, "_history", lambda *_: [])
    assert lost(ec2, account) == [id_]
    (one,) = lost_machines.lost_in_a_row(ec2, account.scope, RUN, ec2.fleet, ())
    assert one.line == (
        f"{id_}, g5.xlarge us-east-1a, ended after 8 min without starting a trainer ({POWERED_OFF[1]})"
    )


def test_it_is_said_why_each_ended_and_what_its_console_said(ec2: Ec2, account: Account) -> None:
    """Of the console what our programs said, without what would steer the reader's terminal."""
    ec2.add(0, 0, KEY)
    ec2.add(10, 8, POWERED_OFF)
    found = lost_machines.lost_in_a_row(ec2, account.scope, RUN, ec2.fleet, ())
    told = "\n".join(lost_machines.explain(ec2, found))
    assert "(Client.InternalError: Client error on launch)" in told
    assert "its console: f1tenth-fetch: s3://bucket/scripts/ab.tar.gz: not reached within 300 s" in told
    assert "a subnet without a way to S3" in told
    assert "\x1b" not in told
    ec2.console = "nothing of ours\r\n\x1b]0;title\x07\n"
    assert "its console: nothing of ours" in "\n".join(lost_machines.explain(ec2, found))
    ec2.console = None
    assert "its console" not in "\n".join(lost_machines.explain(ec2, found))
    assert lost_machines.explain(ec2, []) == []


def test_the_laptop_counts_as_far_as_the_image_does() -> None:
    from training.instance import attempt_limit

    assert lost_machines.MOST_LOST == attempt_limit.MAX_STARTS_WITHOUT_PROGRESS


# --- the commands ---
@pytest.fixture
def launched(account: Account) -> tuple[Ec2, Storage]:
    """Give a run that was launched with a real fleet of the emulator, and its store."""
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    store = account.storage
    client = boto3.client("ec2", endpoint_url=account.endpoint, region_name=REGION)
    template = client.create_launch_template(
        LaunchTemplateName=f"{account.project}.{RUN}.1",
        LaunchTemplateData={"ImageId": account.bake(), "InstanceType": "g5.xlarge"},
    )["LaunchTemplate"]
    tags = [{"ResourceType": "fleet", "Tags": account.scope.run_tags(RUN, "kim@laptop", BEGAN)}]
    fleet = client.create_fleet(
        Type="maintain",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {
                    "LaunchTemplateId": template["LaunchTemplateId"],
                    "Version": "1",
                }
            }
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
        TagSpecifications=tags,
    )["FleetId"]
    intent = LaunchRecord(
        run=RUN, launch=1, by="kim@laptop", region=REGION, account=account.scope.account, created_at=BEGAN,
        valid_until=datetime.now(timezone.utc) + timedelta(hours=5), market="spot", price_cap_usd_per_hour=1.0,
        cap_usd=5.0, bundle_sha256="ab" * 32, image_id="ami-1", fleet_id=fleet,
    )  # fmt: skip
    write_launch_record(store, intent, lambda _: False)
    documents.set_status(store, RUN, "pending")
    return Ec2(account, fleet), store


def site_of(ec2: Ec2, account: Account) -> CommandContext:
    return CommandContext(Config(aws=account.aws), ec2, account.scope)


def test_status_tells_of_machines_that_come_and_go(
    launched: tuple[Ec2, Storage], account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    ec2, _ = launched
    gone = ec2.add(0, 8, POWERED_OFF)
    commands.status(site_of(ec2, account), RUN, OutputOptions())
    told = capsys.readouterr().out
    assert f"lost        {gone}, g5.xlarge us-east-1a, ended after 8 min without starting a trainer" in told
    assert "lost        its console: f1tenth-fetch: s3://" in told
    commands.status(site_of(ec2, account), RUN, OutputOptions(json=True))
    assert f'"lost_machines": [\n    "{gone}"\n  ]' in capsys.readouterr().out


@pytest.mark.parametrize(("count", "found"), [(2, False), (3, True)])
def test_gc_finds_a_fleet_that_only_brings_machines_that_end(
    launched: tuple[Ec2, Storage], account: Account, count: int, found: bool
) -> None:
    ec2, store = launched
    for number in range(count):
        ec2.add(10 * number, 8, POWERED_OFF)
    lines = [leak.line for leak in leaks.find_leaks(ec2, account.scope, store) if leak.kind == "fleet"]
    why = f"fleet {ec2.fleet} of run {RUN}: 3 machines in a row ended without starting a trainer, the last: "
    assert lines == ([f"{why}{POWERED_OFF[1]} (costs money)"] if found else [])


def followed(ec2: Ec2, store: Storage, account: Account, events: dict[float, Any]) -> tuple[str, str]:
    """Follow the run while things happen at certain seconds; return its state and all that was said."""
    passed, said = [0.0], list[str]()

    def sleep(s: float) -> None:
        passed[0] += max(s, 30.0)  # moto answers as slowly as ever
        assert passed[0] < 7_200, "\n".join(said[-20:])
        for at in [at for at in events if at <= passed[0]]:
            events.pop(at)()

    ec2.clock = Clock(monotonic=lambda: passed[0], sleep=sleep)
    state = follow.follow(ec2, account.scope, store, RUN, said.append)
    return state, "\n".join(said)


def comes_and_goes(ec2: Ec2, at_s: float, why: tuple[str, str]) -> dict[float, Any]:
    def come() -> None:
        ec2.add(at_s / 60, None)

    def go() -> None:
        up = ec2.machines.pop()
        ec2.records.pop()
        ec2.add((up["LaunchTime"] - BEGAN).total_seconds() / 60, 7, why)

    return {at_s: come, at_s + 420.0: go}


@pytest.mark.slow
def test_train_ends_a_run_whose_third_machine_comes_and_goes(
    launched: tuple[Ec2, Storage], account: Account
) -> None:
    """Nobody else would before the cap: such machines reach no bucket, and perhaps not EC2 either."""
    ec2, store = launched
    events = {}
    for number in range(3):
        events |= comes_and_goes(ec2, 30.0 + 600.0 * number, POWERED_OFF)
    state, said = followed(ec2, store, account, events)
    assert state == "failed"
    assert said.count("without starting a trainer") >= 3
    assert "its console: f1tenth-fetch: s3://" in said
    assert ec2.deleted == [ec2.fleet]
    status = documents.read_status(store, RUN)
    assert status is not None
    assert status.reason.startswith("3 machines in a row ended without starting a trainer, the last: Client.")


@pytest.mark.slow
def test_train_waits_on_through_interruptions_before_the_trainer(
    launched: tuple[Ec2, Storage], account: Account
) -> None:
    ec2, store = launched
    events = {}
    for number in range(5):
        events |= comes_and_goes(ec2, 30.0 + 600.0 * number, SPOT)
    events[4_000.0] = lambda: documents.set_status(store, RUN, "stopped")
    state, said = followed(ec2, store, account, events)
    assert state == "stopped"
    assert "without starting a trainer" not in said
    assert ec2.deleted == []


def test_train_does_not_wait_for_a_fleet_that_somebody_has_deleted(
    launched: tuple[Ec2, Storage], account: Account
) -> None:
    """In the console, say, before a machine came: nobody wrote that down, and nothing will come any more."""
    ec2, store = launched

    def fleet_goes() -> None:
        Cloud.call(ec2, "ec2", "delete_fleets", FleetIds=[ec2.fleet], TerminateInstances=True)

    state, said = followed(ec2, store, account, {100.0: fleet_goes})
    assert state == "pending"
    assert "its fleet has ended. Continue: ./launch.py train --resume race" in said


def test_train_does_not_wait_for_a_fleet_that_its_machine_has_deleted(
    launched: tuple[Ec2, Storage], account: Account
) -> None:
    """The image's own count, or a machine that ended its fleet: there will be no other."""
    ec2, store = launched

    def fleet_goes() -> None:
        Cloud.call(ec2, "ec2", "delete_fleets", FleetIds=[ec2.fleet], TerminateInstances=True)

    events = {449.0: fleet_goes, **comes_and_goes(ec2, 30.0, POWERED_OFF)}
    state, _ = followed(ec2, store, account, events)
    assert state == "failed"
    assert inventory.fleet_of(ec2, account.scope, RUN) is None


def test_a_console_that_ec2_does_not_keep_says_nothing(account: Account) -> None:
    ec2 = account.cloud.client("ec2")
    made = ec2.run_instances(ImageId=account.bake(), MinCount=1, MaxCount=1)["Instances"][0]
    machine = lost_machines.LostMachine(made["InstanceId"], "", "", made["LaunchTime"], None, "")
    assert all(isinstance(line, str) for line in lost_machines.console_words(account.cloud, machine))
    gone = machine._replace(id="i-00000000000000000")
    assert lost_machines.console_words(account.cloud, gone) == []
