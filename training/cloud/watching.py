"""Follow a run: its phases until the first step, its log. Survives relaunches; never waits in silence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator

from training import layout
from training.cloud import look
from training.cloud.api import Cloud
from training.cloud.facts import Facts, read_facts, why_waiting
from training.cloud.intent import ENDS, LAUNCHING
from training.cloud.patience import Patience
from training.cloud.scope import Scope
from training.cloud.site import Site
from training.cloud.stopping import end_run
from training.cloud.watch.lost_machines import MOST_LOST, LostMachine, explain, lost_of, too_many
from training.errors import UsageError
from training.store.documents import Attempt, set_status
from training.store.storage import Storage

POLL_S = 5.0
MAX_LOG_BYTES = 64 << 20
UP = ("pending", "running")  # of a machine that has a future
# EC2 shows a new fleet after some seconds; one that is missing for longer has ended.
FLEETLESS_S = 60.0


def follow(cloud: Cloud, scope: Scope, storage: Storage, run: str, say: Callable[[str], None]) -> str:
    """Say each phase with its time until the first steps are made; return the run's state then."""
    patience = Patience(cloud, say)
    told: set[str] = set()
    seen: dict[str, None] = {}  # machines, in order
    gone = 0
    had_fleet_at = cloud.clock.monotonic()
    while True:
        facts = read_facts(storage, run, cloud.now())
        machines = [one for one in look.machines(cloud, scope, run) if one["State"]["Name"] in UP]
        seen.update(dict.fromkeys(one["InstanceId"] for one in machines))
        for phase in _phases(seen, machines, facts):
            if phase not in told:
                told.add(phase)
                patience.progress()
                say(f"  {patience.waited_s:6.0f} s  {phase}")
        if facts.state in ENDS or _has_stepped(facts):
            return facts.state
        if len(seen) - len(machines) > gone:
            gone = len(seen) - len(machines)
            lost = lost_of(cloud, scope, facts)
            for line in explain(cloud, lost):
                say(f"            {line}")
            if _is_hopeless(cloud, scope, facts, machines, lost):
                return _give_up(cloud, scope, storage, run, lost)
        if machines or look.fleet_of(cloud, scope, run) is not None:
            had_fleet_at = cloud.clock.monotonic()
        elif cloud.clock.monotonic() - had_fleet_at > FLEETLESS_S:
            say(_waiting(patience.waited_s, cloud, scope, machines, facts))
            return facts.state
        patience.explain(functools.partial(_waiting, patience.waited_s, cloud, scope, machines, facts))
        cloud.clock.sleep(POLL_S)


def _phases(seen: Iterable[str], machines: list[look.Found], facts: Facts) -> Iterator[str]:
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
    cloud: Cloud, scope: Scope, facts: Facts, machines: list[look.Found], lost: list[LostMachine]
) -> bool:
    """Tell whether no machine of a run will train: too many were lost in a row, or there will be no other."""
    if len(lost) >= MOST_LOST:
        return True
    if not lost or machines:
        return False
    relaunches = facts.intent is not None and facts.intent.relaunch
    return not relaunches or look.fleet_of(cloud, scope, facts.run) is None


def _give_up(cloud: Cloud, scope: Scope, storage: Storage, run: str, lost: list[LostMachine]) -> str:
    """End a run whose machines nobody else counts, as the trainer's own guard would; return its state."""
    set_status(storage, run, "failed", only_from={"pending", "running"}, reason=too_many(lost)[:4000])
    return end_run(cloud, scope, storage, run)


def _steps(facts: Facts) -> int:
    return max(facts.status.step if facts.status else 0, facts.steps)


def _has_stepped(facts: Facts) -> bool:
    """Tell whether this launch has made steps: an attempt of an earlier one says nothing of it."""
    if not facts.attempts or _is_of_earlier_launch(facts, facts.attempts[-1]):
        return False
    return _steps(facts) > facts.attempts[-1].first_step


def _is_of_earlier_launch(facts: Facts, attempt: Attempt) -> bool:
    """Tell whether an attempt belongs to a launch before the newest; one that names no launch is of its fleet."""
    if facts.intent is None:
        return False
    if attempt.launch is not None:
        return attempt.launch < facts.intent.launch
    return bool(attempt.fleet_id) and attempt.fleet_id != facts.intent.fleet_id


def _waiting(waited_s: float, cloud: Cloud, scope: Scope, machines: list[look.Found], facts: Facts) -> str:
    return f"  {waited_s:6.0f} s  {_explain(cloud, scope, machines, facts)}"


def _explain(cloud: Cloud, scope: Scope, machines: list[look.Found], facts: Facts) -> str:
    """Return what is waited for: of the machines that are up now, whatever earlier ones have done."""
    if not machines:
        return why_waiting(cloud, scope, facts.run)
    up = {one["InstanceId"] for one in machines}
    if not any(attempt.instance_id in {*up, ""} for attempt in facts.attempts):
        return (
            "the machine boots, fetches the code and imports torch: about two minutes. Look in: ./launch.py ssh "
            + facts.run
        )
    return "the trainer restores its checkpoint and compiles. Its log: ./launch.py logs -f " + facts.run


def new_chunks(storage: Storage, run: str, read: set[str]) -> Iterator[tuple[int, str]]:
    """Yield (attempt, text) of the chunks that were not `read` yet, and add them; a lost machine's last may be late."""
    new = [entry.key for entry in storage.list(f"{layout.logs_prefix(run)}/") if entry.key not in read]
    for key in new:
        text = storage.get(key, max_bytes=MAX_LOG_BYTES).data.decode(errors="replace")
        read.add(key)
        yield layout.parse_log_chunk(key), text


class Lines:
    """Cut the texts of attempts into whole lines; a chunk of a log may end in the middle of one."""

    def __init__(self, tell: Callable[[int, str], object]) -> None:
        self._tell = tell
        self._begun: dict[int, str] = {}

    def write(self, attempt: int, text: str) -> None:
        """Tell the lines that are whole now."""
        *whole, rest = (self._begun.get(attempt, "") + text).split("\n")
        self._begun[attempt] = rest
        for line in whole:
            self._tell(attempt, line)

    def close(self) -> None:
        """Tell what is left: the last words of who was cut off."""
        for attempt, rest in self._begun.items():
            if rest:
                self._tell(attempt, rest)


def _why_no_log(cloud: Cloud, scope: Scope, run: str, state: str) -> str:
    if not look.machines(cloud, scope, run):
        return f"(no machine at the moment. {why_waiting(cloud, scope, run)})"
    return f"(nothing new; the run is {state}, its machine is up; Ctrl-C ends the watching, not the run)"


def follow_log(
    site: Site, storage: Storage, run: str, write: Callable[[int, str], object], *, until_end: bool
) -> None:
    """Write the log, (attempt, text), and with `until_end` what comes to it until the run ends."""
    _, cloud, scope = site
    read: set[str] = set()
    patience = Patience(cloud)
    while True:
        state = read_facts(storage, run, cloud.now()).state
        if state == "unknown":
            raise UsageError(
                f"there is no run {run} in {storage.url}", next_step="List them: ./launch.py list"
            )
        for attempt, text in new_chunks(storage, run, read):
            write(attempt, text)
            patience.progress()
        if not until_end or state in ENDS:
            return
        patience.explain(functools.partial(_why_no_log, cloud, scope, run, state))
        cloud.clock.sleep(POLL_S)
