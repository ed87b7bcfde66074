"""Follow a run: its phases until the first step, its log. Survives relaunches; never waits in silence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from training import layout
from training.cloud import look
from training.cloud.api import Cloud
from training.cloud.facts import Facts, read_facts, why_waiting
from training.cloud.intent import ENDS, LAUNCHING
from training.cloud.patience import Patience
from training.cloud.scope import Scope
from training.cloud.site import Site
from training.errors import UsageError
from training.store.storage import Storage

POLL_S = 5.0
MAX_LOG_BYTES = 64 << 20


def follow(cloud: Cloud, scope: Scope, storage: Storage, run: str, say: Callable[[str], None]) -> str:
    """Say each phase with its time until the first steps are made; return the run's state then."""
    patience = Patience(cloud, say)
    told: set[str] = set()
    while True:
        facts = read_facts(storage, run, cloud.clock.now())
        for phase in _phases(look.machines(cloud, scope, run), facts):
            if phase not in told:
                told.add(phase)
                patience.progress()
                say(f"  {patience.waited_s:6.0f} s  {phase}")
        if facts.state in ENDS or _has_stepped(facts):
            return facts.state
        patience.explain(lambda: f"  {patience.waited_s:6.0f} s  {_explain(cloud, scope, run, told)}")
        cloud.clock.sleep(POLL_S)


def _phases(machines: list[look.Found], facts: Facts) -> Iterator[str]:
    yield "fleet accepted"
    for one in machines:
        zone = one.get("Placement", {}).get("AvailabilityZone", "")
        yield f"machine {one['InstanceId']}, {one['InstanceType']} in {zone}"
        if one["State"]["Name"] == "running":
            yield f"machine {one['InstanceId']} is running"
    if facts.attempts:
        yield f"the trainer is up, attempt {len(facts.attempts)}"
    if facts.status is not None and facts.status.phase not in {"", LAUNCHING}:
        yield facts.status.phase
    if _has_stepped(facts):
        yield f"first steps: {_steps(facts):,}"
    if facts.state in ENDS:
        yield f"the run is {facts.state}"


def _steps(facts: Facts) -> int:
    return max(facts.status.step if facts.status else 0, facts.steps)


def _has_stepped(facts: Facts) -> bool:
    """Tell whether this launch has made steps: more than an earlier one left."""
    return bool(facts.attempts) and _steps(facts) > facts.attempts[-1].first_step


def _explain(cloud: Cloud, scope: Scope, run: str, told: set[str]) -> str:
    if not any(line.startswith("machine") for line in told):
        return why_waiting(cloud, scope, run)
    if not any("trainer" in line for line in told):
        return (
            "the machine boots, fetches the code and imports torch: about two minutes. Look in: ./launch.py ssh "
            + run
        )
    return "the trainer restores its checkpoint and compiles. Its log: ./launch.py logs -f " + run


def log_text(storage: Storage, run: str, read: set[str]) -> str:
    """Return the chunks of the log that were not `read` yet, and add them to it; a lost machine's last may be late."""
    new = [entry.key for entry in storage.list(f"{layout.logs_prefix(run)}/") if entry.key not in read]
    read.update(new)
    return "".join(storage.get(key, max_bytes=MAX_LOG_BYTES).data.decode(errors="replace") for key in new)


def _why_no_log(cloud: Cloud, scope: Scope, run: str, state: str) -> str:
    if not look.machines(cloud, scope, run):
        return f"(no machine at the moment. {why_waiting(cloud, scope, run)})"
    return f"(nothing new; the run is {state}, its machine is up; Ctrl-C ends the watching, not the run)"


def follow_log(
    site: Site, storage: Storage, run: str, write: Callable[[str], object], *, until_end: bool
) -> None:
    """Write the log, and with `until_end` what comes to it until the run ends."""
    _, cloud, scope = site
    read: set[str] = set()
    patience = Patience(cloud)
    while True:
        state = read_facts(storage, run, cloud.clock.now()).state
        if state == "unknown":
            raise UsageError(
                f"there is no run {run} in {storage.url}", next_step="List them: ./launch.py list"
            )
        text = log_text(storage, run, read)
        write(text)
        if not until_end or state in ENDS:
            return
        if text:
            patience.progress()
        patience.explain(functools.partial(_why_no_log, cloud, scope, run, state))
        cloud.clock.sleep(POLL_S)
