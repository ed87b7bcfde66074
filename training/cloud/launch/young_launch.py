"""Whether somebody else is launching a run at the moment: judged by the store's clock, not by two laptops'."""

from __future__ import annotations

from training import layout
from training.cloud.api import Cloud
from training.cloud.intent import Intent
from training.store.storage import Storage

# A launch takes well under a minute from its intent to its fleet.
HALF_MADE_AFTER_S = 300.0


def is_under_way(cloud: Cloud, storage: Storage, intent: Intent, us: str) -> bool:
    """Tell whether a launch without a fleet may still become one; us: who asks, whose own launches are not waited for.

    Its age is the store's date of fleet.json before AWS's present time: the clocks of the two laptops do not count.
    """
    if intent.by == us:
        return False
    key = layout.fleet_key(intent.run)
    written = next((entry.modified for entry in storage.list(key) if entry.key == key), None)
    return written is not None and (cloud.now() - written).total_seconds() < HALF_MADE_AFTER_S
