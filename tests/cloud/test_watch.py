"""What a user is told of a run while it goes and when it has ended: state, money, logs, models, ways to its machine."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.cloud import proxy
from tests.cloud.fake_aws import ROOT, Account
from tests.cloud.proxy import Front
from training import layout
from training.cloud import doctor
from training.cloud.aws import inventory
from training.cloud.aws.client import Clock, Cloud
from training.cloud.console import wait_notices
from training.cloud.launch import follow, setup
from training.cloud.launch_record import LaunchRecord
from training.cloud.watch import connect, run_status
from training.cloud.watch.fetch_run import fetch_results
from training.cloud.watch.run_status import RunStatus
from training.config import AwsSettings
from training.run import stop_request
from training.store import documents
from training.store.checkpoint import CheckpointData, claim
from training.store.directory import DirectoryStorage
from training.store.documents import Attempt, Status
from training.store.manifest import Owner

pytestmark = pytest.mark.slow  # each command is a process of its own

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=timezone.utc)


@pytest.fixture
def fronted(account: Account) -> Iterator[tuple[Account, Front]]:
    """Give an account whose requests go through a proxy that can answer what moto cannot."""
    with Front(account.endpoint) as behind:
        through = account._replace(endpoint=behind.url)
        through.write_config()
        yield through, behind


def launched(account: Account) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    account.bake()
    assert account.launch("train", "--name", "race", "--yes", "--detach").returncode == 0


# --- doctor ---
def test_doctor_asks_iam_for_what_is_missing_and_says_how_to_give_it(fronted: tuple[Account, Front]) -> None:
    account, behind = fronted
    behind.answers["SimulatePrincipalPolicy"] = proxy.simulator({"ec2:CreateFleet", "iam:PassRole"})
    behind.answers["GetServiceQuota"] = proxy.quota(64)
    done = account.launch("doctor")
    assert done.returncode == 1
    assert "NO  permissions      missing: ec2:CreateFleet, iam:PassRole" in done.stdout
    assert "./launch.py doctor --policy --out policies" in done.stdout
    name = f"{account.project}.us-east-1.train"
    create = f"aws iam create-policy --policy-name {name} --policy-document file://policies/{name}.json"
    attach = (
        f"aws iam attach-user-policy --user-name moto --policy-arn arn:aws:iam::123456789012:policy/{name}"
    )
    assert [create in done.stdout, attach in done.stdout] == [True, True]
    assert "ok  spot quota       64 vCPUs" in done.stdout
    missing = account.launch("doctor", "--json")
    assert json.loads(missing.stdout)["missing"]["policies"] == ["train"]
    assert attach in json.loads(missing.stdout)["missing"]["commands"]


def test_doctor_asks_for_a_sessions_role_and_lets_root_be(fronted: tuple[Account, Front]) -> None:
    account, behind = fronted
    behind.answers["SimulatePrincipalPolicy"] = proxy.simulator(set())
    boto3.client("iam", endpoint_url=account.endpoint, region_name="us-east-1").create_role(
        RoleName=f"{account.project}-student", Path="/lab/", AssumeRolePolicyDocument="{}"
    )
    arn = f"arn:aws:sts::123456789012:assumed-role/{account.project}-student/kim"
    finding = doctor._permissions(account.cloud, account.scope._replace(caller=arn))
    assert (finding.ok, finding.detail) == (True, "kim has all that is needed")
    root = account.scope._replace(caller="arn:aws:iam::123456789012:root")
    assert "root may do everything" in doctor._permissions(account.cloud, root).detail


# --- waiting ---
def test_status_gives_awss_reason_where_there_is_no_machine(fronted: tuple[Account, Front]) -> None:
    account, behind = fronted
    launched(account)
    words = ("service-error", "allLaunchSpecsTemporarilyBlacklisted", "no Spot capacity in us-east-1a")
    behind.answers["DescribeFleetHistory"] = proxy.fleet_history(*words, at="2026-12-01T12:00:00Z")
    machines = [one["InstanceId"] for one in inventory.machines(account.cloud, account.scope)]
    account.cloud.call("ec2", "terminate_instances", InstanceIds=machines)
    told = account.launch("status", "race").stdout
    assert (
        "waiting     AWS says: allLaunchSpecsTemporarilyBlacklisted no Spot capacity in us-east-1a." in told
    )
    assert "--market on-demand" in told


def test_what_is_waited_for_is_said_of_the_machines_that_are_up_now(fronted: tuple[Account, Front]) -> None:
    """A machine boots, its trainer comes up, it powers off, another one boots: each is told for what it is."""
    account, behind = fronted
    launched(account)
    behind.answers["DescribeFleetHistory"] = proxy.fleet_history(
        "service-error",
        "allLaunchSpecsTemporarilyBlacklisted",
        "no Spot capacity in us-east-1a",
        at="2026-12-01T12:00:00Z",
    )
    store, said, passed = account.storage, list[str](), [0.0]
    (first,) = inventory.machines(account.cloud, account.scope, "race")
    second: list[str] = []

    def trainer_comes_up() -> None:
        documents.begin_attempt(store, "race", attempt(1, 0.0, instance_id=first["InstanceId"]))

    def machine_powers_off() -> None:
        account.cloud.call("ec2", "terminate_instances", InstanceIds=[first["InstanceId"]])

    def fleet_replaces_it() -> None:
        tags = account.scope.run_tags("race", "kim", datetime(2030, 1, 1, tzinfo=timezone.utc))
        made = boto3.client("ec2", endpoint_url=account.endpoint, region_name="us-east-1").run_instances(
            ImageId=first["ImageId"], MinCount=1, MaxCount=1, InstanceType="g5.xlarge",
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )  # fmt: skip
        second.append(made["Instances"][0]["InstanceId"])

    def run_is_stopped() -> None:
        documents.set_status(store, "race", "stopped")

    events = {
        40.0: trainer_comes_up,
        80.0: machine_powers_off,
        120.0: fleet_replaces_it,
        160.0: run_is_stopped,
    }

    def sleep(s: float) -> None:
        passed[0] += s
        if passed[0] in events:
            events[passed[0]]()

    cloud = Cloud(account.aws, said.append, Clock(monotonic=lambda: passed[0], sleep=sleep))
    assert follow.follow(cloud, account.scope, store, "race", said.append) == "stopped"
    told = [line.split(" s  ", 1)[1] for line in said]
    after = {what: index for index, what in enumerate(told)}
    boots = [index for index, line in enumerate(told) if line.startswith("the machine boots")]
    restores = [index for index, line in enumerate(told) if line.startswith("the trainer restores")]
    waits = [index for index, line in enumerate(told) if "no Spot capacity in us-east-1a" in line]
    up, gone = after["the trainer is up, attempt 1"], after[f"machine {first['InstanceId']} is gone"]
    again = after[f"machine {second[0]} is running"]
    assert boots[0] < up < restores[0] < gone < waits[0] < again < boots[1], "\n".join(told)
    assert (len(boots), len(restores), len(waits)) == (2, 1, 1), "\n".join(told)


def test_prices_are_those_of_aws_with_what_spot_saves(fronted: tuple[Account, Front]) -> None:
    account, behind = fronted
    hour_ago = f"{datetime.now(timezone.utc) - timedelta(hours=3):%Y-%m-%dT%H:%M:%SZ}"
    rows = [("g5.xlarge", "us-east-1a", 0.5), ("g4dn.xlarge", "us-east-1b", 0.2)]
    behind.answers["DescribeSpotPriceHistory"] = proxy.spot_prices(rows, hour_ago)
    behind.answers["GetProducts"] = proxy.on_demand(1.0)
    told = account.launch("prices").stdout
    first, second = [line for line in told.splitlines() if "us-east-1" in line and "xlarge" in line]
    assert first.split()[:5] == ["g4dn.xlarge", "us-east-1b", "0.200", "1.000", "80%"]
    assert "50%" in second
    assert "Pricing API" in first


def test_a_long_silence_is_broken_with_what_is_waited_for() -> None:
    slept: list[float] = []
    said: list[str] = []
    cloud = Cloud(AwsSettings(), said.append, Clock(monotonic=lambda: sum(slept), sleep=slept.append))
    waiting = wait_notices.WaitReporter(cloud)
    for _ in range(14):
        waiting.explain("still here")
        cloud.clock.sleep(5.0)
    assert said == ["still here", "still here"]


def test_a_store_that_does_not_answer_is_heard_of() -> None:
    said: list[str] = []
    policy = wait_notices.store_policy(Cloud(AwsSettings(), said.append, Clock(sleep=lambda _: None)))
    for _ in range(8):
        policy.sleep(2.0)
    assert ["asking again" in line for line in said] == [True]


def test_one_long_call_is_heard_of_too() -> None:
    heard_of = threading.Event()
    with wait_notices.heartbeat(lambda _: heard_of.set(), "still uploading", every_s=0.01):
        assert heard_of.wait(30)


# --- money ---
def attempt(number: int, hours_ago: float, **fields: Any) -> Attempt:
    return Attempt(
        number=number, boot_id=f"b{number}", instance_type="g5.xlarge", availability_zone="us-east-2a",
        purchase="spot", price_usd_per_hour=0.4, started_at=NOW - timedelta(hours=hours_ago), **fields,
    )  # fmt: skip


def intent(**fields: Any) -> LaunchRecord:
    given: dict[str, Any] = {
        "run": "race", "launch": 1, "by": "kim@laptop", "created_at": NOW - timedelta(hours=3), "market": "spot",
        "valid_until": NOW + timedelta(hours=1), "price_cap_usd_per_hour": 1.0, "cap_usd": 4.0,
        "bundle_sha256": "ab" * 32, "image_id": "ami-1", "fleet_id": "fleet-12345678",
    }  # fmt: skip
    return LaunchRecord.model_validate({**given, **fields})


RUNNING = Status(state="running", changed_at=NOW)
TWO = (attempt(1, 3.0, first_step=0), attempt(2, 1.0, first_step=1_000_000))


def test_status_tells_speed_rest_and_what_each_attempt_cost() -> None:
    known = RunStatus("race", RUNNING, intent(), TWO, 1_800_000, NOW, NOW, 3_600_000, trained_s=9_000.0)
    told = "\n".join(run_status.describe(known))
    assert "steps       1,800,000 of 3,600,000, 200 a second" in told
    assert "to go       about 2.5 h and $1.00 at this speed and price" in told
    assert "time left   60 min" in told
    assert "too little for all steps" in told
    assert "attempt 1   g5.xlarge us-east-2a, 2 h, $0.80, lost, steps 0 to 1,000,000" in told
    assert "attempt 2   g5.xlarge us-east-2a, 60 min, $0.40, running, steps 1,000,000 to 1,800,000" in told
    assert known.goodput == pytest.approx(9_000 / 10_800)


def test_a_run_whose_fleet_has_ended_by_its_date_is_expired_not_running() -> None:
    late = NOW + timedelta(hours=2)
    known = RunStatus("race", RUNNING, intent(), TWO, 1_800_000, NOW, late, 3_600_000, trained_s=9_000.0)
    assert known.state == "expired"
    assert known.cost_usd == pytest.approx(0.4 * 4), "the fleet's end is the end of its cost"
    assert "./launch.py train --resume race" in run_status.describe(known)[0]


def test_the_first_clean_lap_costs_what_was_paid_until_its_checkpoint(account: Account) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    store = account.storage
    lineage = claim(store, "race", "sac", 1, owner=Owner(host="x"))
    for step, laps in ((100, 0), (200, 3), (300, 9)):
        lineage.commit(step, CheckpointData({"learner": b"x"}, (), {"laps": laps, "elapsed_s": step / 10}))
    now = datetime.now(timezone.utc)
    boot = Attempt(
        number=1, boot_id="b", purchase="spot", price_usd_per_hour=0.4, started_at=now - timedelta(hours=1)
    )
    documents.begin_attempt(store, "race", boot)
    known = run_status.read_run_status(store, "race", now + timedelta(hours=1))
    figures = run_status.cost_figures(account.cloud, account.scope, store, known)
    nothing = run_status.cost_figures(
        account.cloud, account.scope, store, RunStatus("x", None, None, (), None, None, now)
    )
    assert (nothing["usd"], nothing["usd_per_million_steps"], nothing["goodput"]) == (0.0, None, None)
    assert figures["usd"] == pytest.approx(0.8, rel=0.01)
    assert figures["usd_to_first_clean_lap"] == pytest.approx(0.4, rel=0.01)
    assert figures["steps"] == 300
    assert figures["goodput"] == pytest.approx(30 / 7200, rel=0.01)
    assert figures["s3_writes"] >= 3 * 3, "data, manifest and pointer of three checkpoints"


def test_reads_are_reckoned_by_how_often_the_trainer_looks_for_requests() -> None:
    assert run_status.CONTROL_POLL_S == stop_request.CONTROL_POLL_S


# --- models ---
@pytest.mark.parametrize(("latest", "step"), [(False, 200), (True, 300)])
def test_fetch_brings_the_best_model_or_the_latest(tmp_path: Path, latest: bool, step: int) -> None:
    store = DirectoryStorage(tmp_path / "store")
    lineage = claim(store, "race", "sac", 1, owner=Owner(host="x"))
    lineage.commit(300, CheckpointData({"learner": b"x"}, (), {"kept": [{"step": 200}]}))
    for one in (100, 200, 300):
        store.put(layout.model_key("race", "sac", one), str(one).encode())
    (file,) = fetch_results(store, "race", tmp_path / "out", print, latest=latest)
    assert file.read_text() == str(step)


def test_fetch_brings_a_model_of_each_agent(tmp_path: Path) -> None:
    store = DirectoryStorage(tmp_path / "store")
    lineage = claim(store, "race", "sac_multiagent", 1, owner=Owner(host="x"))
    lineage.commit(300, CheckpointData({"learner": b"x"}, (), {"kept": [{"step": 200}, {"step": 100}]}))
    for agent, step in ((0, 100), (0, 200), (1, 100), (1, 200)):
        store.put(layout.model_key("race", "sac_multiagent", step, agent), f"{agent} {step}".encode())
    best = fetch_results(store, "race", tmp_path / "best", print, latest=False)
    assert sorted(file.read_text() for file in best) == ["0 200", "1 100"]
    latest = fetch_results(store, "race", tmp_path / "latest", print, latest=True)
    assert sorted(file.read_text() for file in latest) == ["0 200", "1 200"]


# --- logs ---
def test_the_machines_log_comes_from_cloudwatch_where_it_is_switched_on(account: Account) -> None:
    launched(account)
    refused = account.launch("logs", "race", "--system")
    assert refused.returncode == 1
    assert "monitoring_cloudwatch_enabled" in refused.stderr
    (machine,) = [one["InstanceId"] for one in inventory.machines(account.cloud, account.scope)]
    logs = boto3.client("logs", endpoint_url=account.endpoint, region_name="us-east-1")
    group = {"logGroupName": layout.log_group_name(account.project), "logStreamName": f"{machine}/cloud-init"}
    logs.create_log_stream(**group)
    at = int(datetime.now(timezone.utc).timestamp() * 1000)
    logs.put_log_events(
        **group, logEvents=[{"timestamp": at, "message": "fetched"}, {"timestamp": at, "message": "run"}]
    )
    told = account.launch("logs", "race", "--system").stdout.splitlines()
    assert [line.split(": ")[1] for line in told] == ["fetched", "run"]
    lines = [
        json.loads(line) for line in account.launch("logs", "race", "--system", "--json").stdout.splitlines()
    ]
    assert [line["line"] for line in lines] == ["fetched", "run"]
    assert {(line["run"], line["instance_id"], line["log"]) for line in lines} == {
        ("race", machine, "cloud-init")
    }
    assert datetime.fromisoformat(lines[0]["at"]).timestamp() == pytest.approx(at / 1000)


# --- ways to a machine ---
MACHINE = {"InstanceId": "i-1", "PublicIpAddress": "203.0.113.9"}


@pytest.mark.parametrize(
    ("ports", "key", "program"),
    [("none", "laptop", "aws"), ("my-ip", None, "aws"), ("my-ip", "laptop", "ssh")],
)
def test_ssh_is_taken_where_its_port_is_open_and_a_key_is_on_the_machine(ports, key, program) -> None:
    cloud = Cloud(AwsSettings(open_ports_to=ports, key_pair_name=key))
    assert connect.shell_command(cloud, MACHINE)[0] == program
    assert connect.tensorboard_command(cloud, MACHINE, 6006)[0] == program


# --- what is loaded ---
def test_nothing_of_the_launcher_loads_torch_or_the_simulator() -> None:
    """Of the simulator it loads which names are tracks, where they are, what can be built, which need no numpy."""
    script = (
        "import sys, pkgutil, importlib, launch, training.cloud\n"
        "for one in pkgutil.walk_packages(training.cloud.__path__, 'training.cloud.'): importlib.import_module(one.name)\n"
        "heavy = ('torch', 'gymnasium', 'numpy', 'numba', 'stable_baselines3', 'training.sim', 'training.envs')\n"
        "print(*sorted(m for m in sys.modules if m.startswith(heavy)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    light = ["training.sim", *(f"training.sim.track{part}" for part in ("", ".catalog", ".names", ".spec"))]
    assert done.stdout.split() == light
