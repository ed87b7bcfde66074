"""What the machines' security group lets in is compared whole: nothing is open but what the settings ask."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from tests.cloud.fake_aws import Account
from tests.cloud.service_model import problems_of_request
from training.cloud.aws import ingress, inventory, project_resources
from training.cloud.aws.aws_errors import CloudError
from training.cloud.aws.client import Cloud
from training.cloud.aws.project import Project
from training.cloud.launch import group_setup, setup
from training.cloud.launch.steps import SetupStep

MINE = "203.0.113.7"
ASKED = project_resources.ingress(MINE)


def permission(
    protocol: str = "tcp", first: int | None = 22, last: int | None = None, **source: Any
) -> dict[str, Any]:
    ports = {} if first is None else {"FromPort": first, "ToPort": first if last is None else last}
    return {"IpProtocol": protocol, **ports, **source}


EVERY_KIND = {
    "IPv6": (permission(Ipv6Ranges=[{"CidrIpv6": "::/0"}]), "tcp 22 from ::/0"),
    "a prefix list": (permission(PrefixListIds=[{"PrefixListId": "pl-12345678"}]), "tcp 22 from pl-12345678"),
    "other ports": (permission(first=8080, last=8090, IpRanges=[{"CidrIp": "0.0.0.0/0"}]), "tcp 8080-8090 from 0.0.0.0/0"),
    "everything": (permission("-1", None, IpRanges=[{"CidrIp": "10.0.0.0/8"}]), "everything from 10.0.0.0/8"),
    "UDP": (permission("udp", 53, IpRanges=[{"CidrIp": "10.0.0.0/8"}]), "udp 53 from 10.0.0.0/8"),
    "ping": (permission("icmp", -1, IpRanges=[{"CidrIp": "0.0.0.0/0"}]), "icmp all ports from 0.0.0.0/0"),
}  # fmt: skip


@pytest.fixture
def ours(account: Account) -> tuple[Cloud, Project, Any]:
    """Give a project with a group that lets nothing in, and a client of EC2."""
    cloud, scope = account.cloud, account.scope
    group_setup.group_step(cloud, scope).apply()
    return cloud, scope, boto3.client("ec2", endpoint_url=account.endpoint, region_name=scope.region)


def group(cloud: Cloud, scope: Project) -> dict[str, Any]:
    found = inventory.security_group(cloud, scope, inventory.vpc_id(cloud))
    assert found is not None
    return found


def step(cloud: Cloud, scope: Project, open_to: str = "none") -> SetupStep:
    asking = Cloud(cloud.aws.model_copy(update={"open_ports_to": open_to}), lambda _: None)
    return group_setup.group_step(asking, scope)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_whatever_else_is_open_is_seen_told_and_closed(ours: tuple[Cloud, Project, Any], kind: str) -> None:
    cloud, scope, ec2 = ours
    opened, told = EVERY_KIND[kind]
    ec2.authorize_security_group_ingress(GroupId=group(cloud, scope)["GroupId"], IpPermissions=[opened])
    found = step(cloud, scope)
    assert (found.action, found.before, found.after) == ("update", told, "nothing open")
    assert setup.is_up(cloud, scope)[-1].endswith(f"but the security group has: {told}")
    found.apply()
    assert step(cloud, scope).action == "keep"
    assert group(cloud, scope)["IpPermissions"] == []


def test_a_rule_of_the_settings_stays_when_another_one_goes(ours: tuple[Cloud, Project, Any]) -> None:
    cloud, scope, ec2 = ours
    step(cloud, scope, MINE).apply()
    world, _ = EVERY_KIND["other ports"]
    ec2.authorize_security_group_ingress(GroupId=group(cloud, scope)["GroupId"], IpPermissions=[world])
    found = step(cloud, scope, MINE)
    assert found.before == f"tcp 22 from {MINE}/32, tcp 6006 from {MINE}/32, tcp 8080-8090 from 0.0.0.0/0"
    found.apply()
    assert ingress.rules(group(cloud, scope)["IpPermissions"]) == ingress.rules(ASKED)


@pytest.mark.slow
def test_an_address_that_has_changed_since_up_is_told_by_train(account: Account) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    account.bake()
    words = ("train", "--yes", "--dry-run", "--set", f"aws.open_ports_to={MINE}")
    refused = account.launch(*words)
    assert refused.returncode == 1
    assert f"aws.open_ports_to = {MINE}, but the security group has: nothing open" in refused.stderr
    assert "./launch.py up" in refused.stderr
    assert account.launch("up", "--yes", *words[3:]).returncode == 0
    assert account.launch(*words).returncode == 0


def test_a_group_that_lets_nothing_out_is_told_and_mended(ours: tuple[Cloud, Project, Any]) -> None:
    cloud, scope, ec2 = ours
    name = group(cloud, scope)["GroupId"]
    ec2.revoke_security_group_egress(GroupId=name, IpPermissions=[ingress.TO_THE_WORLD])
    assert step(cloud, scope).before == "nothing may go out"
    step(cloud, scope).apply()
    assert step(cloud, scope).action == "keep"


def test_an_address_that_cannot_be_had_is_said_and_compared_with_nothing(
    ours: tuple[Cloud, Project, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, scope, _ = ours

    def offline(_: Cloud) -> str | None:
        raise CloudError("no address")

    monkeypatch.setattr(group_setup, "allowed_address", offline)
    said: list[str] = []
    asking = Cloud(cloud.aws.model_copy(update={"open_ports_to": "my-ip"}), said.append)
    assert group_setup.not_as_asked(asking, scope) == ""
    assert "was not compared" in said[0]


@pytest.mark.parametrize(
    ("permissions", "out"),
    [
        ([ingress.TO_THE_WORLD], True),
        ([permission(first=443, IpRanges=[{"CidrIp": "0.0.0.0/0"}])], True),
        ([permission(first=0, last=65535, PrefixListIds=[{"PrefixListId": "pl-1"}])], True),
        ([permission(first=22, IpRanges=[{"CidrIp": "0.0.0.0/0"}])], False),
        ([permission(first=443, IpRanges=[{"CidrIp": "10.0.0.0/8"}])], False),
        ([permission("-1", None, Ipv6Ranges=[{"CidrIpv6": "::/0"}])], False),
        ([], False),
    ],
)
def test_a_machine_needs_https_to_the_world(permissions: list[dict[str, Any]], out: bool) -> None:
    assert ingress.lets_out(permissions) is out


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_rule_can_be_sent_back_as_it_was_found(kind: str) -> None:
    given, _ = EVERY_KIND[kind]
    (rule,) = ingress.rules([given])
    assert rule.permission == given
    request = {"GroupId": "sg-1", "IpPermissions": [rule.permission]}
    assert problems_of_request("ec2", "revoke_security_group_ingress", request) == []
