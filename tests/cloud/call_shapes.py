"""The AWS calls that the tests have seen, without what changes from run to run; recorded_calls.json holds them.

A test that makes a call which is not in the list fails with the command that records it, and so does one that no longer
makes a call which is in the list under its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

RECORDED = Path(__file__).with_name("recorded_calls.json")
COMMAND = "make record-calls"
PROJECT, REGION, RUN = "f1tenth", "us-east-2", "race"
OTHER = "other"  # a name that is not of ours
KINDS = {  # of EC2's ids
    "i": "instance",
    "vol": "volume",
    "ami": "image",
    "snap": "snapshot",
    "sg": "security-group",
    "fleet": "fleet",
    "lt": "launch-template",
    "sir": "spot-instances-request",
}


class Call(NamedTuple):
    """One kind of call: whose policy it is made under, what it asks of AWS, and which part of it IAM looks at."""

    by: str  # daily | setup | instance | bake
    service: str  # as botocore names it
    operation: str
    about: str = "{}"  # JSON: hashable, and compared as it is written

    def __str__(self) -> str:
        return f"{self.by}: {self.service}:{self.operation} {self.about}"

    @property
    def details(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.about)
        return found

    def to_json_dict(self) -> dict[str, Any]:
        return {"by": self.by, "call": f"{self.service}:{self.operation}", "about": self.details}


def shape(line: dict[str, Any]) -> Call:
    """Return what stays of a recorded line."""
    details = _details(line["service"], line["params"])
    return Call(line["by"], line["service"], line["operation"], _text(details))


def read_lines(file: Path) -> set[Call]:
    """Return the kinds of calls in a file of recorded lines."""
    if not file.exists():
        return set()
    return {shape(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()}


def load(path: Path = RECORDED) -> dict[Call, str]:
    """Return the calls of the list, each with the test that vouches for it."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    found = {}
    for row in rows:
        service, operation = row["call"].split(":")
        found[Call(row["by"], service, operation, _text(row["about"]))] = row["test"]
    return found


def save(calls: dict[Call, str], path: Path = RECORDED) -> None:
    """Write the list, sorted, one call a line."""
    rows = [json.dumps({**call.to_json_dict(), "test": test}) for call, test in sorted(calls.items())]
    path.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


def merged(known: dict[Call, str], seen: dict[str, set[Call]]) -> dict[Call, str]:
    """Return the list after tests were run: what they vouched for and no longer make goes, what they make comes.

    seen: the calls of each test that was run. Of several tests the first by name vouches.
    """
    kept = {call: test for call, test in known.items() if test not in seen}
    for test in sorted(seen):
        for call in seen[test]:
            kept.setdefault(call, test)
    return kept


def _text(details: dict[str, Any]) -> str:
    return json.dumps(details, sort_keys=True)


def _details(service: str, params: dict[str, Any]) -> dict[str, Any]:
    details: dict[str, Any] = {}
    for key in ("Key", "Prefix"):
        if service == "s3" and key in params:
            details[key] = _where(params[key])
    if service == "s3":
        objects = params.get("Delete", {}).get("Objects", ())
        details |= {key: True for key in ("IfMatch", "VersionId", "Delimiter") if key in params}
        details |= {"VersionId": True} if any("VersionId" in one for one in objects) else {}
    if "Resources" in params:
        details["Resources"] = sorted({KINDS[one.partition("-")[0]] for one in params["Resources"]})
    tags = params.get("Tags") or params.get("tags") or params.get("CreateBucketConfiguration", {}).get("Tags")
    if tags:
        details["Tags"] = _tags(tags)
    details |= _launching(params)
    for key in NAMES:
        if isinstance(params.get(key), str):
            details[key] = _plain(params[key])
    if "PermissionsBoundary" in params:
        details["PermissionsBoundary"] = True
    return details


# Parameters whose value is a name that IAM's policies speak of.
NAMES = (
    "AWSServiceName",
    "InstanceProfileName",
    "Name",
    "Namespace",
    "Path",
    "PathPrefix",
    "PolicyArn",
    "PolicyName",
    "PolicySourceArn",
    "RoleName",
    "ServiceCode",
    "Type",
    "logGroupName",
)


