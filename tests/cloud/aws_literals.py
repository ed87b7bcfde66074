"""Find the literals of the code that meet AWS: sent in a request, read from an answer, compared with one.

Read out of the source, so that none is forgotten. What each means is decided by where it stands:

    cloud.call("ec2", "describe_images", Owners=["self"])   operation, members and values of its request
    reply["Fleets"], fleet.get("Type")                      members of answers
    fleet["FleetState"] in LIVE_FLEETS                      values of the member FleetState
    error.code == "IdempotentParameterMismatch"             error codes
    {"EndpointConnectionError": "Check the network …"}      exceptions of botocore
    {"Name": "vpc-id", "Values": […]}                       filters
    state == "done", key.startswith("arn:")                 whatever else is compared: ours, or not, as aws_words says
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import botocore.exceptions
import botocore.parsers

from tests.cloud.fake_aws import ROOT
from tests.cloud.service_model import operations

FOLDERS = ("training/cloud", "training/instance", "training/aws_access", "packer")
FILES = ("training/store/s3.py", "training/store/s3_errors.py", "training/metrics/cloudwatch.py")
SERVICES = (
    "ec2", "iam", "s3", "sts", "ssm", "logs", "service-quotas", "pricing", "cloudwatch", "kms",
)  # fmt: skip
# Where a client of boto3 is used directly, it is of this service.
CLIENTS = {
    "packer/ami.py": "ec2",
    "training/store/s3.py": "s3",
    "training/metrics/cloudwatch.py": "cloudwatch",
}
# Functions of ours that hand a service and an operation on, with how many words come before these two.
CALLERS = {"call", "pages", "send", "unless_absent", "partial"}
MEMBER = re.compile(r"[A-Z][a-z]*[A-Za-z0-9]*")
EXCEPTIONS = set(dir(botocore.exceptions)) | set(dir(botocore.parsers))
CODE_SETS = re.compile(
    r"THROTTLED|FAULTS|EXPIRED|ACCESS|DENIED|CAPACITY|QUOTA|ABSENT|PRESENT|UNSUPPORTED|CLOCK|.*CODES.*|.*ERRORS.*"
)


class Literal(NamedTuple):
    """A literal that meets AWS: where it stands, what it is, and for a value of what."""

    where: str
    kind: str  # operation | member | value | error code | exception | filter | filter value | compared
    text: str
    of: str = ""  # the operation's service, the value's member, the filter's name


def literals() -> Iterator[Literal]:
    """Yield all literals that meet AWS."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    constants = {name: value for path in _all(paths) for name, value in _constants(path)}
    for path in _all(paths):
        yield from _File(path, constants).literals()


def strings() -> set[str]:
    """Return every text of these files: operations may stand in tables, and be sent by a loop."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in _all(paths)]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return {node.value for node in nodes if isinstance(node.value, str)}


def _all(paths: list[Path]) -> list[Path]:
    return [*paths, *(ROOT / name for name in FILES)]


def _constants(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the words of each constant of a module that is a collection of words."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id.isupper() and value is not None:
            yield target.id, [text for text, _ in _words(value)]


def _words(node: ast.expr) -> list[tuple[str, int]]:  # noqa: PLR0911 - one line a kind
    """Return the words of a literal, a collection of them, or the keys of a mapping."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [(node.value, node.lineno)]
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return [word for one in node.elts for word in _words(one)]
    if isinstance(node, ast.Dict):
        return [word for key in node.keys if key is not None for word in _words(key)]
    if isinstance(node, ast.Call) and node.args and getattr(node.func, "id", "") in {"frozenset", "set"}:
        return _words(node.args[0])
    if isinstance(node, ast.BinOp):
        return [*_words(node.left), *_words(node.right)]
    if isinstance(node, ast.IfExp):
        return [*_words(node.body), *_words(node.orelse)]
    return []


