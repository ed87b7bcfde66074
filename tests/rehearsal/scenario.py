"""The story: one run from nothing to nothing, interrupted in the middle. Each step is what a user does or sees."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.rehearsal import laptop
from tests.rehearsal.baked import Baked
from tests.rehearsal.machine import Machine
from tests.rehearsal.reference import Reference
from tests.rehearsal.report import Teller
from tests.rehearsal.small_cloud import Launcher, SmallCloud
from tests.rehearsal.waiting import Waiting, slowness
from training import layout
from training.cloud.aws.project import Project
from training.sim import Track
from training.store import documents
from training.store.checkpoint import load
from training.store.storage import Storage

RUN = "story"
KIND = "sac"
# The two minutes of a spot notice, shortened where the computer is quiet; the trainer keeps 25 s of them in reserve.
SHORT_NOTICE_S, REAL_NOTICE_S = 45.0, 120.0
SETTINGS: dict[str, Any] = {
    "training": {"preset": "cloud", "total_timesteps": 48_000, "save_frequency": 4_000, "seed": 1},
    "env": {"tracks": ["hall.yaml"]},  # a map of this computer
    "sac": {"net_arch": [64, 64], "learning_starts": 1_000},
    "evaluation": {"frequency": 12_000, "starts": 6, "tracks": ["generated-1001"]},
    "wandb": {"mode": "offline"},
}
INTERRUPT_AFTER = 12_000
# Long enough for a stop to come before the end.
TRIAL_STEPS = 6
TRIAL = ("--set", "training.total_timesteps=120000", "--set", "evaluation.frequency=0")


class Stage(NamedTuple):
    """What every phase works with."""

    cloud: SmallCloud
    baked: Baked
    launcher: Launcher
    tell: Teller
    wait: Waiting
    reference: Reference

    @property
    def scope(self) -> Project:
        return self.cloud.account.scope

    @property
    def storage(self) -> Storage:
        return self.cloud.account.storage

    @property
    def machines(self) -> list[Machine]:
        return list(self.cloud.ec2.machines.values())

    def pointer_step(self) -> int:
        """Return the step of the newest committed checkpoint, -1 before the first."""
        pointer = laptop.pointer(self.storage, RUN, KIND)
        return -1 if pointer is None else pointer.step

    def attempts(self) -> tuple[documents.Attempt, ...]:
        return documents.read_attempts(self.storage, RUN)


class Figures(NamedTuple):
    """What is measured, s."""

    boot_to_cloud_init: float
    boot_to_unit: float
    boot_to_step: float
    notice_to_committed: float
    relaunch_to_step: float


def play(stage: Stage) -> Figures:
    """Play it from the first to the last phase."""
    ami(stage)
    up(stage)
    visit = laptop.Visit(stage.cloud.key, lambda: stage.cloud.ec2.living)
    visit.start()
    try:
        launched = launch(stage)
        first = stage.machines[0]
        checkpoint(stage)
        committed = interruption(stage, first)
        relaunch_to_step = resume(stage, committed.step)
        reboot(stage)
        done(stage, launched)
    finally:
        visit.stop()
    look_inside(stage, visit)
    equality(stage)
    bring_home(stage)
    laps(stage)
    money(stage)
    trial(stage)
    down(stage)
    moments = first.moments()
    return Figures(
        moments.cloud_init_done - moments.begun,
        moments.unit_active - moments.begun,
        launched.took_s,
        committed.took_s,
        relaunch_to_step,
    )


# --- from nothing to the first step ---
def draw_map(folder: Path) -> None:
    """Leave a map in the folder of the settings, as its owner has it: a track made up by a seed, as image and csv."""
    track = Track.generate(1, name="hall")
    track.save(folder).rename(folder / "hall.yaml")


def ami(stage: Stage) -> None:
    with stage.tell.phase("ami") as details:
        stage.cloud.account.bake()
        details.append(f"{stage.baked.description}, registered with its tags")
        key = {"Name": layout.wandb_parameter_name(stage.scope.name), "Type": "SecureString"}
        stage.cloud.client("ssm").put_parameter(**key, Value="0" * 40)


def up(stage: Stage) -> None:
    with stage.tell.phase("up") as details:
        stage.launcher("up", "--yes")
        stage.launcher("doctor")
        sent = stage.cloud.s3.configuration[stage.scope.bucket]
        assert sent["publicAccessBlock"].count(b"true") == 4, sent["publicAccessBlock"]
        assert b"AES256" in sent["encryption"]
        assert b"BucketOwnerEnforced" in sent["ownershipControls"]
        assert b"AbortIncompleteMultipartUpload" in sent["lifecycle"]
        assert stage.scope.name.encode() in sent["tagging"]
        details.append(
            f"bucket {stage.scope.bucket}: private, encrypted, with a lifecycle; doctor is content"
        )


class Launched(NamedTuple):
    """What follows the launch, and how long it took from the machine's beginning to the first step, s."""

    command: subprocess.Popen[str]
    heard: threading.Thread
    took_s: float


