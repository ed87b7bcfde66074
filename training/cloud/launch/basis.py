"""Resources that a launch depends on and `up` does not create; those that EC2 would refuse are refused here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ...config import AwsSettings
from ...errors import UsageError
from ..aws import disk_key, instance_types, inventory, network, quotas
from ..aws.aws_errors import AccessDenied, ResourceNotFound
from ..aws.client import Cloud
from ..aws.launch_requests import Market
from ..aws.prices import Prices, read_prices
from ..aws.project import Project
from ..aws.quotas import Quota
from ..context import CommandContext
from .code_bundle import Bundle, make_bundle


class Basis(NamedTuple):
    """Resources that a launch depends on and `up` does not create."""

    prices: Prices
    hours: float
    bundle: Bundle
    image: dict[str, Any]
    vpc_id: str
    zones: dict[str, str]  # subnet → zone
    pools: list[tuple[str, str]]  # (type, subnet)
    quotas: list[Quota]
    notes: list[str]  # what was left out, and what could not be seen
    cores: int  # of the type that has the fewest
    memory_mib: int  # of the type that has the least

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the types that the fleet may take."""
        return tuple(dict.fromkeys(kind for kind, _ in self.pools))


def read_basis(context: CommandContext, market: Market, root: Path) -> Basis:
    """Read what a launch depends on, and refuse a launch that cannot work before anything is created."""
    config, cloud, project = context
    aws = config.aws
    types = instance_types.describe_types(cloud, aws.instance_types)
    instance_types.check_types(types, {}, market)  # what no image would change
    allowed, left_out = _within_quotas(cloud, project, types, market)
    kinds = tuple(kind for kind in types if kind not in left_out)
    prices = read_prices(cloud, kinds)
    hours = allowed_hours(aws.max_hours, aws.max_cost_usd, prices.cap(kinds))
    check_key_pair(cloud)
    vpc = inventory.vpc_id(cloud)
    subnets = network.choose_subnets(cloud, vpc, inventory.subnets(cloud, vpc))
    pools = _pools(cloud, kinds, subnets.zones)
    bundle = make_bundle(root)
    image = inventory.image_for(cloud, project, bundle.requirements_sha256)
    instance_types.check_types({kind: types[kind] for kind in kinds}, image, market)
    check_volume(aws, image)
    least_mib = min(int(types[kind]["MemoryInfo"]["SizeInMiB"]) for kind in kinds)
    least_cores = min(instance_types.cores({kind: types[kind] for kind in kinds}).values())
    notes = [
        *(f"{kind} is left out: {why}" for kind, why in left_out.items()),
        *(f"left out: {line}" for line in network.by_reason(subnets.left_out)),
        *subnets.notes,
        *([f"{image['ImageId']} is deprecated"] if inventory.is_deprecated(cloud, image) else []),
        *filter(None, [disk_key.check_disk_key(cloud, project, image, market)]),
    ]
    return Basis(
        prices, hours, bundle, image, vpc, subnets.zones, pools, allowed, notes, least_cores, least_mib
    )


def _within_quotas(
    cloud: Cloud, project: Project, types: dict[str, dict[str, Any]], market: Market
) -> tuple[list[Quota], dict[str, str]]:
    """Return the quotas of the types, and the types that theirs forbids, with the reason.

    QuotaTooLow where none is left.
    """
    sizes = instance_types.vcpus(types)
    try:
        read = quotas.read_quotas(cloud, sizes, market)
    except AccessDenied:  # `doctor` asks for the permission
        return [], {}
    return list(dict.fromkeys(read.values())), quotas.check_quotas(cloud, read, sizes, project.region)


def allowed_hours(max_hours: float, max_cost_usd: float, cap_usd_per_hour: float) -> float:
    """Return how long the fleet may live; UsageError if the money does not last an hour, or all of a shorter run."""
    hours = max_cost_usd / cap_usd_per_hour
    if hours < min(1.0, max_hours):
        raise UsageError(
            f"aws.max_cost_usd = {max_cost_usd:g} does not buy an hour: it may cost ${cap_usd_per_hour:.3f}",
            next_step="Raise aws.max_cost_usd, or take the dearest type out of aws.instance_types.",
        )
    return min(max_hours, hours)


def check_key_pair(cloud: Cloud) -> None:
    """Raise UsageError for a key pair that EC2 does not have: every start of a machine would fail."""
    name = cloud.aws.key_pair_name
    if name is None:
        return
    try:
        cloud.call("ec2", "describe_key_pairs", KeyNames=[name])
    except ResourceNotFound as error:
        raise UsageError(
            f"aws.key_pair_name: {cloud.aws.region} has no key pair {name!r}",
            next_step="`aws ec2 describe-key-pairs` lists what there is; or leave it out: Session Manager needs none.",
        ) from error


def check_volume(aws: AwsSettings, image: dict[str, Any]) -> None:
    """Raise UsageError for a disk smaller than the image's: EC2 would start no machine, and the fleet keep asking."""
    least_gb = disk_key.root_disk(image).get("VolumeSize", 0)
    if aws.volume_size_gb < least_gb:
        raise UsageError(
            f"aws.volume_size_gb = {aws.volume_size_gb} is below the {least_gb} GB of the image {image['ImageId']}",
            next_step=f"Set aws.volume_size_gb to {least_gb} or more.",
        )


def _pools(cloud: Cloud, kinds: tuple[str, ...], zones: dict[str, str]) -> list[tuple[str, str]]:
    have = set(inventory.offered(cloud, kinds, sorted(set(zones.values()))))
    pools = [(kind, subnet) for kind in kinds for subnet, zone in zones.items() if (kind, zone) in have]
    if not pools:
        raise UsageError(
            f"none of {', '.join(kinds)} is offered in {', '.join(sorted(set(zones.values())))}",
            next_step="Compare: ./launch.py prices. Then change aws.instance_types, availability_zones or region.",
        )
    return pools
