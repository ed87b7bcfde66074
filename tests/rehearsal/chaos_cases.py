"""What chaos does to a run. Each case launches one, breaks it in its own way, and checks the end that it must have."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from tests.rehearsal import laptop
from tests.rehearsal.machine import TRAINING, Machine
from tests.rehearsal.small_cloud import Launcher, SmallCloud
from tests.rehearsal.waiting import Waiting, slowness
from training import layout
from training.store import documents
from training.store.storage import Storage

KIND = "sac"
SAVE_EVERY = 4_000
# Long enough for a save here, short enough that 14 cases end; a real notice is two minutes.
NOTICE_S = 45.0
END_S = 420.0  # from the last blow to the end of a run, on a quiet computer


class Play:
    """One case at work: its run, its machines, and the steps that were lost."""

    def __init__(self, cloud: SmallCloud, launcher: Launcher, wait: Waiting, name: str, before: int) -> None:
        self.cloud, self.launcher, self.wait = cloud, launcher, wait
        self.run, self._before = f"chaos-{name}", before

    @property
    def machines(self) -> list[Machine]:
        return list(self.cloud.ec2.machines.values())[self._before :]

    @property
    def living(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.is_on]

    @property
    def storage(self) -> Storage:
        return self.cloud.account.storage

    @property
    def state(self) -> str:
        return laptop.state(self.storage, self.run)

    @property
    def committed(self) -> int:
        pointer = laptop.pointer(self.storage, self.run, KIND)
        return -1 if pointer is None else pointer.step

    @property
    def attempts(self) -> tuple[documents.Attempt, ...]:
        return documents.read_attempts(self.storage, self.run)

    @property
    def lost(self) -> str:
        """Return how many steps were made and not kept, as far as the machines told."""
        rows = self.attempts
        pairs = itertools.pairwise(rows)
        return str(sum(max(0, self._reached.get(a.instance_id, 0) - b.first_step) for a, b in pairs))

    _reached: dict[str, int] = {}  # noqa: RUF012 - by instance, which no two cases share

    # --- what a case does ---
    def launch(self) -> None:
        self.launcher("train", "--name", self.run, "--yes", "--detach")

    def machine(self, number: int) -> Machine:
        """Return the run's machine of this number, from 1, as soon as it boots."""
        return self.wait.until(f"machine {number}", lambda: (self.machines[number - 1 :] or [None])[0], 120)

    def until(self, what: str, look: Callable[[], Any], within_s: float = 240.0) -> Any:
        return self.wait.until(what, look, within_s)

    def steps(self, machine: Machine, more_than: int = 0) -> int:
        """Wait until a machine has made steps; return how many."""
        return int(self.until("the first steps", lambda: machine.step > more_than and machine.step))

    def interrupt(self, machine: Machine) -> None:
        """Give notice, and wait until the machine is gone."""
        self.cloud.ec2.interrupt(machine, NOTICE_S * min(slowness(), 120 / NOTICE_S))
        self._gone(machine)

    def take_away(self, machine: Machine) -> None:
        self._reached[machine.instance.id] = max(machine.step, 0)
        self.cloud.ec2.take_away(machine)
        self._gone(machine)

    def _gone(self, machine: Machine) -> None:
        def gone() -> bool:
            before = self._reached.get(machine.instance.id, 0)
            self._reached[machine.instance.id] = max(before, machine.step if machine.is_on else 0)
            return not machine.is_on

        self.until("the machine is taken away", gone, 150)

    def ends(self, state: str, *, boots: int | None = None) -> None:
        """Expect the run's end: its state, nothing left of fleet and machines, so many boots."""
        self.until(f"the run is {state}", lambda: self.state == state, END_S)
        self.nothing_runs()
        if boots is not None:
            assert len(self.machines) == boots, f"{len(self.machines)} boots, not {boots}"
        if state == "done":
            assert self.committed == 16_000, f"done at step {self.committed}"

    def nothing_runs(self, within_s: float = 120.0) -> None:
        # The fleet first: between two of its machines none is left either.
        fleets = self.cloud.ec2.fleet_states
        self.until("the fleet is deleted", lambda: "active" not in fleets().values(), within_s)
        self.until("no machine is left", lambda: self.machines and not self.living, 60)


Case = Callable[[Play], None]


def _asked_for_bundle(play: Play, machine: Machine) -> bool:
    requests = list(play.cloud.s3.requests)
    return any(one.client == machine.address and "/scripts/" in one.path for one in requests)


def interrupted_at_boot(play: Play) -> None:
    play.launch()
    play.interrupt(play.machine(1))
    play.ends("done")


