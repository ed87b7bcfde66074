"""Every command as a user runs it, in a process of its own, against moto over HTTP, in the README's order."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone

import pytest

from tests.cloud.fake_aws import ROOT, Account, boot
from tests.cloud.proxy import Answer, Front, refusal
from tests.support.servers import CREDENTIALS
from training.cloud.aws import inventory
from training.cloud.cleanup import leaks
from training.cloud.launch import setup
from training.cloud.launch_record import read_launch_record
from training.store import documents
from training.store.checkpoint import CheckpointData, claim
from training.store.manifest import Owner

pytestmark = pytest.mark.slow  # each command is a process of its own


def test_a_session_in_order_from_nothing_to_nothing(account: Account) -> None:
    looked = account.launch("doctor")
    assert looked.returncode == 1
    assert "NO  set-up" in looked.stdout
    assert "→ ./launch.py up" in looked.stdout

    made = account.launch("up", "--yes")
    assert made.returncode == 0, made.stderr
    assert "make    bucket" in made.stderr
    again = account.launch("up")
    assert again.returncode == 0, "nothing to make, nothing to ask"
    assert {line.split()[0] for line in again.stderr.splitlines()} == {"there"}, again.stderr

    account.bake()
    assert account.launch("doctor").returncode == 0

    started = account.launch("train", "--name", "race", "--yes", "--detach")
    assert started.returncode == 0, started.stderr
    assert "cannot cost more than $2.00, plus storage" in started.stderr
    assert [leak.line for leak in leaks.find_leaks(account.cloud, account.scope, account.storage)] == []

    boot(account, "race", steps=1_000_000)
    (row,) = account.launch_json("status")
    assert (row["run"], row["state"], row["steps"]) == ("race", "running", 1_000_000)
    told = account.launch("status", "race").stdout
    assert "cost        $0.10 of at most $2.00" in told
    assert "attempt 1   g4dn.xlarge us-east-1a" in told
    assert account.launch("logs", "race").stdout == "first line\nsecond line\n"
    told = account.launch("logs", "race", "--json").stdout.splitlines()
    assert [json.loads(line) for line in told] == [
        {"run": "race", "attempt": 1, "line": "first line"},
        {"run": "race", "attempt": 1, "line": "second line"},
    ]
    figures = account.launch_json("cost", "race")
    assert figures["usd_per_million_steps"] == pytest.approx(0.1, rel=0.05)
    assert figures["s3_writes"] >= 10, (
        "config, intent, status, attempts, logs, model, report, each as often as written"
    )
    fetched = account.launch("fetch", "race").stdout.split()
    assert [(account.folder / name).read_bytes() for name in fetched] == [b"model", b"report"]

    stopped = account.launch("stop", "race", "--now")
    assert "run race is stopped" in stopped.stdout
    assert inventory.machines(account.cloud, account.scope) == []
    assert account.launch("gc").stdout.startswith("0 found\n")

    planned = account.launch_json("down", "--dry-run", "--data")
    assert planned["deleted_bucket"] == account.scope.bucket
    assert [what.split()[0] for what in planned["remove"]] == ["security", "policy", "log"]
    assert inventory.bucket_exists(account.cloud, account.scope), "a dry run removes nothing"
    gone = account.launch("down", "--yes", "--data")
    assert gone.returncode == 0, gone.stderr
    assert gone.stderr.count("  remove  ") == gone.stderr.count("  gone    ") - 1 == 3, "and the bucket"
    assert not inventory.bucket_exists(account.cloud, account.scope)
    again = account.launch("down", "--data")
    assert again.returncode == 0, "nothing is there that would go, nothing to ask"
    _, *lines = again.stderr.splitlines()
    assert [line.split()[:2] for line in lines] == [["stays", "image"]]
    assert account.launch_json("gc") == []


def test_runs_are_listed_newest_first_whatever_their_names(account: Account) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    for name, hour in (("b", 1), ("c", 3), ("a", 2)):
        began = datetime(2026, 11, 26, hour, tzinfo=timezone.utc)
        row = documents.Attempt(number=1, boot_id=f"{hour:032x}", started_at=began, ended_at=began)
        documents.begin_attempt(account.storage, name, row)
        documents.set_status(account.storage, name, "done")
    assert [row["run"] for row in account.launch_json("list")] == ["c", "a", "b"]
    assert [line.split()[0] for line in account.launch("status").stdout.splitlines()[2:]] == ["c", "a", "b"]


def test_down_shows_a_fleet_that_lives_before_it_asks(account: Account) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    account.bake()
    assert account.launch("train", "--name", "race", "--yes", "--detach").returncode == 0
    (fleet,) = inventory.fleets(account.cloud, account.scope)
    asked = account.launch("down")
    assert asked.returncode == 2
    assert "Add --yes" in asked.stderr
    assert f"remove  fleet {fleet['FleetId']}: its machine will be terminated" in asked.stderr
    assert "remove  role f1tenth" not in asked.stderr
    assert f"remove  role {account.project}.us-east-1.race" in asked.stderr
    assert len(inventory.fleets(account.cloud, account.scope)) == 1


def test_a_dry_run_prints_the_requests_and_makes_nothing(account: Account) -> None:
    steps = json.loads(account.launch("up", "--dry-run").stdout)
    assert "iam:" not in json.dumps(steps[0])
    assert not inventory.bucket_exists(account.cloud, account.scope)
    account.launch("up", "--yes")
    account.bake()
    planned = json.loads(account.launch("train", "--dry-run", "--name", "race").stdout)
    assert planned["create_fleet"]["TerminateInstancesWithExpiration"] is True
    assert planned["user_data"][0] == "#!/bin/bash"
    assert inventory.run_names(account.cloud, account.scope) == []
    assert inventory.fleets(account.cloud, account.scope) == []


def test_a_stopped_run_goes_on_as_a_second_launch(account: Account) -> None:
    account.launch("up", "--yes")
    account.bake()
    assert account.launch("train", "--name", "race", "--yes", "--detach").returncode == 0
    assert account.launch("stop", "race", "--now").returncode == 0
    again = account.launch(
        "train", "--resume", "race", "--market", "on-demand", "--no-relaunch", "--yes", "--detach"
    )
    assert again.returncode == 0, again.stderr
    intent = read_launch_record(account.storage, "race")
    assert intent is not None
    assert (intent.launch, intent.market, intent.relaunch) == (2, "on-demand", False)
    (fleet,) = inventory.fleets(account.cloud, account.scope)
    assert fleet["FleetId"] == intent.fleet_id


def test_prices_and_ways_to_a_machine_are_shown(account: Account) -> None:
    account.launch("up", "--yes")
    account.bake()
    account.launch("train", "--name", "race", "--yes", "--detach")
    rows = account.launch_json("prices")
    assert {row["type"] for row in rows} == {"g4dn.xlarge", "g5.xlarge"}
    assert all("table of" in row["source"] for row in rows), "moto has no Pricing API"
    shell = account.launch("ssh", "race", "--print").stdout
    assert shell.startswith("aws ssm start-session --region us-east-1 --target i-")
    board = account.launch("tensorboard", "race", "--print", "--port", "7007").stdout
    assert "AWS-StartPortForwardingSession" in board
    assert "7007" in board
    (machine,) = [one["InstanceId"] for one in inventory.machines(account.cloud, account.scope)]
    assert account.launch_json("ssh", "race") == {
        "run": "race",
        "instance_id": machine,
        "command": shlex.split(shell),
    }
    assert account.launch_json("tensorboard", "race", "--port", "7007") == {
        "run": "race",
        "instance_id": machine,
        "url": "http://127.0.0.1:7007",
        "local_port": 7007,
        "command": shlex.split(board),
    }
    nobody = account.launch("ssh", "nobody", "--json")
    assert (nobody.returncode, nobody.stdout) == (2, "")
    assert "there is no run nobody" in nobody.stderr


def test_prune_says_what_would_go_and_removes_it_when_told_to(account: Account) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    store = account.storage
    documents.set_status(store, "race", "stopped")
    lineage = claim(store, "race", "sac", 1, owner=Owner())
    for step in (10, 20, 30):
        lineage.commit(step, CheckpointData({"learner": b"x" * step}, (), {}))
        time.sleep(1.1)  # S3 dates objects by the second, and what is as old as a kept checkpoint stays
    told = account.launch("prune", "race").stdout
    assert "are kept: 30, 20" in told
    assert "./launch.py prune race --keep 2 --delete" in told
    planned = account.launch_json("prune", "race")
    assert (planned["kept_steps"], planned["removed"]) == ([20, 30], False)
    done = account.launch_json("prune", "race", "--delete")
    assert done["objects"] == planned["objects"]
    assert len(done["objects"]) == 2, "its member and its manifest"
    left = [entry.key for entry in store.list("runs/race/checkpoints/")]
    assert not set(left) & set(done["objects"])


@pytest.mark.parametrize("words", [["--help"], ["status", "--help"], ["train", "--help"]])
def test_help_answers_without_loading_what_takes_long(words: list[str]) -> None:
    loaded = "[m for m in ('torch', 'boto3', 'pydantic', 'rich') if m in sys.modules]"
    script = f"import sys, launch; launch.main({words}); print({loaded})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_command_loads_torch(account: Account) -> None:
    script = "import sys, launch; launch.main(['status']); print('torch' in sys.modules)"
    env = {**CREDENTIALS, "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(account.folder)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=account.folder, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.splitlines()[-1] == "False"


# --- set up and train in one ---
def test_train_with_up_sets_up_first_and_says_nothing_twice(account: Account) -> None:
    account.bake()
    planned = json.loads(account.launch("train", "--up", "--dry-run").stdout)
    assert {"up", "plan"} == set(planned), "what up would make, then the launch can be planned"
    started = account.launch("train", "--up", "--name", "race", "--yes", "--detach", "--json")
    assert started.returncode == 0, started.stderr
    assert json.loads(started.stdout)["run"] == "race"
    assert "done    bucket" in started.stderr
    (fleet,) = inventory.fleets(account.cloud, account.scope)
    assert fleet["FleetId"] == json.loads(started.stdout)["fleet_id"]


# --- Ctrl-C ---
INTERRUPTIBLE = """
import signal, sys, launch
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
sys.exit(launch.main(sys.argv[1:]))
"""


def test_ctrl_c_in_a_launch_names_gc_which_finds_what_is_there(account: Account) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    account.bake()
    with Front(account.endpoint) as behind:
        account._replace(endpoint=behind.url).write_config()
        command = [sys.executable, "-c", INTERRUPTIBLE, "train", "--name", "race", "--yes"]
        env = {**os.environ, **CREDENTIALS, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(account.folder)}
        with subprocess.Popen(
            command, cwd=account.folder, env=env, stderr=subprocess.PIPE, text=True
        ) as process:

            def interrupt(_: str) -> Answer:
                process.send_signal(signal.SIGINT)
                return refusal("InternalError", "the answer comes too late", 500)

            behind.answers["CreateFleet"] = interrupt
            _, told = process.communicate(timeout=300)
    assert process.returncode == 130
    assert told.endswith("interrupted. Runs continue; what is incomplete now: ./launch.py gc\n")
    account.write_config()
    found = {leak["kind"] for leak in account.launch_json("gc")}
    assert found == {"half-made run", "launch template", "role", "instance profile"}
    assert account.launch("gc", "--delete", "--yes").returncode == 0
    assert account.launch("gc").stdout.startswith("0 found\n")


# --- bad input; more of it in test_bad_input.py ---
def refused(account: Account, code: int, what: str, *arguments: str) -> None:
    done = account.launch(*arguments)
    assert (done.returncode, what in done.stderr) == (code, True), (
        f"{done.returncode}\n{done.stdout}{done.stderr}"
    )
    assert "Traceback" not in done.stderr


def test_before_anything_is_set_up_each_command_says_what_comes_first(account: Account) -> None:
    refused(account, 1, "./launch.py up", "train", "--yes")
    refused(account, 1, "./launch.py up", "status")
    refused(account, 2, "Add --yes", "up")


def test_the_users_words_end_with_2_and_make_nothing(account: Account) -> None:
    account.launch("up", "--yes")
    account.bake()
    refused(account, 2, "run name 'Bad_Name'", "train", "--yes", "--name", "Bad_Name")
    refused(account, 2, "--at needs --resume", "train", "--at", "5")
    refused(account, 2, "not in vpc", "train", "--yes", "--set", "aws.availability_zones=[us-east-1z]")
    refused(account, 2, "no run race", "train", "--resume", "race", "--yes")
    refused(account, 2, "there is no run nobody", "status", "nobody")
    refused(account, 2, "no time", "train", "--keep-on-failure", "forever")
    refused(account, 2, "No such option", "train", "--frobnicate")
    assert inventory.run_names(account.cloud, account.scope) == []
    assert inventory.fleets(account.cloud, account.scope) == []
