"""How many vCPUs of a family of machines the account may run, by the quota that EC2 counts the type in.

Codes and families, as of November 2026: https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from .aws_errors import AccessDenied, QuotaTooLow, ResourceNotFound, Unsupported
from .client import Cloud
from .instance_types import LEAST_VCPUS, PROCESSOR_TYPES


class Family(NamedTuple):
    """Types that share a quota; a code is empty where AWS has no such quota."""

    name: str
    on_demand: str
    spot: str


STANDARD = Family("Standard (A, C, D, H, I, M, R, T, Z)", "L-1216C47A", "L-34B43A08")
G_AND_VT = Family("G and VT", "L-DB2E81BA", "L-3819A6DF")
P = Family("P", "L-417A185B", "L-7212CCBC")
P5 = Family("P5", "L-417A185B", "L-C4BD4855")  # its own on spot, that of P on demand
# By the letters that a type's name begins with, and its generation where that matters.
FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), STANDARD),
    **dict.fromkeys(("g", "gr", "vt"), G_AND_VT),
    **dict.fromkeys(("p2", "p3", "p4"), P),
    "p5": P5,
    "f": Family("F", "L-74FC7D96", "L-88CF9481"),
    "x": Family("X", "L-7295265B", "L-E3A00192"),
    "inf": Family("Inf", "L-1945791B", "L-B5D1601B"),
    "trn": Family("Trn", "L-2C3B7624", "L-6B0D517C"),
    "dl": Family("DL", "L-6E869C2A", "L-85EED4F7"),
    "u": Family("High Memory", "L-43DA4232", ""),
    "hpc": Family("HPC", "L-F7808C92", ""),
}


class Quota(NamedTuple):
    """The number of vCPUs of one family that the account may run; None where that cannot be read."""

    family: Family
    market: str
    vcpus: float | None

    def __str__(self) -> str:
        """Return the quota for people."""
        amount = "could not be read" if self.vcpus is None else f"{self.vcpus:.0f} vCPUs"
        return f"{amount} of {self.family.name} machines"


def family(kind: str) -> Family | None:
    """Return the family that a type is counted in; None for one that the table does not know, as a newer one."""
    found = re.match(r"([a-z]+)-?([0-9]*)", kind)
    letters, generation = found.groups() if found else ("", "")
    return FAMILIES.get(letters + generation) or FAMILIES.get(letters)


def code(of: Family, market: str) -> str:
    """Return the code of a family's quota, empty where AWS has none."""
    return of.spot if market == "spot" else of.on_demand


def read_quotas(cloud: Cloud, vcpus: Mapping[str, int], market: str) -> dict[str, Quota]:
    """Return the quota of each type that has one; vcpus: of each type."""
    families = {kind: found for kind in vcpus if (found := family(kind)) is not None and code(found, market)}
    read = {one: Quota(one, market, _read(cloud, code(one, market))) for one in set(families.values())}
    return {kind: read[one] for kind, one in families.items()}


def check_quotas(
    cloud: Cloud, quotas: Mapping[str, Quota], vcpus: Mapping[str, int], region: str
) -> dict[str, str]:
    """Return the types that their quota forbids, each with the reason.

    Raises QuotaTooLow, with the link and the types that need no GPU's quota, if that is all of them.
    """
    forbidden = {
        kind: f"the quota of {quota.market} {quota.family.name} machines in {region} is {quota.vcpus:.0f} vCPUs, "
        f"{vcpus[kind]} are needed"
        for kind, quota in quotas.items()
        if quota.vcpus is not None and quota.vcpus < vcpus[kind]
    }
    if forbidden and set(forbidden) == set(vcpus):
        smallest = min(forbidden, key=lambda kind: vcpus[kind])
        raise QuotaTooLow(
            forbidden[smallest],
            next_step=f"Ask for more, usually granted within a day: {link(quotas[smallest], region)}"
            + _on_processors(cloud, quotas[smallest]),
        )
    return forbidden


def _on_processors(cloud: Cloud, short: Quota) -> str:
    """Return how to train without a GPU, where the quota of such machines is large enough or cannot be read."""
    if short.family is STANDARD:
        return ""
    try:
        vcpus = _read(cloud, code(STANDARD, short.market))
    except AccessDenied:
        vcpus = None
    standard = Quota(STANDARD, short.market, vcpus)
    if vcpus is not None and vcpus < LEAST_VCPUS:
        return ""
    types = f"aws.instance_types=[{','.join(PROCESSOR_TYPES)}]"
    return f"\nOr train without a GPU ({standard}): --set '{types}'"


def link(quota: Quota, region: str) -> str:
    """Return where a higher quota is asked for."""
    page = f"https://{region}.console.aws.amazon.com/servicequotas/home?region={region}"
    return f"{page}#!/services/ec2/quotas/{code(quota.family, quota.market)}"


def _read(cloud: Cloud, quota_code: str) -> float | None:
    try:
        reply = cloud.call("service-quotas", "get_service_quota", ServiceCode="ec2", QuotaCode=quota_code)
    except (ResourceNotFound, Unsupported):
        return None
    return float(reply["Quota"]["Value"])
