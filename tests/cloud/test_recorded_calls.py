"""Every call that the tests have seen is allowed under exactly the documented policies, and nothing in those is idle."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from tests.cloud import authorization, call_shapes, documented_calls
from tests.cloud.authorization import World
from tests.cloud.call_shapes import Call
from tests.cloud.fake_aws import ROOT
from tests.cloud.golden import SCOPE
from tests.cloud.iam_simulator import Iam, Question
from training.cloud.aws import iam_policies, key_policy
from training.cloud.aws.bake_policy import bake_policy
from training.cloud.aws.client import permission
from training.cloud.aws.iam_statements import Document
from training.cloud.aws.project import Project

ROLE_SESSION = f"arn:aws:sts::{SCOPE.account}:assumed-role/Trainers/kim@example.org"
USER = f"arn:aws:iam::{SCOPE.account}:user/kim"
MACHINE = f"arn:aws:iam::{SCOPE.account}:role{SCOPE.iam_path}f1tenth.us-east-2.race"
OF_PRINCIPAL = {
    USER: {"aws:username": "kim"},
    ROLE_SESSION: {},
    MACHINE: {"aws:PrincipalTag/Run": "race", "aws:PrincipalTag/Project": "f1tenth"},
}
# The policies say more or less by who asks for them and by what an organisation has set.
SCOPES = {
    "": SCOPE,
    "role": SCOPE._replace(caller=ROLE_SESSION),
    "boundary": SCOPE._replace(permissions_boundary=f"arn:aws:iam::{SCOPE.account}:policy/limits"),
    "profile": SCOPE._replace(machine_role=f"arn:aws:iam::{SCOPE.account}:role/lab"),
    "kms": SCOPE._replace(kms_key="1234abcd-12ab-34cd-56ef-1234567890ab"),
    "kms elsewhere": SCOPE._replace(kms_key=f"arn:aws:kms:{SCOPE.region}:{'4' * 12}:key/1234"),
    "bucket key": SCOPE._replace(bucket_key=f"arn:aws:kms:{SCOPE.region}:{SCOPE.account}:key/5678"),
}


class Asked(NamedTuple):
    """A question, whose policies it is asked under, in which variant, and the call that it comes from."""

    by: str
    variant: str
    question: Question
    call: Call

    def __str__(self) -> str:
        return f"{self.question} ({self.call})"

    def row(self, policies_: Mapping[str, Document]) -> tuple[str, list[dict[str, Any]], Question]:
        """Return what the simulator is asked under these policies."""
        principal = MACHINE if self.by == "instance" else ROLE_SESSION if self.variant == "role" else USER
        context = tuple({**OF_PRINCIPAL[principal], **dict(self.question.context)}.items())
        return principal, list(policies_.values()), self.question._replace(context=context)


def documents(by: str, variant: str = "") -> dict[str, Document]:
    """Return the documented policies of who makes a call, by name; its own one last."""
    scope = SCOPES[variant]
    keys = [("keys", key_policy.key_policy)] if key_policy.is_needed(scope) else []
    known: dict[str, list[tuple[str, Callable[[Project], Document]]]] = {
        "daily": [*keys, ("daily", iam_policies.daily_policy)],
        "setup": [*keys, ("daily", iam_policies.daily_policy), ("setup", iam_policies.setup_policy)],
        "bake": [("bake", bake_policy)],
        "instance": [("instance", iam_policies.instance_policy)],
    }
    return {name: policy(scope) for name, policy in known[by]}


def world(iam: Iam, by: str, variant: str = "") -> World:
    """Return the resources with the tags that the calls give them, and what IAM says of all actions.

    A bake meets what bakes make. The others meet what the launcher makes, and the images of the bakes.
    """
    tags = _given(call for call in _calls() if (call.by == "bake") == (by == "bake"))
    if by != "bake":
        baked = _given(call for call in _calls() if call.by == "bake")
        tags |= {kind: baked[kind] for kind in ("image", "snapshot")}
    actions = [action for call in _calls() for action in authorization.actions(call)]
    actions += ["ec2:CreateTags", "ec2:RunInstances", "iam:PassRole", *authorization.TAGS_TOO.values()]
    kms = {*authorization.KEY_ACTIONS, *authorization.BUCKET_KEY_ACTIONS.values()}
    actions += [f"kms:{name}" for name in kms]
    return World(SCOPES[variant], tags, iam.reference(actions))


def _given(calls: Iterable[Call]) -> dict[str, dict[str, str]]:
    """Return the tags of each resource type: those that every call gives it that makes one."""
    tags: dict[str, dict[str, str]] = {}
    for call in calls:
        details = call.details
        made = {
            **details.get("TagSpecifications", {}),
            **details.get("LaunchTemplateData", {}).get("TagSpecifications", {}),
        }
        for kind, given in made.items():
            tags[kind] = dict(tags.get(kind, given).items() & given.items())
    return tags


def _calls() -> list[Call]:
    return [*call_shapes.load(), *(one.call for one in documented_calls.everything())]


@pytest.fixture(scope="module")
def asked(iam: Iam) -> list[Asked]:
    """Give all that IAM is asked for the calls of the list and of the documentation."""
    worlds = {
        (by, variant): world(iam, by, variant)
        for by in ("daily", "setup", "bake", "instance")
        for variant in SCOPES
    }
    return [*_of_recorded(worlds), *_of_documented(worlds)]


def _of_recorded(worlds: Mapping[tuple[str, str], World]) -> Iterator[Asked]:
    for call in call_shapes.load():
        for template in _templates_of(call):
            variant = authorization.variant(call, template)
            # Whoever has to set a boundary makes all the other calls of IAM as well.
            bounded = (
                ["boundary"]
                if call.service == "iam" and not variant and call.operation != "CreateRole"
                else []
            )
            elsewhere = ["kms elsewhere"] if variant == "kms" else []
            for one in (variant, *bounded, *elsewhere):
                for question in authorization.questions(call, worlds[call.by, one], template):
                    yield Asked(call.by, one, question, call)
        for question in authorization.of_bucket_key(call, SCOPES["bucket key"]):
            yield Asked(call.by, "bucket key", question, call)


def _templates_of(call: Call) -> list[Call | None]:
    """Return the launch templates that a call may launch from: all that are created under the same policy."""
    if not authorization.launches_from_template(call):
        return [None]
    return [one for one in _calls() if one.operation == "CreateLaunchTemplate" and one.by == call.by]


def _of_documented(worlds: Mapping[tuple[str, str], World]) -> Iterator[Asked]:
    for one in documented_calls.everything():
        (template,) = _templates_of(one.call)
        variant = "role" if one.as_role else ""
        for question in authorization.questions(one.call, worlds[one.call.by, variant], template):
            context = {**dict(question.context), **dict(one.context)}
            whole = question._replace(context=tuple(sorted(context.items())))
            yield Asked(one.call.by, variant, whole, one.call)


def decisions(iam: Iam, questions: list[Asked]) -> list[str]:
    """Return IAM's decisions under the documented policies."""
    return iam.decide([one.row(documents(one.by, one.variant)) for one in questions], SCOPE.account)


