"""`doctor`: look at everything a launch depends on; each line says ok or the next command."""

from __future__ import annotations

import email.utils
import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from .. import layout
from ..aws_access import advice
from ..errors import TrainingError
from .aws import (
    disk_key,
    instance_types,
    inventory,
    network,
    people_policies,
    permission_check,
    project_resources,
    quotas,
)
from .aws.aws_errors import AccessDenied
from .aws.client import Cloud, endpoint_of
from .aws.probe import ask_all
from .aws.project import Project, read_project
from .console.output import OutputOptions, answer, show
from .context import CommandContext
from .launch import basis, setup

MAX_SKEW_S = 60.0
GIVE = "Give your user the policies below."
FORBIDDEN = (
    "What is forbidden no policy of yours can allow: ask the administrator of your account or organisation."
)


class DoctorFinding(NamedTuple):
    """One thing that was looked at."""

    what: str
    detail: str
    next_step: str = ""  # empty where all is well
    actions: tuple[str, ...] = ()  # permissions that are missing and can be given
    give: tuple[
        tuple[str, tuple[str, ...]], ...
    ] = ()  # the policies that have them, each with how to give it

    @property
    def ok(self) -> bool:
        """Tell whether there is nothing to do."""
        return not self.next_step


def examine(cloud: Cloud, root: Path) -> Iterator[DoctorFinding]:
    """Yield one finding after the other; the clock first, for a wrong one breaks all the others.

    The second, credentials, decides whether others follow.
    """
    yield _clock(cloud)
    try:
        project = read_project(cloud)
    except TrainingError as error:
        yield DoctorFinding("credentials", error.message, error.next_step or "Try again: ./launch.py doctor")
        return
    yield DoctorFinding("credentials", project.caller)
    yield _permissions(cloud, project)
    checks: dict[str, Callable[[], DoctorFinding]] = {
        "region": lambda: _region(cloud),
        "types": lambda: _types(cloud),
        "network": lambda: _network(cloud),
        "spot quota": lambda: _quota(cloud, project, "spot"),
        "on-demand quota": lambda: _quota(cloud, project, "on-demand"),
        "key pair": lambda: _key_pair(cloud),
        "service roles": lambda: _service_roles(cloud),
        "set-up": lambda: _set_up(cloud, project),
        "image": lambda: _image(cloud, project, root),
    }
    for what, check in checks.items():
        try:
            yield check()
        except AccessDenied as error:
            actions = (error.action,) if error.can_be_granted else ()
            next_step = GIVE if actions else error.next_step
            yield DoctorFinding(
                what,
                error.message,
                next_step,
                actions,
                _how_to_give(project, people_policies.that_grant(project, actions)),
            )
        except TrainingError as error:
            yield DoctorFinding(what, error.message, error.next_step or "Try again: ./launch.py doctor")


def missing(findings: list[DoctorFinding]) -> dict[str, list[str]]:
    """Return the actions found missing, and the commands that give the policies with them; empty where none is."""
    actions = sorted({action for finding in findings for action in finding.actions})
    give = {kind: lines for finding in findings for kind, lines in finding.give}
    if not actions:
        return {}
    commands = [people_policies.WRITE, *(line for lines in give.values() for line in lines)]
    return {"actions": actions, "policies": list(give), "commands": commands if give else []}


def _permissions(cloud: Cloud, project: Project) -> DoctorFinding:
    """Ask IAM whether the caller may do what training takes, and set-up where that is not done yet."""
    try:
        who = permission_check.principal(cloud, project)
        if who is None:
            return DoctorFinding("permissions", "root may do everything; a user of your own is safer")
        asked = people_policies.all_of(project)
        del asked["bake"]
        if not setup.is_up(cloud, project):
            del asked["setup"]
        lacking = {
            kind: permission_check.lacking(cloud, project, who, policy) for kind, policy in asked.items()
        }
    except TrainingError as error:
        return DoctorFinding("permissions", permission_check.cannot_be_asked(error))
    refused = [one for some in lacking.values() for one in some]
    if not refused:
        return DoctorFinding("permissions", f"{project.caller.rpartition('/')[2]} has all that is needed")
    actions = tuple(one.action for one in refused if not one.by)
    steps = [GIVE] if actions else []
    steps += [FORBIDDEN] if any(one.by for one in refused) else []
    detail = permission_check.describe(refused)
    kinds = [kind for kind, some in lacking.items() if any(not one.by for one in some)]
    return DoctorFinding("permissions", detail, " ".join(steps), actions, _how_to_give(project, kinds))


