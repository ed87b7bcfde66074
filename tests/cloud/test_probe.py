"""`doctor --probe`: EC2's own answers by dry runs; nothing is created, and an unclear answer is never a yes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cloud.fake_aws import ROOT, Account
from tests.cloud.proxy import Answer, Front
from training.cloud.aws import inventory, probe
from training.cloud.context import CommandContext
from training.cloud.launch import launch, setup
from training.cloud.launch.basis import read_basis
from training.config import load_config

DRY_RUN = ("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
DENIED = ("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)
BROKEN = ("InvalidParameterCombination", "The parameter X may not be used with Y.", 400)


def ec2_error(code: str, message: str, status: int) -> Answer:
    """Return an error as EC2 writes it."""
    body = (
        f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        "<RequestID>1</RequestID></Response>"
    )
    return Answer(body, status, "text/xml")


def launched(account: Account) -> None:
    config = load_config(account.folder / "config.yaml", (), "cloud")
    site = CommandContext(config, account.cloud, account.scope)
    basis = read_basis(site, "spot", ROOT)
    plan = launch.make_plan(site, site.storage, launch.Options("race"), basis)
    launch.start(site, site.storage, plan, lambda _: None)


def of_ec2(account: Account) -> dict[str, Any]:
    """Return what there is of everything that a probe names."""
    cloud, scope = account.cloud, account.scope
    ec2 = cloud.client("ec2")
    return {
        "groups": ec2.describe_security_groups()["SecurityGroups"],
        "templates": inventory.run_templates(cloud, scope),
        "fleets": inventory.fleets(cloud, scope),
        "machines": [(one["InstanceId"], one["State"]["Name"]) for one in inventory.machines(cloud, scope)],
        "images": inventory.images(cloud, scope),
        "keys": ec2.describe_key_pairs()["KeyPairs"],
        "volumes": ec2.describe_volumes()["Volumes"],
    }


def test_before_up_what_cannot_be_asked_yet_says_before_what(account: Account) -> None:
    answers = {(one.part, one.action): one for one in probe.ask_all(account.cloud, account.scope)}
    assert answers["up and down", "ec2:CreateSecurityGroup"].verdict == "allowed"
    waiting = answers["train", "ec2:CreateFleet"]
    assert (waiting.verdict, waiting.detail) == ("not asked", f"not to be asked before {probe.TRAIN}")
    assert "./launch.py up" in answers["up and down", "ec2:DeleteSecurityGroup"].detail
    assert "make ami" in answers["make ami", "ec2:DeregisterImage"].detail


@pytest.mark.slow
def test_with_everything_there_all_is_asked_and_all_stays(account: Account) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    account.bake()
    launched(account)
    before = of_ec2(account)
    with Front(account.endpoint) as front:
        # moto deletes the fleet whatever DryRun says.
        front.answers["DeleteFleets"] = lambda body: ec2_error(*DRY_RUN) if "DryRun=true" in body else None
        there = account._replace(endpoint=front.url)
        answers = list(probe.ask_all(there.cloud, there.scope))
    assert {one.verdict for one in answers} <= {"allowed", "not asked"}
    open_ = {(one.part, one.action) for one in answers if one.verdict == "not asked"}
    # No volume is left behind here; the image that a test registers has no snapshot; moto has no image of Canonical.
    assert open_ <= {
        ("train", "ec2:DeleteVolume"),
        ("make ami", "ec2:DeleteSnapshot"),
        ("make ami", "ec2:RunInstances"),
    }
    assert of_ec2(account) == before


@pytest.mark.parametrize(
    ("answer", "verdict"), [(DENIED, "denied"), (BROKEN, "unknown")], ids=["no", "unclear"]
)
def test_a_no_is_a_no_and_any_other_answer_is_printed_and_never_a_yes(
    account: Account, answer: tuple[str, str, int], verdict: str
) -> None:
    with Front(account.endpoint) as front:
        front.answers["CreateSecurityGroup"] = ec2_error(*answer)
        there = account._replace(endpoint=front.url)
        there.write_config()
        done = there.launch("doctor", "--probe")
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "ec2:CreateSecurityGroup" in line]
    assert verdict in line
    assert answer[0] in line
    assert answer[1] in line
    assert ("doctor --policy" in done.stdout) == (verdict == "denied")


def test_a_request_that_ran_in_earnest_is_no_yes() -> None:
    class Deaf:
        """EC2 that does not hear of dry runs."""

        def call(self, *_: object, **__: object) -> dict[str, Any]:
            return {}

    asked = probe.Probe("train", "create_fleet", {})
    assert probe.ask(Deaf(), asked).verdict == "unknown"  # type: ignore[arg-type]
