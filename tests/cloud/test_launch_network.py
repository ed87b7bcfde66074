"""Networks in which no machine would reach AWS, and keys of disks that EC2's roles may not use, are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloud.golden import SCOPE
from tests.cloud.service_model import problems_of_answer
from tests.support.scripted_launch import UBUNTU, Stage
from training.cloud.aws import aws_errors, disk_key, network
from training.errors import UsageError


@pytest.fixture
def stage(credentials: None) -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


# --- networks ---
def subnet(name: str, zone: str = "a", **more: Any) -> dict[str, Any]:
    where = {"VpcId": "vpc-1", "AvailabilityZone": f"us-east-2{zone}", "State": "available"}
    return {"SubnetId": name, **where, "MapPublicIpOnLaunch": True, "AvailableIpAddressCount": 9, **more}


def table(*routes: dict[str, Any], of: str = "", name: str = "rtb-1") -> dict[str, Any]:
    association = {"SubnetId": of, "Main": False} if of else {"Main": True}
    local = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"}
    return {"RouteTableId": name, "Associations": [association], "Routes": [local, *routes]}


def out(**target: str) -> dict[str, Any]:
    return {"DestinationCidrBlock": "0.0.0.0/0", "State": "active", **target}


IGW, NAT = out(GatewayId="igw-1"), out(NatGatewayId="nat-1")
S3_GATEWAY = {"DestinationPrefixListId": "pl-1", "GatewayId": "vpce-1", "State": "active"}


@pytest.mark.parametrize(
    ("routes", "more", "why_not", "note"),
    [
        ([IGW], {}, "", ""),
        ([NAT], {"MapPublicIpOnLaunch": False}, "", ""),
        ([IGW], {"MapPublicIpOnLaunch": False}, "leads to igw-1, and gives machines no public address", ""),
        ([], {}, "has no default route, nor endpoints of s3, ec2, ssm, ssmmessages", ""),
        ([S3_GATEWAY], {}, "has no default route, nor endpoints of", ""),
        ([{**NAT, "State": "blackhole"}], {}, "leads nowhere (blackhole)", ""),
        ([{**IGW, "DestinationCidrBlock": "0.0.0.0/1"}], {}, "has no default route", ""),
        ([{**IGW, "DestinationCidrBlock": half} for half in ("0.0.0.0/1", "128.0.0.0/1")], {}, "", ""),
        ([out(TransitGatewayId="tgw-1")], {}, "", "leads to tgw-1: whether that reaches AWS"),
        ([out(GatewayId="vgw-1")], {}, "", "leads to vgw-1"),
        ([IGW], {"AvailableIpAddressCount": 0}, "has no free address", ""),
        ([IGW], {"Ipv6Native": True}, "has IPv6 addresses alone", ""),
        ([IGW], {"State": "unavailable"}, "is unavailable", ""),
        ([NAT], {"BlockPublicAccessStates": {"InternetGatewayBlockMode": "block-bidirectional"}},
         "lets nothing out (VPC Block Public Access)", ""),
        ([IGW], {"BlockPublicAccessStates": {"InternetGatewayBlockMode": "block-ingress"}}, "", ""),
    ],
)  # fmt: skip
def test_a_subnet_is_judged_by_the_way_out_of_it(routes, more, why_not: str, note: str) -> None:
    one, found = subnet("subnet-1", **more), table(*routes)
    assert problems_of_answer("ec2", "describe_subnets", {"Subnets": [one]}) == []
    assert problems_of_answer("ec2", "describe_route_tables", {"RouteTables": [found]}) == []
    verdict = network.judge(one, network.default_routes("subnet-1", [found]), set())
    assert (why_not in verdict.why_not, note in verdict.note) == (True, True), verdict
    assert (bool(verdict.why_not), bool(verdict.note)) == (bool(why_not), bool(note))


def test_a_subnets_own_table_counts_before_the_networks_main_one() -> None:
    tables = [table(IGW), table(of="subnet-2", name="rtb-2")]
    assert network.default_routes("subnet-1", tables) == [IGW]
    assert network.default_routes("subnet-2", tables) == []


def endpoint(service: str, kind: str = "Interface", **more: Any) -> dict[str, Any]:
    name = f"com.amazonaws.us-east-2.{service}"
    return {"ServiceName": name, "VpcEndpointType": kind, "State": "available", **more}


def script_network(
    stage: Stage, tables: list[dict[str, Any]], endpoints: list[dict[str, Any]] | None
) -> None:
    ec2 = stage.script("ec2")
    ec2.add_response("describe_route_tables", {"RouteTables": tables}, None)
    if endpoints is not None:
        # The model spells the state with a capital, the service itself without.
        for one in endpoints:
            one["State"] = "Available"
        ec2.add_response("describe_vpc_endpoints", {"VpcEndpoints": endpoints}, None)


def test_public_and_private_subnets_are_not_mixed(stage: Stage) -> None:
    """In each zone a usable one is taken, and it is said which were left out."""
    private = subnet("subnet-1", "a", DefaultForAz=True), subnet("subnet-4", "c")
    public = subnet("subnet-2", "a"), subnet("subnet-3", "b")
    tables = [table(IGW), *(table(of=one["SubnetId"], name=f"rtb-{n}") for n, one in enumerate(private, 2))]
    script_network(stage, tables, [endpoint("s3", "Gateway", RouteTableIds=["rtb-2", "rtb-3"])])
    found = network.choose_subnets(stage.cloud, "vpc-1", [*private, *public])
    assert found.zones == {"subnet-2": "us-east-2a", "subnet-3": "us-east-2b"}
    (line,) = network.by_reason(found.left_out)
    assert line == "subnet-1, subnet-4 has no default route, nor endpoints of ec2, ssm, ssmmessages"


def test_a_network_of_private_subnets_alone_is_refused(stage: Stage) -> None:
    script_network(stage, [table()], [])
    with pytest.raises(
        aws_errors.CloudError, match="no machine in vpc-1 would reach AWS: subnet-1 has no"
    ) as caught:
        network.choose_subnets(stage.cloud, "vpc-1", [subnet("subnet-1")])
    assert "NAT gateway" in caught.value.next_step


def test_a_named_subnet_without_a_way_out_is_refused(credentials: None) -> None:
    stage = Stage(subnet_ids=("subnet-1", "subnet-2"))
    script_network(stage, [table(IGW), table(of="subnet-2", name="rtb-2")], [])
    with pytest.raises(UsageError, match=r"aws.subnet_ids: subnet-2 has no default route"):
        network.choose_subnets(stage.cloud, "vpc-1", [subnet("subnet-1"), subnet("subnet-2")])


@pytest.mark.parametrize(("of", "usable"), [("rtb-1", True), ("rtb-2", False)])
def test_endpoints_of_all_services_are_a_way_out_too(stage: Stage, of: str, usable: bool) -> None:
    """The one of S3 is a gateway, which serves the route tables that it is in."""
    served = [endpoint("s3", "Gateway", RouteTableIds=[of]), *map(endpoint, ("ec2", "ssm", "ssmmessages"))]
    script_network(stage, [table()], served)
    if usable:
        found = network.choose_subnets(stage.cloud, "vpc-1", [subnet("subnet-1")])
        assert found.notes == [
            "subnet-1 has no way to the internet, and endpoints of all services that a run needs"
        ]
    else:
        with pytest.raises(aws_errors.CloudError, match=r"nor endpoints of s3\n"):
            network.choose_subnets(stage.cloud, "vpc-1", [subnet("subnet-1")])


def test_routes_that_one_may_not_look_at_are_said_to_be_unknown(stage: Stage) -> None:
    stage.script("ec2").add_client_error(
        "describe_route_tables", "UnauthorizedOperation", http_status_code=403
    )
    found = network.choose_subnets(stage.cloud, "vpc-1", [subnet("subnet-1")])
    assert found.zones == {"subnet-1": "us-east-2a"}
    assert "was not asked (ec2:DescribeRouteTables is needed for that)" in found.notes[0]


# --- the key of the disk ---
KEY = "arn:aws:kms:us-east-2:123456789012:key/11111111-2222-3333-4444-555555555555"
FLEET, SPOT = (
    f"arn:aws:iam::123456789012:role/aws-service-role/{service}"
    for service in (disk_key.FLEET_ROLE, disk_key.SPOT_ROLE)
)


def script_key(stage: Stage, *, manager: str = "CUSTOMER", state: str = "Enabled") -> None:
    stage.script("ec2").add_response("get_ebs_default_kms_key_id", {"KmsKeyId": KEY}, {})
    about = {"KeyId": KEY.rpartition("/")[2], "Arn": KEY, "KeyManager": manager, "KeyState": state}
    stage.script("kms").add_response("describe_key", {"KeyMetadata": about}, {"KeyId": KEY})


def script_grants(stage: Stage, role: str, operations: tuple[str, ...], policy: Any = None) -> None:
    kms = stage.script("kms")
    grants = [{"GranteePrincipal": role, "Operations": list(operations)}] if operations else []
    kms.add_response("list_grants", {"Grants": grants}, {"KeyId": KEY, "GranteePrincipal": role})
    if policy is not None:
        kms.add_response("get_key_policy", {"Policy": json.dumps({"Statement": policy})}, {"KeyId": KEY})


def check(stage: Stage, market: str = "spot", image: dict[str, Any] = UBUNTU) -> str:
    return disk_key.check_disk_key(stage.cloud, SCOPE, image, market)


def test_amazons_own_key_needs_no_grant(stage: Stage) -> None:
    stage.script("ec2").add_response("get_ebs_default_kms_key_id", {"KmsKeyId": "alias/aws/ebs"}, {})
    assert check(stage) == ""
    script_key(stage, manager="AWS")
    assert check(stage) == ""


def test_a_key_of_ones_own_with_grants_for_both_roles_is_fine(stage: Stage) -> None:
    script_key(stage)
    script_grants(stage, FLEET, disk_key.OPERATIONS)
    script_grants(stage, SPOT, disk_key.OPERATIONS)
    assert check(stage) == ""


@pytest.mark.parametrize("operations", [(), ("Decrypt",)])
def test_a_key_of_ones_own_without_a_grant_for_the_spot_role_is_refused(
    stage: Stage, operations: tuple[str, ...]
) -> None:
    script_key(stage)
    script_grants(stage, FLEET, disk_key.OPERATIONS)
    root = [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}}]
    script_grants(stage, SPOT, operations, policy=root)
    with pytest.raises(aws_errors.CloudError, match="AWSServiceRoleForEC2Spot has no grant for it") as caught:
        check(stage)
    assert (
        f"aws kms create-grant --region us-east-2 --key-id {KEY} --grantee-principal {SPOT}"
        in caught.value.next_step
    )


def test_on_demand_machines_need_the_fleets_grant_alone(stage: Stage) -> None:
    script_key(stage)
    script_grants(stage, FLEET, disk_key.OPERATIONS)
    assert check(stage, "on-demand") == ""


@pytest.mark.parametrize("principal", [{"AWS": [SPOT, FLEET]}, {"AWS": "*"}, "*"])
def test_a_policy_of_the_key_that_lets_the_roles_in_is_as_good_as_a_grant(
    stage: Stage, principal: Any
) -> None:
    script_key(stage)
    for role in (FLEET, SPOT):
        script_grants(stage, role, (), policy=[{"Effect": "Allow", "Principal": principal}])
    assert check(stage) == ""


def test_a_key_that_is_switched_off_is_refused(stage: Stage) -> None:
    script_key(stage, state="Disabled")
    with pytest.raises(aws_errors.CloudError, match="is Disabled"):
        check(stage)


def test_a_key_that_one_may_not_look_at_is_said_to_be_unknown(stage: Stage) -> None:
    stage.script("ec2").add_response("get_ebs_default_kms_key_id", {"KmsKeyId": KEY}, {})
    stage.script("kms").add_client_error("describe_key", "AccessDeniedException", http_status_code=400)
    assert "was not asked (kms:DescribeKey is needed for that)" in check(stage)


def test_the_key_of_an_encrypted_image_is_that_of_its_snapshot(stage: Stage) -> None:
    disk = {"SnapshotId": "snap-1", "VolumeSize": 40, "Encrypted": True}
    encrypted = {**UBUNTU, "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": disk}]}
    about = {"KeyId": KEY.rpartition("/")[2], "Arn": KEY, "KeyManager": "AWS"}
    ec2 = stage.script("ec2")
    ec2.add_response("describe_snapshots", {"Snapshots": [{"KmsKeyId": KEY}]}, {"SnapshotIds": ["snap-1"]})
    stage.script("kms").add_response("describe_key", {"KeyMetadata": about}, {"KeyId": KEY})
    assert check(stage, image=encrypted) == ""


def test_a_key_of_the_settings_is_looked_at_instead_of_the_accounts(credentials: None) -> None:
    stage = Stage(kms_key="alias/lab")
    about = {
        "KeyId": KEY.rpartition("/")[2],
        "Arn": KEY,
        "KeyManager": "CUSTOMER",
        "KeyState": "PendingDeletion",
    }
    stage.script("kms").add_response("describe_key", {"KeyMetadata": about}, {"KeyId": "alias/lab"})
    with pytest.raises(aws_errors.CloudError, match="alias/lab, is PendingDeletion"):
        check(stage)
    stage.close()
