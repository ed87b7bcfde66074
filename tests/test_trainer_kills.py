"""The trainer killed at random instants, again and again, ends in the same bits as one that was left alone."""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.killed_trainers import (
    CASES,
    LEAGUE,
    SEVERAL,
    Case,
    Nursery,
    Place,
    compare,
    directory,
    left_alone,
    newest_step,
    nursery,
    order,
)
from tests.support.servers import CREDENTIALS, Bucket, fresh_bucket
from training.config import AwsSettings
from training.store.open import open_store

__all__ = ["nursery"]  # a fixture

SAMPLE, FULL = 4, 200
# One life in so many is `python -m training train` in a process of its own, with all its imports.
OWN_PROCESS = 10
IMPORT_S = 5.0


def on_weed(bucket: Bucket, scratch: Path) -> Place:
    options = ["--store", bucket.url, "--set", f"aws.endpoints.s3={bucket.endpoint}"]
    aws: AwsSettings = bucket.aws
    env = {**CREDENTIALS, "STATE_DIRECTORY": str(scratch)}
    return Place([*options, "--set", "aws.region=us-east-1"], open_store(bucket.url, aws), env)


class Storm(NamedTuple):
    """What came of a run that was killed."""

    kills: int
    alone: int  # of them, in a process of its own
    steps: list[int]  # of the newest checkpoint after each kill


def storm(
    case: Case, place: Place, nursery: Nursery, generator: random.Random, *, most: int, life_s: float
) -> Storm:
    """Kill a run at random instants of its lives until it ends, or after `most` kills let it end."""
    kills, alone, steps = 0, 0, []
    while kills <= most:
        own = generator.random() < 1 / OWN_PROCESS
        # A life is start, claim, restore; then steps, saves, evaluations; then choice, last save, laps.
        early = generator.random() < 0.2
        cpu_s = life_s * (generator.uniform(0.0, 0.25) if early else generator.uniform(0.25, 0.8))
        live = nursery.live_alone if own else nursery.live
        limit_s = cpu_s + (IMPORT_S if own else 0.0)
        status = live(order(case, place), place.env, cpu_s=limit_s if kills < most else None)
        if status == 0:
            return Storm(kills, alone, steps)
        assert status == signal.SIGKILL, nursery.tail()
        kills, alone = kills + 1, alone + own
        steps.append(newest_step(place.storage))
    raise AssertionError(f"{kills} kills and no end: {steps}\n{nursery.tail()}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [CASES[0], CASES[3], SEVERAL, LEAGUE],
    ids=["1-environment", "16-environments", "2-agents", "a-league-of-4"],
)
def test_a_trainer_killed_a_few_times_ends_as_if_it_never_was(
    case: Case, tmp_path: Path, nursery: Nursery
) -> None:
    """Every array of the final checkpoint, and all that it says of the learner, is the same to the last bit."""
    whole, killed = directory(tmp_path / "whole"), directory(tmp_path / "killed")
    life_s = left_alone(case, whole, nursery)
    storm(case, killed, nursery, random.Random(4), most=SAMPLE, life_s=life_s)
    assert compare(case, whole, killed) > 20 * case.agents


@pytest.mark.torture
@pytest.mark.usefixtures("credentials")
def test_trainers_killed_two_hundred_times_end_as_if_they_never_were(
    tmp_path: Path, nursery: Nursery, weed_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 to 16 environments, an update a step and fewer, 1 to 4 agents, in a directory and on seaweedfs."""
    generator = random.Random(5)
    wholes = [directory(tmp_path / f"whole-{number}") for number in range(len(CASES))]
    lives_s = [left_alone(case, place, nursery) for case, place in zip(CASES, wholes, strict=True)]
    rows: dict[tuple[str, Case], list[int]] = {}
    kills = number = 0
    while kills < FULL:
        which, on_s3 = number % len(CASES), number // len(CASES) % 2 == 1
        folder = tmp_path / f"killed-{number}"
        place = on_weed(fresh_bucket(weed_server), folder) if on_s3 else directory(folder)
        most = min(20, FULL - kills)
        came = storm(CASES[which], place, nursery, generator, most=most, life_s=lives_s[which])
        compare(CASES[which], wholes[which], place)
        row = rows.setdefault(("seaweedfs" if on_s3 else "directory", CASES[which]), [0, 0, 0])
        for index, count in enumerate((1, came.kills, came.alone)):
            row[index] += count
        kills, number = kills + came.kills, number + 1
    with capsys.disabled():
        for (kind, case), (runs, killed, alone) in rows.items():
            sys.stdout.write(
                f"\n  {kind:10} {case.agents} agents, {case.num_envs:2} environments, "
                f"{case.updates_per_step:.3g} updates a step: "
                f"{killed:3} kills ({alone} of processes of their own) in {runs} runs, {runs} equal"
            )
        sys.stdout.write(
            f"\n{kills} SIGKILLs of the trainer: {number} of {number} runs equal to those left alone\n"
        )