def launch(stage: Stage) -> Launched:
    """Launch, and watch the machine until the first step."""
    with stage.tell.phase("train: first step") as details:
        process = stage.launcher.start("train", "--name", RUN, "--yes")
        told = threading.Thread(target=stage.launcher.finish, args=(process,), daemon=True)
        told.start()
        stage.wait.until(
            "the run's settings are in the store", lambda: laptop.has_config(stage.storage, RUN), 60
        )
        stage.reference.start(stage.storage, RUN)
        machine = stage.wait.until("a machine", lambda: next(iter(stage.machines), None), 60)
        stage.wait.until("the first step", lambda: machine.step > 0, 240, process, machine)
        took_s = time.monotonic() - machine.begun
        assert "compiled the simulator" not in machine.journal(), "the image's kernels were not taken"
        moments = machine.moments()
        details.append(
            f"cloud-init done after {moments.cloud_init_done - moments.begun:.1f} s, "
            f"unit active after {moments.unit_active - moments.begun:.1f} s, first step after {took_s:.1f} s"
        )
    return Launched(process, told, took_s)


def checkpoint(stage: Stage) -> None:
    with stage.tell.phase("checkpoint") as details:
        stage.wait.until(f"a checkpoint beyond step {INTERRUPT_AFTER:,}",
                         lambda: stage.pointer_step() >= INTERRUPT_AFTER, 180, alive=stage.machines[0])  # fmt: skip
        # No more is asked here: a quick computer is done in half a minute, and the notice must come before.
        details.append(f"step {stage.pointer_step():,} is safe in S3")


def look_inside(stage: Stage, visit: laptop.Visit) -> None:
    """TensorBoard through a tunnel, Weights & Biases on the machine's disk."""
    with stage.tell.phase("TensorBoard, W&B") as details:
        visit.join(60)
        assert any(RUN in name for name in visit.runs), f"TensorBoard showed {visit.runs or 'nothing'}"
        details.append(f"through SSH it showed {', '.join(visit.runs)} (Session Manager: only on AWS)")
        assert visit.files, "no offline files of Weights & Biases"
        details.append(f"offline files of W&B: {len(visit.files)}")


# --- the interruption ---
class Committed(NamedTuple):
    """The final checkpoint after a notice."""

    step: int
    took_s: float


def interruption(stage: Stage, machine: Machine) -> Committed:
    with stage.tell.phase("interruption notice") as details:
        begun = time.monotonic()
        notice_s = min(SHORT_NOTICE_S * slowness(), REAL_NOTICE_S)
        stage.cloud.ec2.interrupt(machine, notice_s)
        stage.wait.until(
            "the attempt's end is written", lambda: stage.attempts()[0].cause == "interrupted", notice_s
        )
        swaps = [
            request.at + request.took_s
            for request in stage.cloud.s3.requests
            if request.method == "PUT" and request.at > begun and request.client == machine.address
            and layout.pointer_key(RUN, KIND) in request.path and request.status == 200
        ]  # fmt: skip
        assert swaps, "no checkpoint was committed after the notice"
        committed = Committed(stage.pointer_step(), max(swaps) - begun)
        assert stage.attempts()[0].last_step == committed.step
        details.append(
            f"final checkpoint at step {committed.step:,}, {committed.took_s:.1f} s after the notice"
        )
    with stage.tell.phase("kill, relaunch") as details:
        assert f"run         {RUN}: running" in stage.launcher("status", RUN, quiet=True)
        asked = stage.launcher("tensorboard", RUN, "--print", quiet=True)
        assert "AWS-StartPortForwardingSession" in asked
        assert machine.is_on, "the machine ended itself: the refund of a first hour would be forgone"
        stage.wait.until("the machine is taken away", lambda: not machine.is_on, REAL_NOTICE_S + 30)
        stage.wait.until("the fleet's next machine", lambda: len(stage.machines) > 1, 30)
        details.append(f"the fleet brought {stage.machines[1].instance.id}")
    return committed


def resume(stage: Stage, step: int) -> float:
    """Follow the second machine to its first new step; return the seconds from its beginning to it."""
    with stage.tell.phase("resume") as details:
        machine = stage.machines[1]
        stage.wait.until("the first new step", lambda: machine.step > step, 240, alive=machine)
        took_s = time.monotonic() - machine.begun
        machine.moments()
        attempt = stage.attempts()[1]
        assert attempt.first_step == step, f"resumed at {attempt.first_step}, saved at {step}"
        assert attempt.instance_id == machine.instance.id
        details.append(f"at step {step:,}, none lost; first new step {took_s:.1f} s after the relaunch")
    return took_s