def _how_to_give(project: Project, kinds: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((kind, people_policies.how_to_give(project, kind)) for kind in kinds)


def _region(cloud: Cloud) -> DoctorFinding:
    zones = cloud.call("ec2", "describe_availability_zones")["AvailabilityZones"]
    return DoctorFinding("region", f"{cloud.aws.region}, {len(zones)} zones{_unheard_region(cloud)}")


def _unheard_region(cloud: Cloud) -> str:
    """Return a remark where the user's AWS configuration names another region: only aws.region counts here."""
    from ..aws_access.session import session  # noqa: PLC0415 - takes as long as botocore

    named = session().get_config_variable("region")
    if named in {None, cloud.aws.region}:
        return ""
    return f" (by aws.region; that of your AWS configuration, {named}, does not count here)"


def _network(cloud: Cloud) -> DoctorFinding:
    vpc = inventory.vpc_id(cloud)
    chosen = network.choose_subnets(cloud, vpc, inventory.subnets(cloud, vpc))
    told = [f"{vpc}, {len(set(chosen.zones.values()))} zones", *chosen.notes]
    return DoctorFinding(
        "network", "; ".join([*told, *(f"not {line}" for line in network.by_reason(chosen.left_out))])
    )


def _types(cloud: Cloud) -> DoctorFinding:
    types = instance_types.describe_types(cloud, cloud.aws.instance_types)
    instance_types.check_types(types, {}, "on-demand")
    sizes = instance_types.vcpus(types)
    return DoctorFinding("types", ", ".join(f"{kind} ({count} vCPUs)" for kind, count in sizes.items()))


def _quota(cloud: Cloud, project: Project, market: str) -> DoctorFinding:
    """Look at the quota of each family that the types of the settings belong to."""
    sizes = instance_types.vcpus(instance_types.describe_types(cloud, cloud.aws.instance_types))
    read = quotas.read_quotas(cloud, sizes, market)
    quotas.check_quotas(cloud, read, sizes, project.region)
    told = dict.fromkeys(
        f"{quota}" + (f"; see {quotas.link(quota, project.region)}" if quota.vcpus is None else "")
        for quota in read.values()
    )
    return DoctorFinding(f"{market} quota", ", ".join(told) or "none that this project knows of")


def _service_roles(cloud: Cloud) -> DoctorFinding:
    missing = sorted(set(project_resources.SERVICE_ROLES) - setup.service_roles(cloud))
    if missing:
        return DoctorFinding("service roles", f"missing: {', '.join(missing)}", "./launch.py up")
    return DoctorFinding("service roles", "EC2 Fleet and spot")


def _set_up(cloud: Cloud, project: Project) -> DoctorFinding:
    lacking = setup.is_up(cloud, project)
    if lacking:
        return DoctorFinding("set-up", "; ".join(lacking), "./launch.py up")
    return DoctorFinding("set-up", f"bucket {project.bucket}, policy, security group")


def _image(cloud: Cloud, project: Project, root: Path) -> DoctorFinding:
    digest = hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest()
    image = inventory.image_for(cloud, project, digest)
    types = instance_types.describe_types(cloud, cloud.aws.instance_types)
    instance_types.check_types(types, image, "on-demand")
    basis.check_volume(cloud.aws, image)
    unseen = disk_key.check_disk_key(cloud, project, image, "spot")
    told = f"{image['ImageId']} fits {layout.TAG_REQUIREMENTS} {digest[:12]}"
    return DoctorFinding("image", "; ".join(filter(None, [told, unseen])))


def _key_pair(cloud: Cloud) -> DoctorFinding:
    basis.check_key_pair(cloud)
    return DoctorFinding("key pair", cloud.aws.key_pair_name or "none: Session Manager reaches a machine")


def _clock(cloud: Cloud) -> DoctorFinding:
    """Compare this computer's clock with AWS's, whose every answer is dated."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - half a second that --help need not pay

    address = f"https://sts.{cloud.aws.region}.amazonaws.com"
    try:
        address = endpoint_of("sts", cloud.aws) or address
        there, problem = _date_of(address)
    except (BotoCoreError, TrainingError, ValueError) as error:
        why = error.message if isinstance(error, TrainingError) else str(error)
        step = error.next_step if isinstance(error, TrainingError) else ""
        return DoctorFinding(
            "clock", f"{address} does not tell the time: {why}", step or "Check the network."
        )
    skew_s = (cloud.clock.now() - there).total_seconds()
    off = f"{abs(skew_s):.0f} s {'ahead' if skew_s > 0 else 'behind'}"
    if abs(skew_s) > MAX_SKEW_S:
        return DoctorFinding("clock", f"{off}; AWS refuses requests from 300 s on", advice.CLOCK)
    if problem:
        return DoctorFinding("clock", f"{off}, but {address} is not believed: {problem}", advice.CERTIFICATES)
    return DoctorFinding("clock", off)


def _date_of(address: str) -> tuple[datetime, str]:
    """Return the date of a reply, and the fault of the certificate of the server that replied.

    Under a clock that is wrong by months no certificate is valid: the date is then read all the same, as a hint.
    """
    from botocore.exceptions import SSLError  # noqa: PLC0415 - as above

    from ..aws_access import session  # noqa: PLC0415

    problem = ""
    try:
        reply = session.get(address)
    except SSLError as error:
        if not advice.is_bad_certificate(error):
            raise
        problem = str(error)
        reply = session.get(address, verify=False)
    date = email.utils.parsedate_to_datetime(str(reply.headers.get("Date")))
    return date.astimezone(timezone.utc), problem


def probe(context: CommandContext, output: OutputOptions) -> int:
    """Print what EC2 itself would let the caller do; return 1 where it denies something or its answer is unknown."""
    marks = {"allowed": "ok", "not asked": "--", "denied": "NO", "unknown": "??"}
    answers = []
    for one in ask_all(context.cloud, context.project):
        answers.append(one)
        if not output.json:
            answer(f"{marks[one.verdict]}  {one.part:12} {one.action:36} {one.verdict} {one.detail}".rstrip())
    if output.json:
        show([one._asdict() for one in answers])
    elif any(one.verdict == "denied" for one in answers):
        answer("\nThe policies that allow these: ./launch.py doctor --policy")
    return 0 if all(one.verdict in {"allowed", "not asked"} for one in answers) else 1
