"""The price of an hour: spot by zone and type, on demand by type; every figure with its source and age."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from ...process.user_account import cache_folder
from . import fallback_prices
from .aws_errors import CloudError, NoCredentials
from .client import Cloud

CACHE_S = 24 * 3600
LINUX = "Linux/UNIX"
# Of the cache: more than the dearest machine costs, and how far in the future a clock may have been.
MOST_USD_PER_HOUR = 1000.0
MAX_SKEW_S = 300.0


class Price(NamedTuple):
    """US dollars per hour, and where the figure is from."""

    usd_per_hour: float
    source: str
    age_s: float = 0.0

    def __str__(self) -> str:
        """Return the figure for people."""
        return f"${self.usd_per_hour:.3f}/h ({self.source}, {describe_age(self.age_s)} old)"


class Pool(NamedTuple):
    """Spot capacity of one type in one zone."""

    kind: str
    zone: str


class Prices(NamedTuple):
    """All prices that a launch may meet."""

    spot: dict[Pool, Price]
    on_demand: dict[str, Price]

    def cap(self, kinds: Sequence[str]) -> float:
        """Return the dearest on-demand price of the types: no hour costs more, on spot neither."""
        return max(self.on_demand[kind].usd_per_hour for kind in kinds)

    def expected(self, pools: Sequence[Pool], market: str) -> Price:
        """Return the cheapest price of the pools, which the fleet is likely to pay."""
        spot = [self.spot[pool] for pool in pools if pool in self.spot] if market == "spot" else []
        return min(
            spot or [self.on_demand[pool.kind] for pool in pools], key=lambda price: price.usd_per_hour
        )


def read_prices(cloud: Cloud, kinds: Sequence[str]) -> Prices:
    """Return live prices, on-demand ones at most a day old; the dated table where AWS gives none.

    Raises CloudError for a type whose on-demand price is nowhere: no budget could be kept.
    """
    return Prices(_spot(cloud, kinds), {kind: _on_demand(cloud, kind) for kind in kinds})


def _spot(cloud: Cloud, kinds: Sequence[str]) -> dict[Pool, Price]:
    now = cloud.clock.now()
    rows = cloud.pages(
        "ec2",
        "describe_spot_price_history",
        "SpotPriceHistory",
        InstanceTypes=list(kinds),
        ProductDescriptions=[LINUX],
        StartTime=now - timedelta(hours=1),
        EndTime=now,
    )
    newest: dict[Pool, dict[str, Any]] = {}
    for row in rows:
        pool = Pool(row["InstanceType"], row["AvailabilityZone"])
        if row["InstanceType"] in kinds and (
            pool not in newest or row["Timestamp"] > newest[pool]["Timestamp"]
        ):
            newest[pool] = row
    return {
        pool: Price(float(row["SpotPrice"]), "EC2", max((now - row["Timestamp"]).total_seconds(), 0.0))
        for pool, row in newest.items()
    }


def _on_demand(cloud: Cloud, kind: str) -> Price:
    region = cloud.aws.region
    cached = _cached(region, kind)
    if cached is not None and cached.age_s < CACHE_S:
        return cached
    with contextlib.suppress(CloudError):
        price = _ask_pricing(cloud, kind)
        if price is not None:
            _cache(region, kind, price)
            return Price(price, "Pricing API")
    by_hand = fallback_prices.on_demand(kind, region)
    if cached is not None:
        return cached
    if by_hand is None:
        raise CloudError(
            f"the on-demand price of {kind} in {region} is not known, so no budget can be kept",
            next_step=f"Allow pricing:GetProducts, or take a type of the table: {', '.join(fallback_prices.TABLE)}",
        )
    return Price(by_hand, f"table of {fallback_prices.AS_OF}", _table_age_s(cloud))


def _ask_pricing(cloud: Cloud, kind: str) -> float | None:
    wanted = {
        "instanceType": kind,
        "regionCode": cloud.aws.region,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "tenancy": "Shared",
        "capacitystatus": "Used",
    }
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    try:
        reply = cloud.send("pricing", "get_products", {"ServiceCode": "AmazonEC2", "Filters": filters})
    except NoCredentials:
        return None
    return parse_on_demand(reply.get("PriceList", ()))


def parse_on_demand(price_list: Sequence[str]) -> float | None:
    """Return the price per hour in a reply of the Pricing API, None if it holds none."""
    for text in price_list:
        for term in json.loads(text).get("terms", {}).get("OnDemand", {}).values():
            for dimension in term.get("priceDimensions", {}).values():
                price = float(dimension.get("pricePerUnit", {}).get("USD", 0))
                if dimension.get("unit") == "Hrs" and price > 0:
                    return price
    return None


def compare(prices: Prices) -> list[dict[str, Any]]:
    """Return one row for each type and zone, cheapest first, with what spot saves."""

    def price_source(price: Price) -> str:
        return f"{price.source}, {describe_age(price.age_s)} old"

    rows = [
        {
            "type": pool.kind,
            "zone": pool.zone,
            "spot": spot.usd_per_hour,
            "on_demand": prices.on_demand[pool.kind].usd_per_hour,
            "saved": 1 - spot.usd_per_hour / prices.on_demand[pool.kind].usd_per_hour,
            "source": f"{price_source(spot)}; on demand: {price_source(prices.on_demand[pool.kind])}",
        }
        for pool, spot in prices.spot.items()
    ]
    return sorted(rows, key=lambda row: float(str(row["spot"])))


# --- a cache of what hardly changes; losing it costs one request ---
def _cache_file(region: str) -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / f"prices-{region}.json"


def _kept(region: str) -> dict[str, Any]:
    """Return what the cache holds, empty where it is not there or is broken."""
    path = _cache_file(region)
    try:
        rows = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return rows if isinstance(rows, dict) else {}


def _cached(region: str, kind: str) -> Price | None:
    try:
        row = _kept(region)[kind]
        usd, age_s = float(row["usd_per_hour"]), time.time() - float(row["at"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    # A budget depends on this figure: one that is no price, or is dated in the future, is requested again.
    sound = 0 < usd < MOST_USD_PER_HOUR and -MAX_SKEW_S < age_s < math.inf
    return Price(usd, "Pricing API", max(age_s, 0.0)) if sound else None


def _cache(region: str, kind: str, price: float) -> None:
    path = _cache_file(region)
    if path is None:
        return
    rows = {**_kept(region), kind: {"usd_per_hour": price, "at": time.time()}}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump(rows, file)
        try:
            Path(file.name).replace(path)
        except OSError:  # a folder stands in its place
            Path(file.name).unlink()


def _table_age_s(cloud: Cloud) -> float:
    year, month = (int(part) for part in fallback_prices.AS_OF.split("-"))
    return (cloud.clock.now() - cloud.clock.now().replace(year=year, month=month, day=1)).total_seconds()


def describe_age(age_s: float) -> str:
    """Return an age in the one unit that fits: 40 s, 12 min, 3 h, 5 days."""
    for unit, length_s in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if age_s >= 2 * length_s:
            return f"{age_s / length_s:.0f} {unit}"
    return f"{age_s:.0f} s"
