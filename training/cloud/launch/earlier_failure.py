"""Why a run that is launched again failed before, and whether it would fail again: said before a machine boots."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from ...config import Config
from ...store.documents import read_status
from ...store.storage import Storage
from ..aws.launch_requests import Launch
from ..launch_record import read_launch_record


class EarlierFailure(NamedTuple):
    """The message to a person who launches a failed run again."""

    reason: str
    launch: int
    is_certain: (
        bool  # settings, code, image, types and checkpoint are those of the launch that failed by them
    )

    @property
    def line(self) -> str:
        """Return the line of the plan."""
        after = (
            "nothing that decided this has changed since: it would fail again"
            if self.is_certain
            else "starts are counted from 0 again"
        )
        return f"before     launch {self.launch} failed ({self.reason}); {after}"

    @property
    def next_step(self) -> str:
        """Return what to change before it is launched again."""
        return (
            "Change what the reason names: a setting (--set), the code, the image (make ami), or the checkpoint "
            "(--at STEP). If you mended it elsewhere, launch at a terminal and answer the question."
        )


def earlier_failure(storage: Storage, run: str, fingerprint: str) -> EarlierFailure | None:
    """Return how a run's last launch failed, None where it did not; fingerprint: of the launch that is planned."""
    status = read_status(storage, run)
    if status is None or status.state != "failed":
        return None
    intent = read_launch_record(storage, run)
    is_certain = bool(status.repeats) and intent is not None and intent.fingerprint == fingerprint
    reason = status.reason or f"exit code {status.exit_code}"
    return EarlierFailure(reason, 1 if intent is None else intent.launch, is_certain)


def fingerprint_of(launch: Launch, config: Config) -> str:
    """Return a hash of all that decides, before the first step, whether the trainer accepts a launch.

    Budget, network and names on AWS are left out: no machine refuses to train because of them.
    """
    settings = {key: value for key, value in config.to_json_dict().items() if key != "aws"}
    decisive = {
        "settings": settings,
        "code": launch.bundle_sha256,
        "image": launch.image_id,
        "types": sorted(launch.instance_types),
        "checkpoint": [launch.at_step, launch.from_partial],
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
