"""Follow a launch: its phases until the first steps. Survives relaunches; never waits in silence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator

from ...store.documents import Attempt, set_status
from ...store.storage import Storage
from ..aws import inventory
from ..aws.client import Cloud
from ..aws.project import Project
from ..cleanup.stop import end_run
from ..console.wait_notices import WaitReporter
from ..launch_record import ENDS, LAUNCHING
from ..watch.lost_machines import MOST_LOST, LostMachine, explain, lost_of, too_many
from ..watch.run_status import RunStatus, read_run_status, why_waiting

POLL_S = 5.0
UP = ("pending", "running")  # of a machine that has a future
# EC2 shows a new fleet after some seconds; one that is missing for longer has ended.
FLEETLESS_S = 60.0


def follow(cloud: Cloud, project: Project, storage: Storage, run: str, say: Callable[[str], None]) -> str:
    """Say each phase with its time until the first steps are made; return the run's state then."""
    reporter = WaitReporter(cloud, say)
    told: set[str] = set()
    seen: dict[str, None] = {}  # machines, in order
    gone = 0
    had_fleet_at = cloud.clock.monotonic()
    while True:
        facts = read_run_status(storage, run, cloud.now())
        machines = [one for one in inventory.machines(cloud, project, run) if one["State"]["Name"] in UP]
        seen.update(dict.fromkeys(one["InstanceId"] for one in machines))
        for phase in _phases(seen, machines, facts):
            if phase not in told:
                told.add(phase)
                reporter.progress()
                say(f"  {reporter.waited_s:6.0f} s  {phase}")
        if facts.state in ENDS or _has_stepped(facts):
            return facts.state
        if len(seen) - len(machines) > gone:
            gone = len(seen) - len(machines)
            lost = lost_of(cloud, project, facts)
            for line in explain(cloud, lost):
                say(f"            {line}")
            if _is_hopeless(cloud, project, facts, machines, lost):
                return _give_up(cloud, project, storage, run, lost)
        if machines or inventory.fleet_of(cloud, project, run) is not None:
            had_fleet_at = cloud.clock.monotonic()
        elif cloud.clock.monotonic() - had_fleet_at > FLEETLESS_S:
            say(_waiting(reporter.waited_s, cloud, project, machines, facts))
            return facts.state
        reporter.explain(functools.partial(_waiting, reporter.waited_s, cloud, project, machines, facts))
        cloud.clock.sleep(POLL_S)


def _phases(seen: Iterable[str], machines: list[inventory.Found], facts: RunStatus) -> Iterator[str]:
    yield "fleet accepted"
    up = {one["InstanceId"] for one in machines}
    for gone in seen:
        if gone not in up:
            yield f"machine {gone} is gone"
    for one in machines:
        zone = one.get("Placement", {}).get("AvailabilityZone", "")
        yield f"machine {one['InstanceId']}, {one['InstanceType']} in {zone}"
        if one["State"]["Name"] == "running":
            yield f"machine {one['InstanceId']} is running"
    if facts.attempts and not _is_of_earlier_launch(facts, facts.attempts[-1]):
        yield f"the trainer is up, attempt {facts.attempts[-1].number}"
    if facts.status is not None and facts.status.phase not in {"", LAUNCHING}:
        yield facts.status.phase
    if _has_stepped(facts):
        yield f"first steps: {_steps(facts):,}"
    if facts.state in ENDS:
        yield f"the run is {facts.state}"


def _is_hopeless(
    cloud: Cloud, project: Project, facts: RunStatus, machines: list[inventory.Found], lost: list[LostMachine]
) -> bool:
    """Tell whether no machine of a run will train: too many were lost in a row, or there will be no other."""
    if len(lost) >= MOST_LOST:
        return True
    if not lost or machines:
        return False
    relaunches = facts.intent is not None and facts.intent.relaunch
    return not relaunches or inventory.fleet_of(cloud, project, facts.run) is None


def _give_up(cloud: Cloud, project: Project, storage: Storage, run: str, lost: list[LostMachine]) -> str:
    """End a run whose machines nothing else counts, as the trainer's own guard would; return its state."""
    set_status(storage, run, "failed", only_from={"pending", "running"}, reason=too_many(lost)[:4000])
    return end_run(cloud, project, storage, run)


def _steps(facts: RunStatus) -> int:
    return max(facts.status.step if facts.status else 0, facts.steps)


def _has_stepped(facts: RunStatus) -> bool:
    """Tell whether this launch has made steps: an attempt of an earlier one says nothing of it."""
    if not facts.attempts or _is_of_earlier_launch(facts, facts.attempts[-1]):
        return False
    return _steps(facts) > facts.attempts[-1].first_step


def _is_of_earlier_launch(facts: RunStatus, attempt: Attempt) -> bool:
    """Tell whether an attempt belongs to a launch before the newest; one that names no launch is of its fleet."""
    if facts.intent is None:
        return False
    if attempt.launch is not None:
        return attempt.launch < facts.intent.launch
    return bool(attempt.fleet_id) and attempt.fleet_id != facts.intent.fleet_id


def _waiting(
    waited_s: float, cloud: Cloud, project: Project, machines: list[inventory.Found], facts: RunStatus
) -> str:
    return f"  {waited_s:6.0f} s  {_explain(cloud, project, machines, facts)}"


def _explain(cloud: Cloud, project: Project, machines: list[inventory.Found], facts: RunStatus) -> str:
    """Return what is waited for: of the machines that are up now, whatever earlier ones have done."""
    if not machines:
        return why_waiting(cloud, project, facts.run)
    up = {one["InstanceId"] for one in machines}
    if not any(attempt.instance_id in {*up, ""} for attempt in facts.attempts):
        return (
            "the machine boots, fetches the code and imports torch: about two minutes. Look in: ./launch.py ssh "
            + facts.run
        )
    return "the trainer restores its checkpoint and compiles. Its log: ./launch.py logs -f " + facts.run
