"""Subnets in which a machine reaches AWS: others would start machines that come and go, at a cost, until the cap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ...errors import UsageError
from .aws_errors import AccessDenied, CloudError
from .client import Cloud

Found = dict[str, Any]
EVERYWHERE = {"0.0.0.0/0"}
BOTH_HALVES = {"0.0.0.0/1", "128.0.0.0/1"}  # what some VPNs set instead
# The services that a machine talks to; without a way to the internet each needs an endpoint in the network.
NEEDED_ENDPOINTS = ("s3", "ec2", "ssm", "ssmmessages")
TARGETS = (
    "GatewayId",
    "NatGatewayId",
    "TransitGatewayId",
    "NetworkInterfaceId",
    "InstanceId",
    "VpcPeeringConnectionId",
    "LocalGatewayId",
    "CarrierGatewayId",
    "CoreNetworkArn",
)
ROUTES = "aws ec2 describe-route-tables --filters Name=vpc-id,Values="


class Verdict(NamedTuple):
    """Whether a machine in a subnet reaches AWS: why not, or what could not be seen; both empty where all is well."""

    why_not: str = ""
    note: str = ""


class Subnets(NamedTuple):
    """The subnets to use, one of a zone unless the settings name them, and what is to be said of the others."""

    used: list[Found]
    left_out: dict[str, str]  # subnet → why
    notes: list[str]

    @property
    def zones(self) -> dict[str, str]:
        """Return the zone of each subnet that is used."""
        return {one["SubnetId"]: one["AvailabilityZone"] for one in self.used}


def choose_subnets(cloud: Cloud, vpc: str, subnets: Sequence[Found]) -> Subnets:
    """Return one usable subnet of each zone, or those that the settings name.

    subnets: of the network, or those that are named. Raises UsageError for a named one in which no machine would reach
    AWS, and for a zone that is not there; CloudError where no subnet is usable.
    """
    verdicts = _verdicts(cloud, vpc, subnets)
    unusable = {name: verdict.why_not for name, verdict in verdicts.items() if verdict.why_not}
    if cloud.aws.subnet_ids:
        if unusable:
            raise UsageError(
                f"aws.subnet_ids: {_told(unusable)}",
                next_step=f"Name others, or give them a way out. Routes: {ROUTES}{vpc}",
            )
        return Subnets(list(subnets), {}, _notes(verdicts, subnets))
    by_zone: dict[str, Found] = {}
    for subnet in sorted(subnets, key=lambda one: (not one.get("DefaultForAz", False), one["SubnetId"])):
        if subnet["SubnetId"] not in unusable:
            by_zone.setdefault(subnet["AvailabilityZone"], subnet)
    there = {subnet["AvailabilityZone"] for subnet in subnets}
    unknown = sorted(set(cloud.aws.availability_zones) - there)
    if unknown:
        raise UsageError(
            f"aws.availability_zones: {', '.join(unknown)} not in {vpc}",
            next_step=f"Choose of {', '.join(sorted(by_zone))}, or leave it empty: all of them.",
        )
    used = [by_zone[zone] for zone in cloud.aws.availability_zones or sorted(by_zone) if zone in by_zone]
    if not used:
        raise CloudError(
            f"no machine in {vpc} would reach AWS: {_told(unusable)}",
            next_step="Give a subnet a default route: to a NAT gateway, or to an internet gateway with public "
            f"addresses. Or name another network in aws.vpc_id. Routes: {ROUTES}{vpc}",
        )
    return Subnets(used, unusable, _notes(verdicts, used))


def _verdicts(cloud: Cloud, vpc: str, subnets: Iterable[Found]) -> dict[str, Verdict]:
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    try:
        tables = list(cloud.pages("ec2", "describe_route_tables", "RouteTables", Filters=filters))
        ways = {one["SubnetId"]: default_routes(one["SubnetId"], tables) for one in subnets}
        closed = any(not routes for routes in ways.values())
        endpoints = (
            list(cloud.pages("ec2", "describe_vpc_endpoints", "VpcEndpoints", Filters=filters))
            if closed
            else []
        )
    except AccessDenied as error:
        note = f"whether a machine reaches AWS there was not asked ({error.action} is needed for that)"
        return {one["SubnetId"]: Verdict(note=note) for one in subnets}
    return {
        one["SubnetId"]: judge(one, ways[one["SubnetId"]], _served(one["SubnetId"], tables, endpoints))
        for one in subnets
    }


def judge(subnet: Found, routes: Sequence[Found], served: set[str]) -> Verdict:  # noqa: PLR0911 - one line a reason
    """Return whether a machine in a subnet reaches AWS; pure.

    routes: its default routes. served: the services that have an endpoint there.
    """
    if subnet.get("State", "available") != "available":
        return Verdict(f"is {subnet['State']}")
    if subnet.get("Ipv6Native"):
        return Verdict("has IPv6 addresses alone")
    if subnet.get("AvailableIpAddressCount") == 0:
        return Verdict("has no free address")
    if not routes:
        missing = [service for service in NEEDED_ENDPOINTS if service not in served]
        if not missing:
            return Verdict(note="has no way to the internet, and endpoints of all services that a run needs")
        return Verdict(f"has no default route, nor endpoints of {', '.join(missing)}")
    if all(route.get("State") == "blackhole" for route in routes):
        return Verdict("has a default route that leads nowhere (blackhole)")
    if subnet.get("BlockPublicAccessStates", {}).get("InternetGatewayBlockMode") == "block-bidirectional":
        return Verdict("lets nothing out (VPC Block Public Access)")
    target = next((str(routes[0][key]) for key in TARGETS if routes[0].get(key)), "")
    if target.startswith("igw-"):
        public = subnet.get("MapPublicIpOnLaunch")
        return Verdict("" if public else f"leads to {target}, and gives machines no public address")
    if target.startswith("nat-"):
        return Verdict()
    return Verdict(
        note=f"leads to {target or 'an unknown target'}: whether that reaches AWS is not to be seen"
    )


def default_routes(subnet: str, tables: Iterable[Found]) -> list[Found]:
    """Return the routes by which a subnet reaches the internet: of its own table, or of the network's main one."""
    routes = _table(subnet, tables).get("Routes", ())
    out = [route for route in routes if route.get("DestinationCidrBlock") in EVERYWHERE | BOTH_HALVES]
    covered = {route["DestinationCidrBlock"] for route in out}
    return out if covered >= EVERYWHERE or covered >= BOTH_HALVES else []


