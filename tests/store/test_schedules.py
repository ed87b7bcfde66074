"""Random schedules of two and three writers and a pruner: one history, nothing promised is lost."""

from __future__ import annotations

import sys

import pytest

from tests.store.schedules import Chances, World

QUICK_SEEDS, ALL_SEEDS = 300, 5_000


def run_seed(seed: int) -> World:
    world = World(seed, writers=2 + seed % 2, pruner=seed % 3 == 0)
    try:
        world.run()
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    return world


def run_seeds(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    worlds = [run_seed(seed) for seed in range(count)]
    commits = sum(len(world.promised) for world in worlds)
    calls = sum(world.calls for world in worlds)
    epochs = sum(world.pointer.claim.epoch for world in worlds if world.pointer)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{count} schedules: {calls} calls, {epochs} claims, {commits} commits, none lost\n"
        )


@pytest.mark.slow
def test_no_schedule_loses_a_commit_or_splits_the_history(capsys: pytest.CaptureFixture[str]) -> None:
    run_seeds(QUICK_SEEDS, capsys)


@pytest.mark.torture
def test_none_of_thousands_of_schedules_loses_a_commit(capsys: pytest.CaptureFixture[str]) -> None:
    run_seeds(ALL_SEEDS, capsys)


def test_a_schedule_is_repeated_by_its_seed() -> None:
    first, again = run_seed(7), run_seed(7)
    assert (first.calls, len(first.promised), len(first.added)) == (
        again.calls,
        len(again.promised),
        len(again.added),
    )


@pytest.mark.parametrize("seed", range(40))
def test_a_writer_alone_is_never_fenced_by_its_own_lost_replies(seed: int) -> None:
    only_losses = Chances(lost_request=10, lost_reply=20, delayed=15, crash_before=0, crash_after=0)
    world = World(seed, writers=1, pruner=False, chances=only_losses)
    world.run()
    assert world.fenced == 0