class _File:
    """One source file, read for its literals."""

    def __init__(self, path: Path, constants: dict[str, list[str]]) -> None:
        self.name = path.relative_to(ROOT).as_posix()
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.constants = constants
        # Its mappings have error codes as keys, and what a user can do as values.
        self._is_advice = self.name.endswith(("s3_errors.py", "advice.py"))

    def literals(self) -> Iterator[Literal]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield from self._call(node)
                yield from self._get(node)
                yield from self._beginning(node)
            elif isinstance(node, ast.Dict):
                yield from self._dict(node)
            elif isinstance(node, ast.Subscript):
                yield from self._member(node.slice)
            elif isinstance(node, ast.Compare):
                yield from self._compare(node)
            elif isinstance(node, ast.Assign):
                yield from self._codes(node)

    def _at(self, node: ast.AST) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 0)}"

    # --- requests ---
    def _call(self, node: ast.Call) -> Iterator[Literal]:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        words = [
            one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)
        ]
        service = words[0] if words else ""
        if name in CALLERS and service in SERVICES and len(words) > 1:
            yield Literal(self._at(node), "operation", words[1], service)
            for word in words[2:]:  # of `pages`: the list in the answer
                yield Literal(self._at(node), "member", word, service)
        elif self.name in CLIENTS and name in operations(CLIENTS[self.name]):
            yield Literal(self._at(node), "operation", name, CLIENTS[self.name])
        for keyword in node.keywords:
            if keyword.arg is not None and self._is_member(keyword.arg):
                yield Literal(self._at(node), "member", keyword.arg)
                yield from self._values(keyword.arg, keyword.value)

    def _dict(self, node: ast.Dict) -> Iterator[Literal]:
        pairs = {
            key.value: value
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        }
        if set(pairs) == {"Name", "Values"}:
            yield from self._filter(pairs["Name"], pairs["Values"])
            return
        for key, value in pairs.items():
            if key in EXCEPTIONS:
                yield Literal(self._at(node), "exception", key)
            elif self._is_advice:
                yield Literal(self._at(node), "error code", key)
            elif self._is_member(key):
                yield Literal(self._at(node), "member", key)
                yield from self._values(key, value)

    def _filter(self, name: ast.expr, values: ast.expr) -> Iterator[Literal]:
        for text, _ in _words(name):
            yield Literal(self._at(name), "filter", text)
            for word in self._resolved(values):
                yield Literal(self._at(values), "filter value", word, text)

    def _values(self, member: str, value: ast.expr) -> Iterator[Literal]:
        items = value.elts if isinstance(value, (ast.Tuple, ast.List, ast.Set)) else [value]
        for item in items:  # a mapping in it is looked at by itself
            for word, _ in [] if isinstance(item, ast.Dict) else _words(item):
                yield Literal(self._at(value), "value", word, member)

    # --- answers ---
    def _get(self, node: ast.Call) -> Iterator[Literal]:
        if getattr(node.func, "attr", "") == "get" and node.args:
            yield from self._member(node.args[0])

    def _member(self, key: ast.expr) -> Iterator[Literal]:
        for text, _ in _words(key) if isinstance(key, ast.Constant) else []:
            if self._is_member(text):
                yield Literal(self._at(key), "member", text)

    def _is_member(self, text: str) -> bool:
        return MEMBER.fullmatch(text) is not None and not text.isupper()

    def _compare(self, node: ast.Compare) -> Iterator[Literal]:
        sides = [node.left, *node.comparators]
        words = [word for side in sides for word in self._resolved(side)]
        if not words or isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            return
        if any("code" in {getattr(side, "attr", ""), getattr(side, "id", "")} for side in sides):
            yield from (Literal(self._at(node), "error code", word) for word in words)
            return
        members = [member for side in sides for member in self._read(side)]
        for word in words:
            kind = "value" if members else "compared"
            yield Literal(self._at(node), kind, word, members[-1] if members else "")

    def _beginning(self, node: ast.Call) -> Iterator[Literal]:
        if getattr(node.func, "attr", "") in {"startswith", "endswith"}:
            for side in node.args:
                for word in self._resolved(side):
                    yield Literal(self._at(node), "compared", word)

    def _read(self, node: ast.expr) -> list[str]:
        """Return the member of an answer that an expression reads, in a list: empty where it reads none."""
        for one in ast.walk(node):
            key = one.slice if isinstance(one, ast.Subscript) else None
            if isinstance(one, ast.Call) and getattr(one.func, "attr", "") == "get" and one.args:
                key = one.args[0]
            if isinstance(key, ast.Constant) and isinstance(key.value, str) and self._is_member(key.value):
                return [key.value]
        return []

    def _resolved(self, node: ast.expr) -> list[str]:
        """Return the words of an expression; those of a constant, wherever it is made."""
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") in {"list", "set", "tuple"}
            and node.args
        ):
            return self._resolved(node.args[0])
        name = getattr(node, "id", getattr(node, "attr", ""))
        if isinstance(node, (ast.Name, ast.Attribute)) and name in self.constants:
            return self.constants[name]
        return [text for text, _ in _words(node)]

    # --- error codes ---
    def _codes(self, node: ast.Assign) -> Iterator[Literal]:
        target = node.targets[0]
        errors = self._is_advice or "problems" in self.name
        if errors and isinstance(target, ast.Name) and CODE_SETS.fullmatch(target.id.lstrip("_")):
            for text, line in [] if isinstance(node.value, ast.Dict) else _words(node.value):
                if " " not in text:
                    yield Literal(
                        f"{self.name}:{line}", "exception" if text in EXCEPTIONS else "error code", text
                    )
