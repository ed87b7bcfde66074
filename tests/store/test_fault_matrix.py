"""Every fault, at every store call of a run's life, once and for good: the run survives."""

from __future__ import annotations

import collections
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.store.memory import FAULTS, Call, FaultyStorage, MemoryStorage
from tests.store.scenario import Told, begin, live, phases
from tests.support.servers import Bucket
from tests.support.store_faults import FROM_THEN_ON, ONCE, print_table, survive
from training.store.directory import DirectoryStorage
from training.store.open import open_store
from training.store.storage import Storage

SAMPLE = 60


def phases_of(storage: Storage, agents: int) -> list[str]:
    """Live once undisturbed and name the phase of every call."""
    begin(storage, agents)

    def undisturbed(calls: list[Call]) -> None:
        recorded = FaultyStorage(storage, lambda *_: None)
        live(recorded, Told(), agents)
        calls.extend(recorded.calls)

    return [phase for phase, _ in phases(undisturbed)]


def all_cases(calls: int) -> list[tuple[int, str, str]]:
    return [
        (number, name, lasting)
        for number in range(calls)
        for name in FAULTS
        for lasting in (ONCE, FROM_THEN_ON)
    ]


def run_matrix(
    title: str,
    make: Callable[[], Storage],
    cases: int | None,
    capsys: pytest.CaptureFixture[str],
    *,
    agents: int = 1,
) -> None:
    """Try all cases, or a sample of them, and print the table of what was tried and survived."""
    named = phases_of(make(), agents)
    chosen = all_cases(len(named))
    if cases is not None:
        chosen = random.Random(0).sample(chosen, cases)
    tried: collections.Counter[tuple[str, str]] = collections.Counter()
    for number, name, lasting in chosen:
        try:
            survive(make(), number, FAULTS[name], lasting, agents)
        except Exception as error:
            case = f"{name}, {lasting}, at call {number} ({named[number]})"
            raise AssertionError(f"not survived: {case}") from error
        tried[named[number], name] += 1
    with capsys.disabled():
        print_table(f"{title}, {len(named)} calls", tried)


def test_every_fault_at_every_call_in_memory(capsys: pytest.CaptureFixture[str]) -> None:
    run_matrix("in memory", MemoryStorage, None, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("agents", [2, 4])
def test_every_fault_at_every_call_with_several_agents(
    agents: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never agent 0 of one step with agent 1 of another: all are whole, or all are those of the step before."""
    run_matrix(f"in memory, {agents} agents", MemoryStorage, None, capsys, agents=agents)


@pytest.mark.slow
def test_faults_at_calls_of_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = iter(range(10_000))
    run_matrix("directory", lambda: DirectoryStorage(tmp_path / str(next(numbers))), SAMPLE, capsys)


@pytest.mark.torture
@pytest.mark.parametrize("agents", [1, 2, 4])
def test_every_fault_at_every_call_of_a_directory(
    tmp_path: Path, agents: int, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = iter(range(10_000))
    title = f"directory, agents: {agents}"
    run_matrix(title, lambda: DirectoryStorage(tmp_path / str(next(numbers))), None, capsys, agents=agents)


@pytest.mark.torture
@pytest.mark.parametrize("agents", [1, 2])
def test_every_fault_at_every_call_of_seaweedfs(
    weed_url: Bucket, agents: int, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = iter(range(10_000))
    run_matrix(
        f"seaweedfs, agents: {agents}",
        lambda: open_store(f"{weed_url.url}/{next(numbers)}", weed_url.aws).inner,
        None,
        capsys,
        agents=agents,
    )
