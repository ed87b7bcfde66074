"""Stand in for `python -m training instance finish`: note the outcome, stay up only when told."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

RUN = Path("/run/f1tenth")


def writable(disk: str) -> bool:
    """Return whether a file can be made there."""
    try:
        Path(disk, "probe").touch()
    except OSError:
        return False
    return True


def main() -> None:
    """Log the outcome to the journal and decide about the machine."""
    outcome = Path(os.environ["F1TENTH_OUTCOME"])
    seen = json.loads(outcome.read_text(encoding="utf-8")) if outcome.exists() else {"reason": "crash"}
    print("finish saw", seen["reason"], flush=True)
    print(
        "finish may write",
        [disk for disk in ("/", "/var/lib/f1tenth", "/tmp", "/run/f1tenth") if writable(disk)],
        flush=True,
    )
    finish = os.environ.get("STANDIN_FINISH")
    if finish == "crash":
        raise SystemExit(1)
    if finish == "hang":
        time.sleep(3600)
    if seen["reason"] in ("spot", "sigterm"):
        (RUN / "stay-up").touch()