def _launching(params: dict[str, Any]) -> dict[str, Any]:
    """Return what a request makes machines from: what it tags, what it names."""
    found: dict[str, Any] = {}
    specified = params.get("TagSpecifications")
    if specified:
        found["TagSpecifications"] = {one["ResourceType"]: _tags(one["Tags"]) for one in specified}
    if "LaunchTemplate" in params:
        found["LaunchTemplate"] = True
    template = params.get("LaunchTemplateData")
    if template:
        found["LaunchTemplateData"] = {**_launching(template), **_machine(template)}
    configs = params.get("LaunchTemplateConfigs")
    if configs:
        overrides = {key for config in configs for one in config.get("Overrides") or () for key in one}
        found["LaunchTemplateConfigs"] = sorted(overrides & {"SubnetId", "ImageId"})
    capacity = params.get("TargetCapacitySpecification")
    if capacity:
        found["market"] = capacity["DefaultTargetCapacityType"]
    return found


def _machine(template: dict[str, Any]) -> dict[str, Any]:
    """Return what of a machine IAM looks at: its profile, its key pair, its market, the key of its disk."""
    found = {key: True for key in ("KeyName", "InstanceMarketOptions") if key in template}
    profile = template.get("IamInstanceProfile", {}).get("Name")
    disks = template.get("BlockDeviceMappings", ())
    return {
        **found,
        **({"IamInstanceProfile": _plain(profile)} if profile else {}),
        **({"KmsKeyId": True} if any("KmsKeyId" in disk.get("Ebs", {}) for disk in disks) else {}),
    }


def _tags(tags: Iterable[dict[str, str]] | dict[str, str]) -> dict[str, str]:
    """Return the two tags that policies compare."""
    pairs = tags if isinstance(tags, dict) else {one["Key"]: one["Value"] for one in tags}
    project = {"Project": _project(pairs["Project"])} if "Project" in pairs else {}
    return {**project, **({"Run": RUN} if "Run" in pairs else {})}


def _project(text: str) -> str:
    """Return the project's name for that of a test's account, and any other text as it is."""
    return PROJECT if re.fullmatch(r"p[0-9a-f]{8}|p-container|p-surroundings|f1tenth", text) else text


def _where(key: str) -> str:
    """Return where in the bucket a key or a prefix is: below a run, below the scripts, or nowhere in particular."""
    parts = key.split("/")
    if parts[0] == "runs" and len(parts) > 1:
        return f"runs/{RUN}/*" if len(parts) > 2 else "runs/" if not parts[1] else f"runs/{RUN}"
    return f"{parts[0]}/*" if len(parts) > 1 else key


def _plain(name: str) -> str:
    """Return a name with this list's project, region and run in place of a test's own."""
    if name.startswith("arn:"):
        return _plain_arn(name)
    path = re.fullmatch(r"/([^/]+)/([^/]+)(/?)", name)
    if path:  # a path of IAM, a log group, a parameter
        place = REGION if re.fullmatch(r"[a-z]{2}-[a-z]+-\d", path[2]) else path[2]
        return f"/{_project(path[1])}/{place}{path[3]}"
    dotted = re.fullmatch(r"([a-z0-9-]+)\.([a-z]{2}-[a-z]+-\d)\.(.+)", name)
    if dotted:
        return f"{_project(dotted[1])}.{REGION}.{'instance' if dotted[3] == 'instance' else RUN}"
    # Somebody's own role or profile, with the name of the test's account in it.
    return OTHER if re.match(r"p[0-9a-f]{8}-", name) else _project(name)


def _plain_arn(arn: str) -> str:
    service, kind = arn.split(":")[2], arn.split(":")[5].partition("/")[0]
    name = arn.rpartition("/")[2]
    if service == "iam" and kind == "policy" and ":aws:policy" not in arn:
        return f"policy/{_plain(name)}"
    return kind if kind in {"user", "role"} else arn
