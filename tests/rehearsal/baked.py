"""The baked root: found, and checked to be of this tree. `make ami-rehearsal` makes it and labels it with the tree."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import NamedTuple

from tests.image.rootfs import BAKED_IMAGE, TREE_LABEL, tree_hash
from tests.rehearsal.machine import podman


class Baked(NamedTuple):
    """An image that podman can boot."""

    image: str
    description: str


class NotBaked(Exception):
    """There is no baked root of this tree."""


def find() -> Baked:
    """Return the baked root of this tree. NotBaked says what is missing."""
    described = json.loads(podman("image", "inspect", BAKED_IMAGE, check=False) or "[]")
    if not described:
        raise NotBaked("there is no baked root")
    tree = (described[0].get("Labels") or {}).get(TREE_LABEL, "")
    if tree != tree_hash():
        raise NotBaked(
            f"the baked root is of another tree, {tree[:12] or 'unknown'}, this one is {tree_hash()[:12]}"
        )
    made = datetime.fromisoformat(described[0]["Created"][:19]).replace(tzinfo=timezone.utc)
    age_h = (datetime.now(timezone.utc) - made).total_seconds() / 3600
    size_gb = described[0]["Size"] / 1e9
    return Baked(described[0]["Id"], f"baked root of tree {tree[:12]}, {size_gb:.1f} GB, {age_h:.1f} h old")