def _table(subnet: str, tables: Iterable[Found]) -> Found:
    main: Found = {}
    for table in tables:
        for association in table.get("Associations", ()):
            if association.get("SubnetId") == subnet:
                return table
            if association.get("Main"):
                main = table
    return main


def _served(subnet: str, tables: Sequence[Found], endpoints: Iterable[Found]) -> set[str]:
    """Return the services with an endpoint; one of the kind Gateway serves the route tables that it is in."""
    table = _table(subnet, tables).get("RouteTableId")
    return {
        str(one["ServiceName"]).rpartition(".")[2]
        for one in endpoints
        if str(one.get("State", "")).lower() == "available"
        and (one.get("VpcEndpointType") != "Gateway" or table in one.get("RouteTableIds", ()))
    }


def _notes(verdicts: dict[str, Verdict], used: Iterable[Found]) -> list[str]:
    told = {one["SubnetId"]: verdicts[one["SubnetId"]].note for one in used}
    return by_reason({name: note for name, note in told.items() if note})


def _told(reasons: dict[str, str]) -> str:
    return "; ".join(by_reason(reasons))


def by_reason(reasons: dict[str, str]) -> list[str]:
    """Return one line for each reason, with all subnets that it is said of."""
    lines = dict.fromkeys(reasons.values())
    return [f"{', '.join(name for name, why in reasons.items() if why == line)} {line}" for line in lines]
