"""What the benchmarks share: `make bench` prints one table, keeps it as JSON and says what moved."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bench.measuring import (
    REFERENCE,
    Baseline,
    Speeds,
    machine,
    rate,
    reference_loop,
    rows_of,
    rows_of_seconds,
    table,
)

# The last committed figures, by machine. BENCH_KEEP=1 writes a run's rows over this machine's of the same name.
BASELINE = Path(__file__).with_name("baseline.json")
RESULTS = Path(".cache/bench.json")


class Results:
    """Collect rows of figures, speeds, and what could not be measured."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, object]]] = {}
        self.speeds: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []

    def keep(self, name: str, row: dict[str, object]) -> None:
        """Keep a row of other figures and print it."""
        self.rows.setdefault(name, []).append(row)
        print(f"\n{name}: {json.dumps(row)}")  # noqa: T201 - the bench tells how it goes

    def keep_speeds(
        self,
        group: str,
        speeds: Speeds,
        *,
        peers: Sequence[str] = (),
        goals: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """Keep speeds; peers are what the others are set beside, goals those of `rows_of`.

        Where they were not measured in turns with the reference loop, that is measured now.
        """
        speeds = speeds if REFERENCE in speeds else {REFERENCE: rate(reference_loop), **speeds}
        self._keep_rows(group, rows_of(speeds, peers, goals))

    def keep_seconds(
        self, group: str, seconds: Mapping[str, float], goals: Mapping[str, float] | None = None
    ) -> None:
        """Keep what is to take little time; goals: at most so many seconds."""
        self._keep_rows(group, rows_of_seconds(seconds, rate(reference_loop), goals))

    def _keep_rows(self, group: str, rows: dict[str, dict[str, Any]]) -> None:
        self.speeds |= {f"{group}: {name}": row for name, row in rows.items()}


@pytest.fixture(scope="session")
def _results() -> Iterator[Results]:
    results = Results()
    yield results
    here, baseline = machine(), Baseline(BASELINE)
    data = {"machine": here, "speeds": results.speeds, **results.rows}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print("\n\n" + table(results.speeds, results.notes))  # noqa: T201 - the table is what the bench is for
    print("\n".join(baseline.changes(here, results.speeds)))  # noqa: T201
    if os.environ.get("BENCH_KEEP"):
        baseline.keep(here, results.speeds)


@pytest.fixture(scope="session")
def record_bench(_results: Results) -> Callable[[str, dict[str, object]], None]:
    """Return a function that keeps a row of figures under a name and prints it."""
    return _results.keep


@pytest.fixture(scope="session")
def record_speeds(_results: Results) -> Callable[..., None]:
    """Return a function that keeps speeds, as `measuring.in_turns` returns them, for the table and the baseline."""
    return _results.keep_speeds


@pytest.fixture(scope="session")
def record_seconds(_results: Results) -> Callable[..., None]:
    """Return a function that keeps times in the same table and baseline: the less the better."""
    return _results.keep_seconds


@pytest.fixture(scope="session")
def bench_note(_results: Results) -> Callable[[str], None]:
    """Return a function that keeps the name of a peer that is not measured here, and why."""
    return _results.notes.append
