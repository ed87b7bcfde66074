"""Stand in for `python -m training train`: say READY, then do what STANDIN names; `instance finish` is finish.py.

STANDIN=run trains until SIGTERM; exit:N ends with status N; silent never feeds the watchdog; probe:FILE leaves
there what the sandbox allows, then trains.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from training import finish, probe

OUTCOME = Path(os.environ["F1TENTH_OUTCOME"])
SAVE_S = 2


def main() -> None:
    """Behave as STANDIN says."""
    signal.signal(signal.SIGTERM, save_and_stop)
    starts_file = Path(os.environ["STATE_DIRECTORY"]) / "starts"
    with starts_file.open("a", encoding="utf-8") as starts:
        starts.write(" ".join(sys.argv[1:]) + "\n")
    behaviour, _, status = os.environ["STANDIN"].partition(":")
    notify("READY=1")
    if behaviour == "exit":
        end(int(status))
    if behaviour == "probe":
        Path(status).write_text(json.dumps(probe.everything()), encoding="utf-8")
    while True:
        time.sleep(0.5)
        if behaviour != "silent":
            notify("WATCHDOG=1")


def save_and_stop(_signal: int, _frame: object) -> None:
    """Take a while to save, as a real checkpoint does, then end with 75."""
    time.sleep(SAVE_S)
    end(75)


def end(status: int) -> None:
    """Leave the outcome file, unless the end is a crash, and exit."""
    if status in (0, 3, 64, 65, 75, 78):
        reason = os.environ.get("STANDIN_REASON", "sigterm" if status == 75 else "end")
        OUTCOME.write_text(json.dumps({"exit_code": status, "reason": reason}), encoding="utf-8")
    sys.exit(status)


def notify(state: str) -> None:
    """Tell systemd, by the protocol of sd_notify(3)."""
    address = os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_systemd:
        to_systemd.sendto(state.encode(), address)


finish.main() if sys.argv[1:] == ["instance", "finish"] else main()
