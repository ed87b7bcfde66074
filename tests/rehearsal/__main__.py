"""Rehearse the whole cloud on this computer: `python -m tests.rehearsal story`, or `chaos [CASE …]`.

Exit codes: 0 all as expected, or skipped with its reason; 1 not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

from tests.cloud.fake_aws import ROOT
from tests.rehearsal import baked, evidence, scenario, small_cloud
from tests.rehearsal.reference import Reference
from tests.rehearsal.report import Teller
from tests.rehearsal.small_cloud import Launcher
from tests.rehearsal.waiting import Waiting

KEPT_FOLDERS = 5
# Every wait has a bound of its own, stretched where the computer is busy; this one is for whatever was forgotten.
LIMIT_S = {"story": 2_400, "chaos": 4 * 3600}
PROGRAMS = ("podman", "ip", "nsenter", "setpriv", "ssh", "ssh-keygen", "journalctl")


def main() -> int:
    """Play what the command line names and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.rehearsal", description=__doc__)
    parser.add_argument("what", choices=("story", "chaos", "baked"))
    parser.add_argument("cases", nargs="*", help="chaos: only these")
    parser.add_argument("--plain", action="store_true", help="no colours, no moving parts")
    given = parser.parse_intermixed_args()
    if reason := missing():
        print(f"rehearsal skipped: {reason}")
        return 0
    try:
        root = baked.find()
    except baked.NotBaked as error:
        print(f"{error}: make ami-rehearsal bakes one")
        return 1
    if given.what == "baked":
        print(root.description)
        return 0
    # A rehearsal that is told to end takes its machines along; a shell's background jobs would not hear Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(LIMIT_S[given.what])
    folder = new_folder()
    tell = Teller(folder / "scenario.log", plain=given.plain)
    if given.what == "chaos":
        from tests.rehearsal import chaos

        return chaos.play(root, folder, tell, given.cases)
    return tell_story(root, folder, tell)


def _out_of_time(*_: object) -> None:
    signal.alarm(120)  # and again, should the taking down hang as well
    raise TimeoutError("the rehearsal has used up its time")


def missing() -> str:
    """Return why this computer cannot rehearse, empty where it can."""
    if os.geteuid() != 0:
        return "it makes network namespaces and containers, so it runs as root only"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)} (make system-packages)" if absent else ""


def tell_story(root: baked.Baked, folder: Path, tell: Teller) -> int:
    """Play the story; on any failure say which part said what, and where the rest is."""

    tell.head("The whole cloud on this computer: everything is real but Amazon.")
    (folder / "reference").mkdir()
    reference = Reference(root.image, folder / "reference")
    try:
        with small_cloud.small_cloud(root.image, folder, tell.hear) as cloud:
            cloud.configure(scenario.SETTINGS)
            scenario.draw_map(cloud.account.folder)
            launcher = Launcher(cloud, tell.hear)
            stage = scenario.Stage(cloud, root, launcher, tell, Waiting(cloud.ec2), reference)
            try:
                figures = scenario.play(stage)
            except (Exception, KeyboardInterrupt):
                tell.say(traceback.format_exc())
                for line in evidence.gather(cloud):
                    tell.say(line)
                raise
    except KeyboardInterrupt:
        tell.say("stopped; everything is taken down")
        return 1
    except Exception:  # noqa: BLE001 - told above, whatever it was
        tell.say(f"The story failed. All that was said: {folder}")
        return 1
    finally:
        reference.remove()
        left = small_cloud.leftovers()
        signal.alarm(0)
        if left:
            tell.say(f"LEFT BEHIND: {', '.join(left)}")
    tell.table(
        "Overheads on this computer",
        ["from", "to", "s"],
        [
            ["container boot", "cloud-init done", f"{figures.boot_to_cloud_init:.1f}"],
            ["container boot", "unit active", f"{figures.boot_to_unit:.1f}"],
            ["container boot", "first step", f"{figures.boot_to_step:.1f}"],
            ["spot notice", "final checkpoint committed", f"{figures.notice_to_committed:.1f}"],
            ["relaunch", "first new step", f"{figures.relaunch_to_step:.1f}"],
        ],
    )
    tell.say(f"The story is told, in {tell.elapsed_s:.0f} s; all that was said: {folder}")
    return 1 if left else 0


def new_folder() -> Path:
    """Return a fresh folder for what is said; the oldest ones go."""
    top = ROOT / ".cache" / "rehearsal"
    top.mkdir(parents=True, exist_ok=True)
    for old in sorted(top.iterdir())[:-KEPT_FOLDERS]:
        shutil.rmtree(old, ignore_errors=True)
    folder = top / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())
