"""Several writers at one store, one store call at a time, in an order drawn from a seed.

The network loses requests and replies and delivers some requests long after their sender gave up;
machines die and come back. After every change of the pointer the invariants of the protocol are checked.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from typing import NamedTuple

from tests.store.memory import (
    Call,
    Crash,
    Fault,
    FaultyStorage,
    MemoryStorage,
    crash_after,
    crash_before,
    lost_reply,
    unavailable,
)
from tests.store.scenario import KIND, RUN, contents_at, instant_policy
from training import layout
from training.errors import Fenced
from training.store.checkpoint import RunWriter, claim, load
from training.store.documents import Attempt, begin_attempt
from training.store.manifest import MAX_RECENT, Pointer, decode_pointer, utc_now
from training.store.prune import make_plan, sweep
from training.store.restore import NoCheckpoint
from training.store.retry import RetryingStorage
from training.store.segments import PendingSegment, Target
from training.store.storage import StoreError, Unavailable

POINTER_KEY = layout.pointer_key(RUN, KIND)
PATIENCE_S = 60.0  # a writer that posts nothing for this long hangs: fail instead of waiting


Program = Callable[[RetryingStorage, random.Random], None]


class Chances(NamedTuple):
    """How often, out of a hundred calls, each thing goes wrong."""

    lost_request: int = 4
    lost_reply: int = 5
    delayed: int = 5
    crash_before: int = 1
    crash_after: int = 2


class Actor:
    """A writer in a thread of its own, which runs only while the schedule lets it."""

    def __init__(
        self, world: World, name: str, program: Callable[[RetryingStorage, random.Random], None]
    ) -> None:
        self.name = name
        self.call: Call | None = None
        self.act: Callable[[], object] = lambda: None
        self.fault: Fault | None = None
        self.error: BaseException | None = None
        self.finished = False
        self.fenced = False
        self._go = threading.Semaphore(0)
        self._posted = threading.Semaphore(0)
        storage = RetryingStorage(FaultyStorage(world.storage, lambda *_: self._post), instant_policy())
        generator = random.Random(f"{world.seed}-{name}")
        self._thread = threading.Thread(target=self._run, args=(program, storage, generator), daemon=True)

    def start(self) -> None:
        """Run to the first store call."""
        self._thread.start()
        self._wait()

    def resume(self, fault: Fault | None) -> None:
        """Carry out the call that was posted, with a fault or without, and run to the next one."""
        self.fault = fault
        self._go.release()
        self._wait()

    def _post(self, call: Call, act: Callable[[], object]) -> object:
        self.call, self.act = call, act
        self._posted.release()
        self._go.acquire()
        return act() if self.fault is None else self.fault(call, act)

    def _run(
        self,
        program: Program,
        storage: RetryingStorage,
        generator: random.Random,
    ) -> None:
        try:
            program(storage, generator)
        except Fenced:
            self.fenced = True
        except (StoreError, Crash):
            pass  # how an attempt may end, too
        except BaseException as error:  # noqa: BLE001 - shown by the schedule, with its seed
            self.error = error
        self.finished = True
        self._posted.release()

    def _wait(self) -> None:
        if not self._posted.acquire(timeout=PATIENCE_S):
            raise AssertionError(f"{self.name} hangs after {self.call}")


class World:
    """One seed: a store, its writers, requests under way, and what was promised to whom."""

    def __init__(self, seed: int, *, writers: int, pruner: bool, chances: Chances | None = None) -> None:
        self.seed = seed
        self.storage = MemoryStorage()
        self.chances = chances or Chances()
        self.generator = random.Random(seed)
        self.promised: list[str] = []
        self.added: list[str] = []
        self.late: list[Callable[[], object]] = []
        self.pointer: Pointer | None = None
        self.calls = 0
        self.fenced = 0
        self.waiting = [Actor(self, f"writer-{number}", self.write) for number in range(writers)]
        if pruner:
            self.waiting.append(Actor(self, "pruner", prune))
        self.running: list[Actor] = []

    def run(self) -> None:
        """Let everything happen, in the order of the seed, then check that the run goes on."""
        while self.waiting or self.running or self.late:
            self._one_event()
            self._check_pointer()
        unkept = set(self.promised) - set(self.added)
        assert not unkept, f"commits returned but never were: {unkept}"
        if self.pointer is not None:
            lineage = claim(self.storage, RUN, KIND, 10**6, workers=1)
            step = _resume(lineage)[0]
            lineage.commit(step + 100, contents_at(step + 100, []))
            assert load(self.storage, RUN, KIND, workers=1).step == step + 100

    def write(self, storage: RetryingStorage, generator: random.Random) -> None:
        """Live as an attempt does: boot, claim, resume, then upload and commit a few times."""
        boot = Attempt(number=1, boot_id=f"{generator.random()}", started_at=utc_now())
        # Now and then two processes run as one attempt: the trainer restarted, the old one still there.
        attempt = 1 if generator.random() < 0.3 else begin_attempt(storage, RUN, boot).number
        lineage = claim(storage, RUN, KIND, attempt, workers=1)
        step, segments = _resume(lineage)
        for _ in range(generator.randint(1, 4)):
            step += 100
            pending = PendingSegment(
                Target(storage, RUN, lineage.epoch),
                "car",
                (step - 100, step - 1),
                lambda step=step: b"%d" % step,
            )
            pending.upload()
            segments.append(pending)
            try:
                milestone = generator.random() < 0.2
                ref = lineage.commit(step, contents_at(step, segments), milestone=milestone)
            except StoreError:
                continue
            self.promised.append(ref.uuid)

    def _one_event(self) -> None:
        roll = self.generator.random()
        if self.late and (roll < 0.15 or not (self.waiting or self.running)):
            act = self.late.pop(self.generator.randrange(len(self.late)))
            with contextlib.suppress(StoreError):  # nobody is there to hear it
                act()
            return
        if self.waiting and (roll < 0.3 or not self.running):
            actor = self.waiting.pop(0)
            actor.start()
            self.running.append(actor)
        else:
            actor = self.generator.choice(self.running)
            self.calls += 1
            actor.resume(self._fault())
        if actor.finished:
            self.running.remove(actor)
            self.fenced += actor.fenced
            if actor.error is not None:
                raise actor.error

    def _fault(self) -> Fault | None:
        roll = self.generator.randrange(100)
        for name, chance in self.chances._asdict().items():
            if roll < chance:
                return {
                    "lost_request": unavailable,
                    "lost_reply": lost_reply,
                    "delayed": self._delay,
                    "crash_before": crash_before,
                    "crash_after": crash_after,
                }[name]
            roll -= chance
        return None

    def _delay(self, call: Call, act: Callable[[], object]) -> object:
        if call.is_write:
            self.late.append(act)
        raise Unavailable("no answer in time")

    def _check_pointer(self) -> None:
        if POINTER_KEY not in self.storage.objects:
            assert self.pointer is None, "the pointer vanished"
            return
        now = decode_pointer(self.storage.objects[POINTER_KEY][0], POINTER_KEY)
        before = self.pointer
        if before is not None and now.nonce == before.nonce:
            return
        self.pointer = now
        old = before.checkpoints if before else ()
        if before is not None and now.claim != before.claim:
            assert now.claim.epoch == before.claim.epoch + 1, "a claim skipped or repeated an epoch"
            assert now.claim.attempt >= before.claim.attempt, "an older attempt took the run"
            assert now.checkpoints == old, "a claim changed the history"
        elif before is not None:
            assert now.checkpoints[1:] == old[: MAX_RECENT - 1], (
                "a commit did not continue the newest checkpoint"
            )
            assert now.checkpoints[0].epoch == now.claim.epoch, "a commit under another epoch than its claim"
            self.added.append(now.checkpoints[0].uuid)
        if now.checkpoint is not None:
            sound = load(self.storage, RUN, KIND, workers=1)
            assert not sound.skipped, f"the pointer names a damaged checkpoint: {sound.skipped}"


def prune(storage: RetryingStorage, generator: random.Random) -> None:
    """Prune now and then, as an impatient person with a laptop does."""
    for _ in range(generator.randint(1, 3)):
        try:
            sweep(storage, make_plan(storage, RUN, 2))
        except StoreError:
            continue


def _resume(lineage: RunWriter) -> tuple[int, list[object]]:
    try:
        checkpoint = lineage.load()
    except NoCheckpoint:
        return 0, []
    return checkpoint.step, [*checkpoint.manifest.segments]
