"""`train --trial`: the whole way through AWS once, on the smallest machines, within 20 minutes and five cents.

A run is launched, stopped with a checkpoint, resumed, trained to its end and brought home, by the same functions as any
other run. The end date of both launches is the same, and the first fleet is gone before the second is created, so the
greatest cost follows from that date and the dearest on-demand price.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from ... import layout
from ...errors import TrainingError, UsageError
from ...store.storage import Storage
from ..aws import inventory
from ..aws.aws_errors import CloudError
from ..aws.project import Project
from ..cleanup import leaks, stop
from ..console.output import OutputOptions, ask, say, show, table
from ..console.wait_notices import WaitReporter
from ..context import CommandContext
from ..launch_record import ENDS
from ..watch.fetch_run import fetch_results
from ..watch.run_status import RunStatus, read_run_status
from . import follow, launch
from .arguments import Options
from .basis import read_basis

MINUTES, MOST_USD = 20, 0.05
# x86, 2 vCPUs, 4 or 8 GB.
TYPES = ("c7a.large", "c7i.large", "m7a.large", "m7i.large")
SETTINGS = (
    f"aws.instance_types=[{','.join(TYPES)}]",
    f"aws.max_hours={MINUTES / 60:.6f}",
    f"aws.max_cost_usd={MOST_USD}",
    "training.preset=local",
    "training.max_minutes=2",  # whatever the user's own runs take
    "env.tracks=[kart,club]",  # maps of one's own are proven by `tracks check`
    "evaluation.tracks=[street]",
)
POLL_S = 5.0


class TrialResult(NamedTuple):
    """One step of a trial: its purpose, its result, and its duration."""

    step: str
    result: str  # works | failed | not reached
    detail: str
    at_s: float  # since the trial began

    @property
    def ok(self) -> bool:
        """Tell whether the step works."""
        return self.result == "works"


class Trial:
    """A trial under way: where, which run, until when."""

    def __init__(self, context: CommandContext, root: Path, out: Path, say: Callable[[str], None]) -> None:
        self.context, self.root, self.out, self.say = context, root, out, say
        self.run = f"trial-{layout.new_run_id()}"
        self.storage: Storage = context.storage
        self.began = context.cloud.now()
        self.until = self.began + timedelta(minutes=MINUTES)

    @property
    def cap_usd(self) -> float:
        """Return the most that the machines can cost: until the end date at the dearest on-demand price."""
        plan = self.plan(resume=False)
        return MINUTES / 60 * plan.launch.price_cap_usd_per_hour

    def plan(self, *, resume: bool) -> launch.LaunchPlan:
        """Return a launch of the run that ends when the trial does."""
        left_h = (self.until - self.context.cloud.now()).total_seconds() / 3600
        if left_h <= 0:
            raise CloudError(f"the trial's {MINUTES} minutes are over")
        aws = self.context.config.aws.model_copy(update={"max_hours": left_h})
        context = self.context._replace(config=self.context.config.model_copy(update={"aws": aws}))
        basis = read_basis(context, "spot", self.root)
        plan = launch.make_plan(context, self.storage, Options(self.run, resume), basis)
        # Reading all that took time: the end is the trial's, not some seconds later.
        return plan._replace(launch=plan.launch._replace(valid_until=self.until.replace(microsecond=0)))

    def facts(self) -> RunStatus:
        """Return what is known of the run."""
        return read_run_status(self.storage, self.run, self.context.cloud.now())

    def steps(self) -> dict[str, Callable[[], str]]:
        """Return the steps in order; each returns what it saw, or raises."""
        return {
            "launch, boot, fetch the code, first training steps": self._launch,
            "stop on request, with a checkpoint": self._stop,
            "resume from that checkpoint on another machine": self._resume,
            "train to the end, evaluate, end the fleet": self._finish,
            "fetch model and report": self._fetch,
            "nothing is left that costs money": self._nothing_left,
        }

    def _launch(self) -> str:
        self._start(resume=False)
        return f"{self.facts().attempts[-1].instance_type or 'a machine'}, {self._steps():,} timesteps"

    def _stop(self) -> str:
        state = stop.stop_run(self.context, self.storage, self.run, when="saved", wait=True)
        if state != "stopped" or not self.facts().checkpoint_step:
            raise CloudError(f"the run is {state}, its checkpoint at {self.facts().checkpoint_step}")
        return f"checkpoint at timestep {self.facts().checkpoint_step:,}"

    def _resume(self) -> str:
        before = self.facts()
        self._start(resume=True)
        attempt = self.facts().attempts[-1]
        if attempt.number <= before.attempts[-1].number or attempt.first_step != before.checkpoint_step:
            raise CloudError(
                f"attempt {attempt.number} began at {attempt.first_step}, not at {before.checkpoint_step}"
            )
        return f"from timestep {attempt.first_step:,}"

    def _finish(self) -> str:
        reporter = WaitReporter(self.context.cloud)
        while (facts := self.facts()).state not in ENDS:
            reporter.explain(f"  the run trains; its newest checkpoint has {facts.steps:,} timesteps")
            self.context.cloud.clock.sleep(POLL_S)
        if facts.state != "done":
            raise CloudError(f"the run is {facts.state}: {facts.status.reason if facts.status else ''}")
        return f"{facts.steps:,} timesteps, ${facts.cost_usd:.3f}"

    def _fetch(self) -> str:
        files = fetch_results(self.storage, self.run, self.out, self.say, latest=False)
        kinds = {path.suffix for path in files if path.stat().st_size}
        if not {".zip", ".html"} <= kinds:
            raise CloudError(f"a model and a report were expected, {sorted(kinds)} came")
        return f"{len(files)} files below {self.out / layout.run_prefix(self.run)}"

    def _nothing_left(self) -> str:
        _, cloud, project = self.context
        stop.end_run(cloud, project, self.storage, self.run)
        left = [*_of_run(self.context, self.run), *_leaks(self.context, self.storage, self.run)]
        if left:
            raise CloudError(f"left: {', '.join(left)}", next_step="./launch.py gc --delete")
        return f"the run's files stay in {project.store}: cents a month"

    def _start(self, *, resume: bool) -> None:
        _, cloud, project = self.context
        plan = self.plan(resume=resume)
        launch.start(self.context, self.storage, plan, self.say)
        state = follow.follow(cloud, project, self.storage, self.run, self.say)
        if state in ENDS and state != "done":
            status = self.facts().status
            raise CloudError(f"the run is {state}: {status.reason if status else 'it never began'}")

    def _steps(self) -> int:
        facts = self.facts()
        return max(facts.steps, facts.status.step if facts.status else 0)


def check(trial: Trial) -> None:
    """Raise UsageError where the trial could cost more than it promises."""
    if trial.cap_usd > MOST_USD:
        raise UsageError(
            f"in {trial.context.project.region} {MINUTES} minutes of {', '.join(TYPES)} may cost ${trial.cap_usd:.3f}, "
            f"more than ${MOST_USD}",
            next_step="Try another region: --set aws.region=us-east-2",
        )


def carry_out(trial: Trial) -> list[TrialResult]:
    """Do the steps in order; after one that fails end the run and say which were not reached."""
    outcomes: list[TrialResult] = []
    failed = False
    for step, act in trial.steps().items():
        if failed:
            outcomes.append(TrialResult(step, "not reached", "", _since(trial.began, trial.context)))
            continue
        try:
            result, detail = "works", act()
        except TrainingError as error:
            failed = True
            result, detail = "failed", f"{error.message} {error.next_step or ''}".strip()
        outcomes.append(TrialResult(step, result, detail, _since(trial.began, trial.context)))
        trial.say(f"{result:6} {step}: {detail}")
    if failed:
        _end_what_is_left(trial)
    return outcomes


def _end_what_is_left(trial: Trial) -> None:
    """End the run of a trial that failed; a resource that cannot be ended is named, and ends by its date."""
    try:
        stop.stop_run(trial.context, trial.storage, trial.run, when="at_once", wait=True)
    except TrainingError as error:
        trial.say(f"{error.message}. The fleet ends by {trial.until:%H:%M} UTC. See: ./launch.py gc")


def _of_run(context: CommandContext, run: str) -> list[str]:
    _, cloud, project = context
    fleet = inventory.fleet_of(cloud, project, run)
    found = [str(one["InstanceId"]) for one in inventory.machines(cloud, project, run)]
    return found if fleet is None else [str(fleet["FleetId"]), *found]


def _leaks(context: CommandContext, storage: Storage, run: str) -> list[str]:
    project: Project = context.project
    names = {layout.run_role_name(project.name, project.region, run)}
    found = leaks.find_leaks(context.cloud, project, storage)
    return [leak.line for leak in found if leak.run == run or leak.id in names]


def _since(began: datetime, context: CommandContext) -> float:
    return (context.cloud.now() - began).total_seconds()


# --- the command ---
def check_words(*others: object) -> None:
    """Raise UsageError where the command line names what a trial chooses itself: its run or its limits."""
    if any(other is not None for other in others):
        raise UsageError("--trial names its run and its limits itself", next_step="Leave the rest out.")


def try_out(context: CommandContext, root: Path, output: OutputOptions) -> int:
    """Take a small run the whole way through AWS and print what worked; return 1 where something did not."""
    one = Trial(context, root, Path(), say)
    check(one)
    say(
        f"trial      {one.run} in {context.project.region}: launch, stop, resume, end, fetch; about 10 minutes\n"
        f"ends       by {one.until:%Y-%m-%d %H:%M} UTC, whatever happens\n"
        f"cannot cost more than ${one.cap_usd:.3f}: {MINUTES} minutes on demand; plus cents for disk and bucket"
    )
    if output.dry_run:
        show({"run": one.run, "cap_usd": one.cap_usd, "valid_until": one.until, "steps": list(one.steps())})
        return 0
    ask("Launch?", output)
    outcomes = carry_out(one)
    if output.json:
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
