"""Two instances at once on a real S3 server: exactly one lineage, and the other one knows that it lost."""

from __future__ import annotations

import sys
import threading

import pytest

from tests.store.scenario import KIND, contents_at
from tests.support.servers import Bucket
from training.errors import Fenced
from training.store.checkpoint import RunWriter, claim, load
from training.store.documents import Attempt, begin_attempt
from training.store.fencing import read_pointer
from training.store.manifest import utc_now
from training.store.open import open_store
from training.store.restore import NoCheckpoint

FEW, ALL = 10, 100
MOST_COMMITS = 500


class Outcome:
    """What one writer saw: the checkpoints whose commit returned, and whether it was fenced."""

    def __init__(self) -> None:
        self.uuids: list[str] = []
        self.fenced = False
        self.error: Exception | None = None


def commit_until_fenced(lineage: RunWriter, step: int, outcome: Outcome, other: Outcome) -> None:
    """Commit again and again until another attempt takes the run, or knows that we took it."""
    while len(outcome.uuids) < MOST_COMMITS and not (other.fenced and len(outcome.uuids) >= 3):
        step += 100
        try:
            outcome.uuids.append(lineage.commit(step, contents_at(step, [])).uuid)
        except Fenced:
            outcome.fenced = True
            return


def race(bucket: Bucket, run: str, *, old_is_there: bool) -> list[Outcome]:
    """Let an old writer commit while a new one claims; or let two new ones claim at the same time."""
    outcomes = [Outcome(), Outcome()]
    start = threading.Barrier(2)

    def boot() -> RunWriter:
        storage = open_store(bucket.url, bucket.aws)
        attempt = begin_attempt(
            storage, run, Attempt(number=1, boot_id=threading.current_thread().name, started_at=utc_now())
        )
        # The replacement's fleet may have the old machine still: both may run as the same attempt.
        number = 1 if not old_is_there else attempt.number
        return claim(storage, run, KIND, number, workers=2)

    def write(me: int, lineage: RunWriter | None) -> None:
        try:
            start.wait(30)
            lineage = lineage or boot()
            step = newest_step(lineage)
            commit_until_fenced(lineage, step, outcomes[me], outcomes[1 - me])
        except Fenced:
            outcomes[me].fenced = True
        except Exception as error:  # noqa: BLE001 - raised again below, in the test's thread
            outcomes[me].error = error

    old = boot() if old_is_there else None
    threads = [threading.Thread(target=write, args=(0, old)), threading.Thread(target=write, args=(1, None))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return outcomes


def newest_step(lineage: RunWriter) -> int:
    try:
        return lineage.load().step
    except NoCheckpoint:
        return 0


def check_one_lineage(bucket: Bucket, run: str, outcomes: list[Outcome]) -> None:
    """Every commit that returned is in one chain, and the chain is sound; at most one writer is left."""
    storage = open_store(bucket.url, bucket.aws)
    seen = read_pointer(storage, run, KIND)
    assert seen is not None
    newest = load(storage, run, KIND)
    assert not newest.skipped
    chain, ref = [], newest.ref
    while ref is not None:
        chain.append(ref.uuid)
        manifest = load(storage, run, KIND, at_step=ref.step, verify=False).manifest
        assert manifest.uuid == ref.uuid, "two checkpoints at one step"
        ref = manifest.base  # type: ignore[assignment]
    returned = {uuid for outcome in outcomes for uuid in outcome.uuids}
    assert returned <= set(chain), "a commit that returned is in no lineage"
    assert len(chain) == len(set(chain))
    assert [outcome.fenced for outcome in outcomes].count(False) == 1, "both or neither were fenced"


def run_races(bucket: Bucket, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    commits = 0
    for number in range(count):
        outcomes = race(bucket, f"race-{number}", old_is_there=number % 2 == 0)
        check_one_lineage(bucket, f"race-{number}", outcomes)
        commits += sum(len(outcome.uuids) for outcome in outcomes)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{count} races of two writers on seaweedfs, {commits} commits: one lineage each\n"
        )


def test_of_two_writers_one_wins_and_the_other_knows(
    weed_url: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    run_races(weed_url, FEW, capsys)


@pytest.mark.torture
def test_a_hundred_races_have_one_winner_each(weed_url: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    run_races(weed_url, ALL, capsys)
