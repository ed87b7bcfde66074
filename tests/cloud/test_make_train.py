"""`make train CLOUD=aws`, as a user types it: what it runs, and a run of it in a terminal from nothing to nothing."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.cloud.fake_aws import ROOT, Account, boot
from tests.cloud.terminal import WITHIN_S, in_a_terminal, typing
from training.cloud.aws import inventory

pytestmark = pytest.mark.slow  # each command is a process of its own


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (["train"], "-m training train"),
        (["train", "CLOUD="], "-m training train"),
        (["train", "CLOUD=aws"], "launch.py train --up"),
        (["train", "CLOUD=aws", "CONFIG=my.yaml", "TYPE=sac_multiagent", "ARGS=--yes"],
         "launch.py train --up --config 'my.yaml' --set training.training_type=sac_multiagent --yes"),
    ],
)  # fmt: skip
def test_make_train_spends_money_only_when_told_on_its_command_line(words: list[str], runs: str) -> None:
    for environment in ({}, {"CLOUD": "aws"}):
        done = make(*words, **environment)
        assert done.returncode == 0, done.stderr
        assert runs in " ".join(done.stdout.replace("\\\n", " ").split())
        if "CLOUD=aws" not in words:
            assert "launch.py" not in done.stdout


@pytest.mark.parametrize("value", ["gcp", "AWS", "1"])
def test_make_refuses_a_cloud_that_it_does_not_know(value: str) -> None:
    done = make("train", f"CLOUD={value}")
    assert done.returncode == 2
    assert f"CLOUD={value} is not known: CLOUD=aws" in done.stderr


def make(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Ask make what it would run."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "ARGS"))}
    command = ["make", "--dry-run", *words]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**env, **environment}
    )


# --- for real ---
@pytest.fixture
def made_up() -> None:
    """Skip where make would install the project first."""
    done = subprocess.run(["make", "--question", "setup"], cwd=ROOT, check=False, capture_output=True)
    if done.returncode:
        pytest.skip("make would install what runs first: make setup")


def environment(account: Account) -> dict[str, str]:
    return {
        key: value
        for key, value in account.environment.items()
        if not key.startswith(("MAKE", "ARGS", "F1TENTH_"))
    }


def test_a_user_says_yes_twice_and_has_a_run_that_makes_steps(account: Account, made_up: None) -> None:
    account.bake()
    words = ["make", "train", "CLOUD=aws", f"CONFIG={account.write_config()}", "ARGS=--name race"]
    code, told = in_a_terminal(
        words,
        environment(account),
        [
            ("Do this? It costs nothing while it is empty. [y/N] ", typing("y")),
            ("Launch? [y/N] ", typing("y")),
            ("fleet accepted", lambda _: boot(account, "race", steps=1_000)),
        ],
    )
    assert code == 0, told
    order = [
        "make    bucket",
        "Do this?",
        "done    bucket",
        "cannot cost more than $2.00, plus storage",
        "Launch?",
        "done    fleet fleet-",
        "the trainer is up, attempt 1",
        "first steps: 1,000",
        "run race is running. Watch: ./launch.py logs --config",
    ]
    places = [told.find(text) for text in order]
    assert -1 not in places, told
    assert places == sorted(places), told

    (fleet,) = inventory.fleets(account.cloud, account.scope)
    assert account.launch("gc").stdout.startswith("0 found\n")
    down = account.launch("down", "--data", "--yes")
    assert down.returncode == 0, down.stderr
    assert fleet["FleetId"] in down.stderr
    assert "down: nothing of the project is left" in down.stdout
    assert account.launch("gc").stdout.startswith("0 found\n")


def test_yes_asks_nothing_and_the_second_time_nothing_is_set_up_again(
    account: Account, made_up: None
) -> None:
    account.bake()
    for name, word in (("first", "done "), ("second", "there")):
        words = [
            "make",
            "train",
            "CLOUD=aws",
            f"CONFIG={account.write_config()}",
            f"ARGS=--name {name} --yes --detach",
        ]
        done = subprocess.run(
            words,
            cwd=ROOT,
            env=environment(account),
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        assert f"  {word}   bucket {account.scope.bucket}" in done.stderr
        assert f"run {name} is pending" in done.stdout
    assert len(inventory.fleets(account.cloud, account.scope)) == 2


def test_a_no_launches_nothing(account: Account, made_up: None) -> None:
    account.bake()
    words = ["make", "train", "CLOUD=aws", f"CONFIG={account.write_config()}"]
    code, told = in_a_terminal(words, environment(account), [("[y/N] ", typing("n"))])
    assert code == 2, told
    assert "error: nothing was done" in told
    assert not inventory.bucket_exists(account.cloud, account.scope)
