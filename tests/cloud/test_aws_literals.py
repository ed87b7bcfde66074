"""Every literal of the code that meets AWS is a word of AWS: of botocore's service models, or listed with its source."""

from __future__ import annotations

import functools
import re
from collections import Counter
from datetime import datetime, timezone

import botocore.exceptions
import pytest
from botocore.model import Shape
from botocore.retries.standard import ThrottledRetryableChecker

from tests.cloud import aws_words
from tests.cloud.aws_literals import SERVICES, Literal, literals, strings
from tests.cloud.service_model import enumeration, error_codes, members_of, operations, problems_of_request
from training.metrics.cloudwatch import put_metric_data_request

OURS = {word for words in aws_words.COMPARED.values() for word in words}


@functools.cache
def found() -> tuple[Literal, ...]:
    return tuple(literals())


@functools.cache
def members() -> dict[str, list[Shape]]:
    """Return the members of requests and answers of all operations that the code uses."""
    # A setting of the bucket is read by the operation that has its name with `get`.
    words = {word for text in strings() for word in (text, text.replace("put_", "get_", 1))}
    words |= {literal.text for literal in found() if literal.kind == "operation"}
    shapes: dict[str, list[Shape]] = {}
    for service in SERVICES:
        for operation in sorted(words & set(operations(service))):
            for name, some in members_of(service, operation).items():
                shapes.setdefault(name, []).extend(some)
    return shapes


@functools.cache
def codes() -> set[str]:
    return {code for service in SERVICES for code in error_codes(service)}


@functools.cache
def values_of(member: str) -> set[str]:
    return enumeration(members().get(member, ()))


@functools.cache
def filters() -> set[str]:
    """Return the names of filters, out of the documentation of EC2's operations that take them."""
    names: set[str] = set()
    for operation in operations("ec2").values():
        shape = operation.input_shape
        for name in ("Filters", "Filter"):
            if shape is not None and name in shape.members:
                names |= set(
                    re.findall(r"<code>([a-z0-9.:-]+)</code> (?:-|–)", shape.members[name].documentation)
                )
    return names


def source(literal: Literal) -> str:  # noqa: PLR0911 - one line a kind
    """Return where a literal is found: the model, a list of aws_words, or "" for nowhere."""
    text, of = literal.text, literal.of
    if literal.kind == "operation":
        return "model" if text in operations(of) else ""
    if literal.kind == "member":
        return "model" if text in members() else "list" if text in aws_words.MEMBERS else ""
    if literal.kind == "value":
        return "model" if text in values_of(of) else "list" if (of, text) in aws_words.VALUES else ""
    if literal.kind == "error code":
        return "model" if text in codes() else "list" if text in aws_words.ERROR_CODES else ""
    if literal.kind == "exception":
        return "model"  # it was found in botocore
    if literal.kind == "filter":
        return "model" if text in filters() or text.startswith("tag:") else ""
    if literal.kind == "filter value":
        known = values_of(aws_words.FILTER_MEMBERS.get(of, ""))
        return "model" if text in known else "list" if (of, text) in aws_words.FILTER_VALUES else ""
    known = text in members() or any(text in values_of(member) for member in members())
    return "list" if text in OURS else "model" if known else ""


def test_every_literal_that_meets_aws_is_a_word_of_aws() -> None:
    """A new one that fails here is mistyped, invented, or belongs into aws_words with the page that has it."""
    wrong = [literal for literal in found() if not source(literal)]
    assert wrong == []


def test_so_many_literals_are_looked_at() -> None:
    """Shown with -s: the figure of docs/operations.md."""
    kinds = Counter((literal.kind, source(literal)) for literal in found())
    different = len({literal[1:] for literal in found()})
    print(f"{len(found())} literals, {different} of them different")
    for kind in sorted({kind for kind, _ in kinds}):
        print(f"  {kind:14} {kinds[kind, 'model']:5} in botocore's models {kinds[kind, 'list']:5} listed")
    assert len(found()) > 1_200
    assert kinds["operation", "model"] > 90
    assert sum(count for (_, where), count in kinds.items() if where == "model") > 900


def test_the_lists_hold_nothing_that_is_not_used() -> None:
    used = Counter(literal.kind for literal in found())
    assert used.total() == len(found())
    texts = {literal.text for literal in found()}
    pairs = {(literal.of, literal.text) for literal in found()}
    assert set(aws_words.MEMBERS) - texts == set()
    assert set(aws_words.VALUES) - pairs == set()
    assert set(aws_words.FILTER_VALUES) - pairs == set()
    assert OURS - texts == set()


def test_what_is_listed_as_in_botocore_is_there() -> None:
    retried = set(ThrottledRetryableChecker._THROTTLED_ERROR_CODES)
    assert {code for code, why in aws_words.ERROR_CODES.items() if why == aws_words.THROTTLING} <= retried
    (exceptions,) = [
        words for why, words in aws_words.COMPARED.items() if why.startswith("exceptions of botocore")
    ]
    assert all(hasattr(botocore.exceptions, name) for name in exceptions)


@pytest.mark.parametrize("curve", ["gpu_percent", "free_gb", "steps_per_s", "lap_s", "reward"])
def test_a_metric_is_a_request_that_the_model_allows(curve: str) -> None:
    request = put_metric_data_request(
        "f1tenth", "race", {curve: 1.0}, datetime(2026, 12, 1, tzinfo=timezone.utc)
    )
    assert problems_of_request("cloudwatch", "put_metric_data", request) == []


# --- it finds what it is for ---
@pytest.mark.parametrize(
    "wrong",
    [
        Literal("x", "operation", "describe_flets", "ec2"),
        Literal("x", "member", "FleetStatus"),
        Literal("x", "value", "error", "EventType"),
        Literal("x", "value", "information", "EventType"),
        Literal("x", "value", "x86", "Architecture"),
        Literal("x", "error code", "CapacityExceeded"),
        Literal("x", "filter", "vpc"),
        Literal("x", "filter value", "started", "instance-state-name"),
        Literal("x", "compared", "fleetRequestChanged"),
    ],
)
def test_a_word_that_aws_does_not_have_is_found(wrong: Literal) -> None:
    assert source(wrong) == ""


@pytest.mark.parametrize(
    ("kind", "text", "of"),
    [
        ("operation", "describe_fleet_history", "ec2"),
        ("operation", "put_object", "s3"),
        ("operation", "deregister_image", "ec2"),
        ("member", "EventType", ""),
        ("value", "maintain", "Type"),
        ("value", "available", "State"),
        ("value", "active", "FleetState"),
        ("value", "instance-change", "EventType"),
        ("value", "price-capacity-optimized", "AllocationStrategy"),
        ("error code", "IdempotentParameterMismatch", ""),
        ("error code", "PreconditionFailed", ""),
        ("filter value", "shutting-down", "instance-state-name"),
    ],
)
def test_a_literal_of_each_kind_is_collected(kind: str, text: str, of: str) -> None:
    same = [literal for literal in found() if (literal.kind, literal.text) == (kind, text)]
    assert same
    assert of in {literal.of for literal in same}
