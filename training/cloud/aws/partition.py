"""Which of Amazon's separate clouds a region belongs to: the launcher works in the main one, `aws`."""

from __future__ import annotations

from ...errors import UsageError

# https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
FOREIGN = {
    "cn-": ("aws-cn", "AWS China"),
    "us-gov-": ("aws-us-gov", "AWS GovCloud (US)"),
    "us-iso-": ("aws-iso", "AWS Secret Cloud"),
    "us-isob-": ("aws-iso-b", "AWS Secret Cloud"),
    "eu-isoe-": ("aws-iso-e", "AWS Secret Cloud"),
    "us-isof-": ("aws-iso-f", "AWS Secret Cloud"),
    "eusc-": ("aws-eusc", "AWS European Sovereign Cloud"),
}


def check_partition(region: str) -> None:
    """Raise UsageError for a region outside the partition aws: it has other ARNs, other principals and no prices."""
    for prefix, (partition, name) in FOREIGN.items():
        if region.startswith(prefix):
            raise UsageError(
                f"aws.region = {region!r} is in {name} (partition {partition}), where this launcher does not work",
                next_step="Choose a region of the partition aws, for example us-east-2.",
            )