def interrupted_in_cloud_init(play: Play) -> None:
    play.launch()
    machine = play.machine(1)
    play.until("cloud-init asks", lambda: any("user-data" in line for line in machine.metadata_requests()))
    play.take_away(machine)
    play.ends("done", boots=2)


def interrupted_at_the_bundle(play: Play) -> None:
    play.launch()
    machine = play.machine(1)
    play.until("it fetches the code", lambda: _asked_for_bundle(play, machine))
    play.take_away(machine)
    play.ends("done", boots=2)


def interrupted_at_import(play: Play) -> None:
    play.launch()
    machine = play.machine(1)
    play.until(
        "the unit starts",
        lambda: machine.show(TRAINING, "ActiveState").get("ActiveState") == "activating",
    )
    play.take_away(machine)
    play.ends("done", boots=2)


def interrupted_at_restore(play: Play) -> None:
    play.launch()
    play.until("a checkpoint", lambda: play.committed >= SAVE_EVERY, 420)
    play.take_away(play.machine(1))
    second = play.machine(2)
    play.until("the second attempt is claimed", lambda: len(play.attempts) == 2)
    play.take_away(second)
    play.ends("done", boots=3)
    assert play.attempts[-1].first_step >= SAVE_EVERY


def interrupted_in_first_steps(play: Play) -> None:
    play.launch()
    machine = play.machine(1)
    play.steps(machine)
    play.interrupt(machine)
    play.ends("done", boots=2)
    assert play.attempts[1].first_step > 0, "what was made before the notice is lost"


def killed_in_mid_upload(play: Play) -> None:
    play.launch()
    machine = play.machine(1)
    play.until(
        "a part of a checkpoint goes up",
        lambda: play.committed >= SAVE_EVERY and any(
            one.client == machine.address and one.method in {"PUT", "POST"} and time.monotonic() - one.at < 1.0
            and f"{play.run}/checkpoints/" in one.path
            for one in play.cloud.s3.requests[-20:]
        ),
        420,
    )  # fmt: skip
    play.take_away(machine)
    play.ends("done", boots=2)
    assert play.attempts[1].first_step >= SAVE_EVERY


def interrupted_at_the_end(play: Play) -> None:
    play.launch()
    machine = play.machine(1)
    play.until("the last checkpoint", lambda: play.committed == 16_000, END_S)
    play.cloud.ec2.interrupt(machine, 20.0)
    play.ends("done")


def killed_without_notice(play: Play) -> None:
    play.launch()
    machine = play.machine(1)
    play.until("a checkpoint", lambda: play.committed >= SAVE_EVERY, 420)
    play.take_away(machine)
    play.ends("done", boots=2)
    assert int(play.lost) <= SAVE_EVERY + 1_000, f"{play.lost} steps lost"


def s3_fails_and_is_slow(play: Play) -> None:
    """A third of the machines' requests fail or take two seconds longer."""
    count = iter(range(10**9))

    def spoil(client: str, _: str) -> int:
        if client == play.cloud.net.address:
            return 0
        number = next(count) % 6
        if number == 1:
            time.sleep(2.0)
        return 503 if number == 4 else 0

    play.cloud.s3.spoil = spoil
    play.launch()
    play.ends("done", boots=1)


def metadata_gone(play: Play) -> None:
    play.launch()
    machine = play.machine(1)
    play.steps(machine)
    machine.silence_metadata()
    play.until("the run is done", lambda: play.state == "done", END_S)
    # Without metadata it has no fresh credentials to delete its fleet; it powers off, and its status ends the next.
    machine.restore_metadata()
    play.ends("done")


def disk_full(play: Play) -> None:
    """The trainer's directories get a small disk of their own, which is full from the first steps on."""
    directories = ("/var/lib/f1tenth", "/var/cache/f1tenth")

    def small_disks(machine: Machine) -> None:
        for directory in directories:
            machine.run("mount", "-t", "tmpfs", "-o", "size=64m", "small", directory)

    play.cloud.ec2.on_boot = small_disks
    play.launch()
    machine = play.machine(1)
    play.steps(machine)
    for directory in directories:
        machine.run("sh", "-c", f"cat /dev/zero >{directory}/filling; true")
        left = machine.run("df", "--output=avail", directory).split()[-1:]
        assert left == ["0"], f"{directory} has {left} KiB left"
    play.ends("done", boots=1)


def zombie(play: Play) -> None:
    """A machine that stood still, and was replaced, wakes while its successor trains: it must change nothing."""
    play.launch()
    first = play.machine(1)
    play.until("a checkpoint", lambda: play.committed >= SAVE_EVERY, 420)
    first.freeze()
    play.cloud.ec2.lose(first)
    play.machine(2)
    play.until("the second attempt is claimed", lambda: len(play.attempts) == 2, 420)
    since = play.committed
    play.until("its successor has saved", lambda: play.committed > since, 420)
    first.freeze(thaw=True)
    play.until("the zombie is off", lambda: not first.is_on, 240)
    play.ends("done", boots=2)
    assert len(play.attempts) == 2, f"{len(play.attempts)} attempts: it claimed the run back"


