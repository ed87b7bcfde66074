"""A store call that fails, once or from then on, and what a run makes of it."""

from __future__ import annotations

import collections
import contextlib
import sys

from tests.store.memory import Call, Crash, Fault, FaultyStorage
from tests.store.scenario import Told, begin, check, live
from training.errors import TrainingError
from training.store.storage import Storage

ONCE, FROM_THEN_ON = "once", "from then on"


def survive(storage: Storage, number: int, fault: Fault, lasting: str, agents: int = 1) -> int:
    """Break call `number` (or it and all after it), then check; return the step resumed from."""
    begin(storage, agents)

    def due(index: int, _: Call) -> Fault | None:
        return fault if index == number or (lasting == FROM_THEN_ON and index > number) else None

    told = Told()
    with contextlib.suppress(TrainingError, Crash):  # the next attempt must not care how this one ends
        live(FaultyStorage(storage, due), told, agents)
    return check(storage, told, agents)


def print_table(title: str, tried: collections.Counter[tuple[str, str]]) -> None:
    """Print tried = survived per phase and fault (a case that is not survived ends the test)."""
    rows = ["claim", "restore", "fence check", "segment", "data", "manifest", "pointer"]
    columns = list(dict.fromkeys(name for _, name in tried))
    width = max(map(len, columns))
    lines = [f"{title}: tried {sum(tried.values())}, survived {sum(tried.values())}"]
    lines += [
        "  ".join([f"  {name:{width}}", *(f"{row} {tried[row, name]:3}" for row in rows)]) for name in columns
    ]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
