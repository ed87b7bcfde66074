"""Trainers to be killed: a process that has imported everything forks one for each line of JSON that comes in.

A line holds the arguments of `python -m training`, environment variables, a file for the output, and whether that is
the terminal of a session that the child leads, and whether it ignores SIGHUP. What the child runs is the command line's
own `main`; only the seconds of importing torch are not spent again for every kill.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback


def child(order: dict[str, object]) -> None:
    """Become a trainer; never return."""
    if order["ignore_hangup"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if order["session"]:
        os.setsid()  # the terminal that it opens first is its own
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    os.environ.update(order["env"])  # type: ignore[call-overload]
    from training.__main__ import main as trainer

    code = trainer(order["arguments"])  # type: ignore[arg-type]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Fork a child for each line; answer with its pid, and when it has ended with its wait status."""

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                child(json.loads(line))
            except BaseException:  # noqa: BLE001 - the test shows the trainers' log, not this process's output
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(70)
        answers.write(f"{pid}\n")
        _, status = os.waitpid(pid, 0)
        answers.write(f"{status}\n")


if __name__ == "__main__":
    main()
