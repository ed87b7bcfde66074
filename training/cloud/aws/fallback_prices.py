"""Prices of last resort, by hand and dated; used, and said so, only where AWS gives none."""

from __future__ import annotations

from typing import NamedTuple

AS_OF = "2026-08"


class TypePrice(NamedTuple):
    """One type: size, and US dollars per hour."""

    vcpus: int
    on_demand: float
    spot: dict[str, float]  # region → typical


# On demand: us-east-1 and us-east-2 cost the same; other regions are up to a third dearer.
TABLE: dict[str, TypePrice] = {
    "g4dn.xlarge": TypePrice(4, 0.526, {}),
    "g4dn.2xlarge": TypePrice(8, 0.752, {"us-east-1": 0.315, "us-east-2": 0.204}),
    "g4dn.4xlarge": TypePrice(16, 1.204, {}),
    "g5.xlarge": TypePrice(4, 1.006, {}),
    "g5.2xlarge": TypePrice(8, 1.212, {}),
    "g5.4xlarge": TypePrice(16, 1.624, {}),
    "g6.xlarge": TypePrice(4, 0.805, {}),
    "g6.2xlarge": TypePrice(8, 0.978, {"us-east-1": 0.897, "us-east-2": 0.257}),
    "g6.4xlarge": TypePrice(16, 1.323, {}),
    "c7a.large": TypePrice(2, 0.103, {}),
    "c7a.xlarge": TypePrice(4, 0.206, {}),
    "c7i.large": TypePrice(2, 0.090, {}),
    "c7i.xlarge": TypePrice(4, 0.179, {}),
    "m7a.large": TypePrice(2, 0.116, {}),
    "m7i.large": TypePrice(2, 0.101, {}),
}
ELSEWHERE_FACTOR = 1.35
CHEAP_REGIONS = ("us-east-1", "us-east-2", "us-west-2")


def on_demand(kind: str, region: str) -> float | None:
    """Return the table's on-demand price, rounded up for regions it does not know; None for other types."""
    row = TABLE.get(kind)
    if row is None:
        return None
    return row.on_demand if region in CHEAP_REGIONS else row.on_demand * ELSEWHERE_FACTOR