def test_every_recorded_call_is_allowed(iam: Iam, asked: list[Asked]) -> None:
    denied = [
        f"{one}: {answer}"
        for one, answer in zip(asked, decisions(iam, asked), strict=True)
        if answer != "Allowed"
    ]
    calls, types = (
        len({one.call for one in asked}),
        len({(one.call, one.question.action, one.question.resource) for one in asked}),
    )
    print(
        f"\n{calls} calls, {types} resources asked about, {len(asked) - len(denied)} of {len(asked)} questions allowed"
    )
    assert denied == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["daily", "keys", "setup", "bake", "instance"])
def test_without_any_one_action_some_recorded_call_is_denied(iam: Iam, asked: list[Asked], name: str) -> None:
    """And so nothing is idle: each action of each statement is dropped by itself, and each statement as a whole."""
    concerned = [one for one in asked if one.by == name or (name == "keys" and one.by == "daily")]
    rows: list[tuple[str, list[dict[str, Any]], Question]] = []
    ends: dict[str, slice] = {}
    for dropped, part in parts(name):
        begin = len(rows)
        for one in concerned:
            if part.concerns(one.question.action):
                held = documents(one.by, one.variant)
                if name not in held:
                    continue
                rows.append(one.row({**held, name: part.removed_from(held[name])}))
        ends[dropped] = slice(begin, len(rows))
    answers = iam.decide(rows, SCOPE.account)
    idle = [dropped for dropped, part in ends.items() if set(answers[part]) <= {"Allowed"}]
    print(f"\n{name}: {len(ends)} statements and actions dropped, {len(ends) - len(idle)} missed by a call")
    assert idle == [], "no call needs these"


