"""A trainer that tells the service manager of each piece of its work: `python -m tests.support.watchdog_program …`.

Each datagram at NOTIFY_SOCKET is a piece of work ("WORK=race step"), or what the trainer itself says. So who listens
sees how much work lies between two signs of life. HANG_IN=select_final in the environment lets it hang in the middle of
the final choice, while its background threads go on.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from training.__main__ import main
from training.agents import batched_agents, replay_segments
from training.envs.race import Race
from training.evaluation import policy_selection
from training.process import systemd_notify
from training.report import frames, plots
from training.run import results, stop_request
from training.run.stop_request import ControlPoller
from training.sim import Track, World
from training.store.checkpoint import RunWriter
from training.store.retry import RetryingStorage

systemd_notify.INTERVAL_S = 0.0
stop_request.CONTROL_POLL_S = 0.2
_choosing = threading.Event()
_send = systemd_notify.notify


def send_for_sure(*assignments: str, **_: object) -> bool:
    """Wait for who listens, who with a sign at each piece of work is always a little behind: none gets lost."""
    return _send(*assignments)


systemd_notify.notify = send_for_sure


def counted(owner: Any, name: str, work: str, before: Callable[[], None] = lambda: None) -> None:
    """Let a function tell each time that it has been called."""
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def telling(*arguments: Any, **named: Any) -> Any:
        before()
        result = inner(*arguments, **named)
        systemd_notify.notify(f"WORK={work}")
        return result

    setattr(owner, name, telling)


def hang() -> None:
    if _choosing.is_set():
        systemd_notify.notify("HANG=1")
        threading.Event().wait()


def mark_choice() -> None:
    if os.environ.get("HANG_IN") == "select_final":
        _choosing.set()


counted(policy_selection.BestPolicyTracker, "select_final", "choice", mark_choice)
counted(Race, "step", "race step", hang)
counted(World, "step", "physics step")
counted(Track, "load", "track")
counted(frames.Painter, "frame", "frame")
counted(plots, "track_picture", "picture")
counted(plots, "_curve_figure", "chart")
counted(replay_segments, "paste", "segment pasted")
counted(batched_agents.SacUpdate, "step", "update")
counted(results, "model_zip", "model")
counted(ControlPoller, "look", "look for requests")
counted(RunWriter, "load", "checkpoint read")
for name in ("get", "put", "get_to_file"):
    counted(RetryingStorage, name, f"store {name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
