"""Prove an account: `doctor --probe` asks EC2 by dry runs, `train --trial` takes a small run the whole way."""

from __future__ import annotations

from pathlib import Path

from training.cloud.aws.probe import ask_all
from training.cloud.launch import trial
from training.cloud.manner import Manner, answer, ask, say, show, table
from training.cloud.site import Site
from training.errors import UsageError

TRIAL_SETTINGS = trial.SETTINGS


def check_words(*others: object) -> None:
    """Raise UsageError where the command line names what a trial chooses itself: its run or its limits."""
    if any(other is not None for other in others):
        raise UsageError("--trial names its run and its limits itself", next_step="Leave the rest out.")


def probe(site: Site, manner: Manner) -> int:
    """Print what EC2 itself would let the caller do; return 1 where it denies something or its answer is unknown."""
    marks = {"allowed": "ok", "not asked": "--", "denied": "NO", "unknown": "??"}
    answers = []
    for one in ask_all(site.cloud, site.scope):
        answers.append(one)
        if not manner.json:
            answer(f"{marks[one.verdict]}  {one.part:12} {one.action:36} {one.verdict} {one.detail}".rstrip())
    if manner.json:
        show([one._asdict() for one in answers])
    elif any(one.verdict == "denied" for one in answers):
        answer("\nThe policies that allow these: ./launch.py doctor --policy")
    return 0 if all(one.verdict in {"allowed", "not asked"} for one in answers) else 1


def try_out(site: Site, root: Path, manner: Manner) -> int:
    """Take a small run the whole way through AWS and print what worked; return 1 where something did not."""
    one = trial.Trial(site, root, Path(), say)
    trial.check(one)
    say(
        f"trial      {one.run} in {site.scope.region}: launch, stop, resume, end, fetch; about 10 minutes\n"
        f"ends       by {one.until:%Y-%m-%d %H:%M} UTC, whatever happens\n"
        f"cannot cost more than ${one.cap_usd:.3f}: {trial.MINUTES} minutes on demand; plus cents for disk and bucket"
    )
    if manner.dry_run:
        show({"run": one.run, "cap_usd": one.cap_usd, "valid_until": one.until, "steps": list(one.steps())})
        return 0
    ask("Launch?", manner)
    outcomes = trial.carry_out(one)
    if manner.json:
        show([outcome._asdict() for outcome in outcomes])
    else:
        rows = [
            [outcome.result, outcome.step, f"{outcome.at_s:.0f} s", outcome.detail] for outcome in outcomes
        ]
        table(f"{one.run}", ["", "step", "after", "seen"], rows)
    if all(outcome.ok for outcome in outcomes):
        return 0
    say("What to send us: docs/first-run.md")
    return 1
