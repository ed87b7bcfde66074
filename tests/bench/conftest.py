"""What the benchmarks share: each writes its rows, and `make bench` leaves them as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

RESULTS = Path(".cache/bench.json")


@pytest.fixture(scope="session")
def record_bench() -> Iterator[Callable[[str, dict[str, object]], None]]:
    """Return a function that keeps a row of figures under a name and prints it."""
    rows: dict[str, list[dict[str, object]]] = {}

    def record(name: str, row: dict[str, object]) -> None:
        rows.setdefault(name, []).append(row)
        print(f"\n{name}: {json.dumps(row)}")  # noqa: T201 - the table of the bench

    yield record
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({"machine": platform.platform(), **rows}, indent=1) + "\n", encoding="utf-8"
    )
