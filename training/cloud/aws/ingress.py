"""The traffic that a security group allows: IPv4, IPv6, prefix lists, other groups, any protocol and port. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

Permission = dict[str, Any]
# The places of a rule's source in EC2's answer, by list and member.
SOURCES = {
    "IpRanges": "CidrIp",
    "Ipv6Ranges": "CidrIpv6",
    "PrefixListIds": "PrefixListId",
    "UserIdGroupPairs": "GroupId",
}
ALL_PROTOCOLS = "-1"
TO_THE_WORLD = {"IpProtocol": ALL_PROTOCOLS, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


class Rule(NamedTuple):
    """One source that one range of ports of one protocol is open to."""

    protocol: str  # tcp, udp, icmp, a number, or -1 for all
    first: int  # -1: all ports
    last: int
    kind: str  # of SOURCES
    source: str

    def __str__(self) -> str:
        """Return the rule for people, as `tcp 22 from 203.0.113.7/32`."""
        if self.protocol == ALL_PROTOCOLS:
            return f"everything from {self.source}"
        ports = (
            "all ports" if self.first < 0 else f"{self.first}" + f"-{self.last}" * (self.first != self.last)
        )
        return f"{self.protocol} {ports} from {self.source}"

    @property
    def permission(self) -> Permission:
        """Return the rule as EC2's requests take it."""
        ports = {} if self.protocol == ALL_PROTOCOLS else {"FromPort": self.first, "ToPort": self.last}
        return {"IpProtocol": self.protocol, **ports, self.kind: [{SOURCES[self.kind]: self.source}]}


def rules(permissions: Iterable[Permission]) -> set[Rule]:
    """Return the rules that EC2 answers, or that a request asks for."""
    return {
        Rule(
            str(one["IpProtocol"]),
            int(one.get("FromPort", -1)),
            int(one.get("ToPort", -1)),
            kind,
            str(source[member]),
        )
        for one in permissions
        for kind, member in SOURCES.items()
        for source in one.get(kind, ())
    }


def describe(found: Iterable[Rule]) -> str:
    """Return rules for people."""
    return ", ".join(map(str, sorted(found))) or "nothing open"


def lets_out(permissions: Iterable[Permission]) -> bool:
    """Tell whether a machine reaches AWS: HTTPS to everywhere, or to a list of addresses that is not looked into."""
    return any(
        (rule.protocol == ALL_PROTOCOLS or (rule.protocol == "tcp" and rule.first <= 443 <= rule.last))
        and (rule.kind == "PrefixListIds" or rule.source == "0.0.0.0/0")
        for rule in rules(permissions)
    )