def crash_loop(play: Play) -> None:
    """The trainer dies by SIGKILL whenever it begins: the machine gives up, and so does the run."""
    play.launch()

    def strike() -> bool:
        for machine in play.living:
            pid = machine.show(TRAINING, "MainPID").get("MainPID", "0")
            if pid != "0":
                machine.run("kill", "-KILL", pid)
        return play.state == "failed"

    play.until("the run has failed", strike, 900)
    play.nothing_runs()
    assert len(play.machines) <= 3, f"{len(play.machines)} boots"


def bucket_out_of_reach(play: Play) -> None:
    """No machine reaches S3, each reaches EC2: none is counted in the bucket, and the third ends the fleet."""

    def give_up_soon(machine: Machine) -> None:
        machine.run("sed", "-i", "s/^S3_PATIENCE_S = .*/S3_PATIENCE_S = 30/", "/usr/local/bin/f1tenth-fetch")

    laptop_at = play.cloud.net.address
    play.cloud.ec2.on_boot = give_up_soon
    play.cloud.s3.spoil = lambda client, _: 0 if client == laptop_at else 503
    play.launch()
    play.nothing_runs(1_200)
    assert len(play.machines) == 3, f"{len(play.machines)} boots"
    assert not play.attempts
    assert "deleted fleet-" in play.machines[-1].journal("--unit=f1tenth-fleet-check.service")


def finish_that_cannot_run(play: Play) -> None:
    """As with code that neither trainer nor finish program can import: the fleet's history counts what they cannot."""

    def spoil_python(machine: Machine) -> None:
        machine.run("sh", "-c", "echo PYTHONHOME=/nonexistent >>/etc/f1tenth/python.env")

    play.cloud.ec2.on_boot = spoil_python
    play.launch()
    play.nothing_runs(1_800)
    assert len(play.machines) == 3, f"{len(play.machines)} boots"
    assert not play.attempts


def expired_budget(play: Play) -> None:
    play.launch()
    play.steps(play.machine(1))
    fleets = play.cloud.ec2.fleet_states()
    play.cloud.ec2.expire(next(name for name, state in fleets.items() if state == "active"))
    play.nothing_runs()
    assert len(play.machines) == 1


def tampered_bundle(play: Play) -> None:
    def tamper(_: Machine) -> None:
        s3 = play.storage
        settings = json.loads(s3.get(layout.fleet_key(play.run), max_bytes=1 << 20).data)
        digest = next(value for value in _strings(settings) if len(value) == 64)
        play.cloud.account.cloud.client("s3").put_object(
            Bucket=play.cloud.account.scope.bucket,
            Key=layout.script_bundle_key(digest),
            Body=b"not what was sent",
        )

    play.cloud.ec2.on_boot = tamper
    play.launch()
    play.nothing_runs(300)
    assert "sha256 is" in play.machines[0].journal(), "it did not say why"
    assert not play.attempts, "it trained"
    assert len(play.machines) == 1
    status = documents.read_status(play.storage, play.run)
    assert status is not None
    assert status.state == "failed", status
    assert "sha256 is" in status.reason


def two_laptops(play: Play) -> None:
    play.launch()
    said = play.launcher("train", "--name", play.run, "--yes", "--detach", expect=None, quiet=True)
    assert "done    fleet" not in said, said
    assert sum(state == "active" for state in play.cloud.ec2.fleet_states().values()) == 1
    play.ends("done", boots=1)


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _strings(inner)]
    return [value] if isinstance(value, str) else []


CASES: dict[str, Case] = {
    "boot": interrupted_at_boot,
    "cloud-init": interrupted_in_cloud_init,
    "bundle": interrupted_at_the_bundle,
    "import": interrupted_at_import,
    "restore": interrupted_at_restore,
    "first-steps": interrupted_in_first_steps,
    "mid-upload": killed_in_mid_upload,
    "finishing": interrupted_at_the_end,
    "no-notice": killed_without_notice,
    "s3-errors": s3_fails_and_is_slow,
    "imds-gone": metadata_gone,
    "disk-full": disk_full,
    "zombie": zombie,
    "crash-loop": crash_loop,
    "no-bucket": bucket_out_of_reach,
    "no-finish": finish_that_cannot_run,
    "expired": expired_budget,
    "tampered": tampered_bundle,
    "two-laptops": two_laptops,
}