def reboot(stage: Stage) -> None:
    """The second machine boots again: its user data runs again, and the run goes on where it was saved."""
    with stage.tell.phase("reboot") as details:
        machine = stage.machines[1]
        begun = time.monotonic()
        stage.cloud.ec2.reboot(machine)
        stage.wait.until("the third attempt", lambda: len(stage.attempts()) > 2, 240, alive=machine)
        saved = stage.attempts()[1]
        assert saved.cause == "terminated", f"the reboot was a {saved.cause}"
        stage.wait.until("a new step", lambda: machine.step > saved.last_step, 240, alive=machine)
        attempt = stage.attempts()[2]
        assert attempt.instance_id == machine.instance.id
        assert attempt.first_step == saved.last_step, f"at {attempt.first_step}, saved at {saved.last_step}"
        took_s = time.monotonic() - begun
        details.append(
            f"user data ran again; at step {attempt.first_step:,}, none lost; new step {took_s:.1f} s later"
        )


# --- the end ---
def done(stage: Stage, launched: Launched) -> None:
    with stage.tell.phase("done") as details:
        machine = stage.machines[1]
        stage.wait.until("the run is done", lambda: laptop.state(stage.storage, RUN) == "done", 300)
        stage.wait.until("the machine is off", lambda: not machine.is_on, 90)
        stage.wait.until(
            "the fleet is deleted", lambda: set(stage.cloud.ec2.fleet_states().values()) == {"deleted"}, 30
        )
        assert len(stage.machines) == 2, "a machine was started for a run that is done"
        launched.heard.join(60)
        assert launched.command.poll() == 0, f"./launch.py train ended with {launched.command.poll()}"
        assert f"run         {RUN}: done" in stage.launcher("status", RUN, quiet=True)
        details.append(f"step {stage.pointer_step():,}; status done, fleet deleted, machine off by itself")


def equality(stage: Stage) -> None:
    with stage.tell.phase("equality") as details:
        expected = stage.reference.digests()
        found = laptop.digests(load(stage.storage, RUN, KIND))
        assert found.keys() == expected.keys(), (sorted(found), sorted(expected))
        differing = [name for name in found if found[name] != expected[name]]
        assert not differing, f"not as in the uninterrupted run: {', '.join(differing)}"
        details.append(
            f"{len(found)} parts of the final checkpoint equal an uninterrupted run's, bit for bit"
        )


def bring_home(stage: Stage) -> None:
    with stage.tell.phase("fetch") as details:
        files = stage.launcher("fetch", RUN, quiet=True).split()
        sizes = {Path(name).name: (stage.cloud.account.folder / name).stat().st_size for name in files}
        assert any(name.endswith(".zip") for name in sizes), sizes
        assert {"hall.yaml", "hall.png", "hall_centerline.csv"} <= sizes.keys(), (
            "the run's own map comes home"
        )
        details.append(", ".join(f"{name} {size / 1000:.0f} kB" for name, size in sizes.items()))


def laps(stage: Stage) -> None:
    with stage.tell.phase("evaluate") as details:
        rows = laptop.evaluate(stage.cloud.account, RUN, tracks=(), laps=10)
        assert [row["track"] for row in rows] == ["hall", "generated-1001"]
        details += [f"{row['track']}: {row['completed']} of {row['starts']} laps" for row in rows]


def money(stage: Stage) -> None:
    with stage.tell.phase("cost") as details:
        figures = json.loads(stage.launcher("cost", RUN, "--json", quiet=True))
        assert figures["attempts"] == 3
        details.append(
            f"{figures['paid_hours'] * 3600:.0f} s paid in 3 attempts, {figures['s3_writes']} writes to S3"
        )


def trial(stage: Stage) -> None:
    """What a user types before the first run on AWS, on two machines of its own."""
    with stage.tell.phase("train --trial") as details:
        before = len(stage.machines)
        said = stage.launcher("train", "--trial", "--yes", *TRIAL)
        _, table = said.split("  after  seen", 1)
        rows = [line for line in table.splitlines()[1:] if line.strip()]
        assert len(rows) == TRIAL_STEPS, said
        assert all(row.startswith("works ") for row in rows), said
        assert len(stage.machines) == before + 2, "one machine for each of its launches"
        stage.wait.until("the trial's machines are off", lambda: not stage.cloud.ec2.living, 90)
        details.extend(row.removeprefix("works").strip() for row in rows)


def down(stage: Stage) -> None:
    with stage.tell.phase("down, gc") as details:
        stage.launcher("down", "--data", "--images", "--yes")
        assert "0 found" in stage.launcher("gc", quiet=True)
        assert not stage.cloud.ec2.living
        details.append("gc finds nothing")
