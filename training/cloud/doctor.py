"""`doctor`: look at everything a launch depends on; each line says ok or the next command."""

from __future__ import annotations

import email.utils
import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from training import layout
from training.cloud import documents, look, permissions, policies, setup
from training.cloud.api import Cloud
from training.cloud.aws.iam_statements import Document
from training.cloud.problems import CloudError, Denied
from training.cloud.scope import Scope, read_scope
from training.errors import TrainingError

MAX_SKEW_S = 60.0


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    detail: str
    next_step: str = ""  # empty where all is well
    action: str = ""  # the missing permission
    statements: tuple[Document, ...] = ()  # or the missing parts of our policies

    @property
    def ok(self) -> bool:
        """Tell whether there is nothing to do."""
        return not self.next_step


def examine(cloud: Cloud, root: Path) -> Iterator[Finding]:
    """Yield one finding after the other; the first, credentials, decides whether others follow."""
    try:
        scope = read_scope(cloud)
    except TrainingError as error:
        yield Finding("credentials", error.message, error.next_step or "Try again: ./launch.py doctor")
        return
    yield Finding("credentials", scope.caller)
    yield _clock(cloud)
    yield _permissions(cloud, scope)
    checks: dict[str, Callable[[], Finding]] = {
        "region": lambda: _region(cloud),
        "types": lambda: _types(cloud),
        "network": lambda: Finding(
            "network", f"{look.vpc_id(cloud)}, {len(look.subnets(cloud, look.vpc_id(cloud)))} zones"
        ),
        "spot quota": lambda: _quota(cloud, scope, "spot"),
        "on-demand quota": lambda: _quota(cloud, scope, "on-demand"),
        "service roles": lambda: _service_roles(cloud),
        "set-up": lambda: _set_up(cloud, scope),
        "image": lambda: _image(cloud, scope, root),
    }
    for what, check in checks.items():
        try:
            yield check()
        except Denied as error:
            yield Finding(what, error.message, "Add the policy below to your user.", error.action)
        except TrainingError as error:
            yield Finding(what, error.message, error.next_step or "Try again: ./launch.py doctor")


def missing_policy(findings: list[Finding]) -> dict[str, object] | None:
    """Return a policy with exactly the permissions found missing, ready to paste; None if none is."""
    statements = [statement for finding in findings for statement in finding.statements]
    known = {action for statement in statements for action in statement["Action"]}
    actions = sorted({finding.action for finding in findings if finding.action} - known)
    if actions:
        statements.append(
            {"Sid": "MissingForTraining", "Effect": "Allow", "Action": actions, "Resource": "*"}
        )
    return {"Version": "2012-10-17", "Statement": statements} if statements else None


def _permissions(cloud: Cloud, scope: Scope) -> Finding:
    """Ask IAM whether the caller may do what training takes, and set-up where that is not done yet."""
    try:
        who = permissions.principal(cloud, scope)
        if who is None:
            return Finding("permissions", "root may do everything; a user of your own is safer")
        missing = permissions.lacking(cloud, scope, who, policies.daily_policy(scope))
        if setup.is_up(cloud, scope):
            missing += permissions.lacking(cloud, scope, who, policies.setup_policy(scope))
    except TrainingError as error:
        return Finding("permissions", permissions.cannot_be_asked(error))
    if missing:
        told = permissions.describe(missing)
        return Finding("permissions", told, "Add the policy below to your user.", statements=tuple(missing))
    return Finding("permissions", f"{scope.caller.rpartition('/')[2]} has all that is needed")


def _region(cloud: Cloud) -> Finding:
    zones = cloud.call("ec2", "describe_availability_zones")["AvailabilityZones"]
    return Finding("region", f"{cloud.aws.region}, {len(zones)} zones")


def _types(cloud: Cloud) -> Finding:
    sizes = look.vcpus(cloud, cloud.aws.instance_types)
    return Finding("types", ", ".join(f"{kind} ({count} vCPUs)" for kind, count in sizes.items()))


def _quota(cloud: Cloud, scope: Scope, market: str) -> Finding:
    what = f"{market} quota"
    value = look.quota(cloud, market)
    if value is None:
        return Finding(what, f"cannot be read here; see {look.quota_link(scope.region, market)}")
    needed = min(look.vcpus(cloud, cloud.aws.instance_types).values())
    look.check_quota(value, needed, scope.region, market)
    return Finding(what, f"{value:.0f} vCPUs of G and VT machines")


def _service_roles(cloud: Cloud) -> Finding:
    missing = sorted(set(documents.SERVICE_ROLES) - setup.service_roles(cloud))
    if missing:
        return Finding("service roles", f"missing: {', '.join(missing)}", "./launch.py up")
    return Finding("service roles", "EC2 Fleet and spot")


def _set_up(cloud: Cloud, scope: Scope) -> Finding:
    lacking = setup.is_up(cloud, scope)
    if lacking:
        return Finding("set-up", "; ".join(lacking), "./launch.py up")
    return Finding("set-up", f"bucket {scope.bucket}, policy, security group")


def _image(cloud: Cloud, scope: Scope, root: Path) -> Finding:
    digest = hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest()
    image = look.image_for(cloud, scope, digest)
    return Finding("image", f"{image['ImageId']} fits {layout.TAG_REQUIREMENTS} {digest[:12]}")


def _clock(cloud: Cloud) -> Finding:
    """Compare this computer's clock with AWS's, whose every answer is dated."""
    address = cloud.aws.endpoints.sts or f"https://sts.{cloud.aws.region}.amazonaws.com"
    try:
        there = _date_of(address)
    except (OSError, ValueError, CloudError) as error:
        return Finding("clock", f"{address} does not tell the time: {error}", "Check the network.")
    skew_s = abs((cloud.clock.now() - there).total_seconds())
    if skew_s > MAX_SKEW_S:
        return Finding(
            "clock",
            f"{skew_s:.0f} s off; AWS refuses requests from 300 s on",
            "Set this computer's clock.",
        )
    return Finding("clock", f"{skew_s:.0f} s off")


def _date_of(address: str) -> datetime:
    try:
        with urllib.request.urlopen(address, timeout=10) as reply:  # noqa: S310 - AWS, or the endpoint of the settings
            date = reply.headers["Date"]
    except urllib.error.HTTPError as error:
        date = error.headers["Date"]
        error.close()
    return email.utils.parsedate_to_datetime(str(date)).astimezone(timezone.utc)