class Part(NamedTuple):
    """Some actions of one statement."""

    sid: str
    actions: frozenset[str]

    def concerns(self, action: str) -> bool:
        return any(fnmatch.fnmatchcase(action, one) for one in self.actions)

    def removed_from(self, policy: Document) -> Document:
        statements = []
        for statement in policy["Statement"]:
            left = [
                one for one in statement["Action"] if statement["Sid"] != self.sid or one not in self.actions
            ]
            if left:
                statements.append({**statement, "Action": left})
        return {**policy, "Statement": statements}


def parts(name: str) -> list[tuple[str, Part]]:
    """Return what is dropped: of each statement every action, and all of them."""
    found: dict[str, Part] = {}
    for variant in SCOPES:
        held = documents("daily" if name == "keys" else name, variant)
        for statement in held.get(name, {"Statement": []})["Statement"]:
            sid, actions = statement["Sid"], statement["Action"]
            found |= {f"{sid}: {one}": Part(sid, frozenset([one])) for one in actions}
            found[sid] = Part(sid, frozenset([*actions, *found.get(sid, Part(sid, frozenset())).actions]))
    return list(found.items())


def test_a_dropped_action_is_really_dropped() -> None:
    policy = iam_policies.setup_policy(SCOPE)
    sid = policy["Statement"][0]["Sid"]
    left = Part(sid, frozenset(["s3:CreateBucket"])).removed_from(policy)
    assert len(left["Statement"]) == len(policy["Statement"])
    assert set(policy["Statement"][0]["Action"]) - set(left["Statement"][0]["Action"]) == {"s3:CreateBucket"}


def test_all_required_resource_types_of_each_call_are_asked_about(iam: Iam, asked: list[Asked]) -> None:
    reference = world(iam, "daily").reference
    for (call, action), group in itertools.groupby(sorted(asked, key=_call_and_action), _call_and_action):
        about = {one.question.kind for one in group}
        assert set(reference[action]["required"]) <= about, f"{call}: {action} was asked about {about} alone"


def _call_and_action(one: Asked) -> tuple[Call, str]:
    return one.call, one.question.action


def test_the_launcher_names_the_permission_that_aws_asks_for() -> None:
    """What a refusal tells a person to add is what IAM was asked for."""
    for call in call_shapes.load():
        if call.by in {"daily", "setup"} and authorization.actions(call):
            operation = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", call.operation).lower()
            wanted = authorization.actions(call)[0].replace("DeleteObjectVersion", "DeleteObject")
            assert permission(call.service, operation) == wanted


def test_each_call_of_the_list_is_vouched_for_by_a_test_that_exists() -> None:
    for test in set(call_shapes.load().values()):
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).exists() else ""
        function = name.partition("[")[0]
        assert f"def {function}(" in text, f"{test} is gone; {call_shapes.COMMAND} ARGS={file}"


def test_the_list_is_sorted_and_whole() -> None:
    calls = call_shapes.load()
    assert list(calls) == sorted(calls)
    assert {call.by for call in calls} >= {"daily", "setup", "instance", "bake"}
