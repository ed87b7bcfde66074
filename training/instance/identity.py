"""The identity of this machine, for attempts.json and the claim, as the metadata service gives it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypedDict

from .imds import Imds, ImdsError

if TYPE_CHECKING:
    from ..store.storage import Storage


LAUNCH_VARIABLE = "F1TENTH_LAUNCH"  # in run.env


class Identity(TypedDict, total=False):
    """Fields of an attempt that only an instance knows."""

    instance_id: str
    instance_type: str
    availability_zone: str
    fleet_id: str
    purchase: str


PATHS = {
    "instance_id": "meta-data/instance-id",
    "instance_type": "meta-data/instance-type",
    "availability_zone": "meta-data/placement/availability-zone",
    "fleet_id": "meta-data/tags/instance/aws:ec2:fleet-id",
}


def identity(imds: Imds) -> Identity:
    """Return what the metadata service reports; fields that it does not report are left out."""
    found: Identity = {}
    for field, path in PATHS.items():
        text = _get(imds, path)
        if text:
            found[field] = text  # type: ignore[literal-required]
    if found:
        found["purchase"] = "spot" if _get(imds, "meta-data/instance-life-cycle") == "spot" else "on-demand"
    return found


def machine_facts(imds: Imds, storage: Storage, run: str) -> dict[str, Any]:
    """Return what this machine is, its launch, and its price as the launcher wrote it down: fields of an attempt."""
    from ..cloud.launch_record import read_launch_record  # noqa: PLC0415 - brings the launcher's modules

    found: dict[str, Any] = {**identity(imds), "launch": launch_number()}
    intent = read_launch_record(storage, run)
    if intent is not None:
        kind, zone = found.get("instance_type", ""), found.get("availability_zone", "")
        found |= {"price_usd_per_hour": intent.price_of(kind, zone), "price_source": intent.price_source}
    return found


def launch_number() -> int | None:
    """Return the number of the launch that made this machine, None where nothing says it."""
    text = os.environ.get(LAUNCH_VARIABLE, "")
    return int(text) if text.isdigit() and int(text) else None


def _get(imds: Imds, path: str) -> str:
    try:
        return (imds.get(path) or "").strip()[:300]
    except ImdsError:
        return ""
