"""What AWS's own service model, which botocore ships, says of requests, answers and words.

botocore checks types of requests; it checks no enumeration, no pattern, and nothing of an answer. Here all of it is.
"""

from __future__ import annotations

import functools
import json
import math
import re
import xml.etree.ElementTree as ET  # our own stand-ins' answers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.stub import Stubber

from tests.cloud import aws_words

# Services by the name that requests are signed with, where botocore calls them otherwise.
SIGNED_AS = {"servicequotas": "service-quotas", "monitoring": "cloudwatch"}


@functools.cache
def service_model(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


@functools.cache
def operations(service: str) -> dict[str, OperationModel]:
    """Return the operations of a service by the names that boto3's methods have."""
    model = service_model(service)
    return {botocore.xform_name(name): model.operation_model(name) for name in model.operation_names}


def problems_of_request(service: str, operation: str, request: Mapping[str, Any]) -> list[str]:
    """Return what of a request the model does not allow."""
    shape = operations(service)[operation].input_shape
    return list(_problems(shape, request, operation)) if shape is not None else []


def problems_of_answer(service: str, operation: str, answer: Mapping[str, Any]) -> list[str]:
    """Return what of an answer, as boto3 gives it, AWS would never say."""
    shape = operations(service)[operation].output_shape
    told = {key: value for key, value in answer.items() if key != "ResponseMetadata"}
    if shape is None:
        return [f"{operation}: answers nothing, not {sorted(told)}"] if told else []
    return list(_problems(shape, told, operation))


def problems_of_wire(service: str, operation: str, body: str, status: int = 200) -> list[str]:
    """Return what of an answer, as bytes on the wire, AWS would never say; what botocore drops of it, too."""
    model = operations(service)[operation]
    parser = create_parser(service_model(service).protocol)
    raw = {"body": body.encode(), "status_code": status, "headers": {}}
    parsed = parser.parse(raw, model.output_shape)
    if status >= 300:
        return []
    parsed.pop("ResponseMetadata", None)
    found = problems_of_answer(service, operation, parsed)
    said, understood = len(_leaves_on_wire(body)), len(list(_leaves(parsed)))
    if said != understood:
        found.append(f"{operation}: {said} values are said, botocore finds {understood} of them in its model")
    return found


class TruthfulStubber(Stubber):
    """botocore's stubber, whose answers and error codes must be the vendor's, not only of the right types."""

    def add_response(self, method: str, service_response: Any, expected_params: Any = None) -> None:
        service = self.client.meta.service_model.service_name
        wrong = problems_of_answer(service, method, service_response)
        assert wrong == [], f"AWS would never answer so: {wrong}"
        super().add_response(method, service_response, expected_params)

    def add_client_error(self, method: str, service_error_code: str = "", *more: Any, **named: Any) -> None:
        service = self.client.meta.service_model.service_name
        known = error_codes(service) | set(aws_words.ERROR_CODES)
        listed = service_error_code in known or service_error_code.isdigit()
        assert listed, f"{service_error_code} is no error code of {service}"
        super().add_client_error(method, service_error_code, *more, **named)


@functools.cache
def members_of(service: str, operation: str) -> dict[str, tuple[Shape, ...]]:
    """Return every member of an operation's request and answer, at any depth, by name."""
    model, found = operations(service)[operation], dict[str, list[Shape]]()
    waiting = [shape for shape in (model.input_shape, model.output_shape) if shape is not None]
    seen: set[str] = set()
    while waiting:
        shape = waiting.pop()
        if isinstance(shape, ListShape):
            waiting.append(shape.member)
        elif isinstance(shape, MapShape):
            waiting += [shape.key, shape.value]
        elif isinstance(shape, StructureShape) and shape.name not in seen:
            seen.add(shape.name)
            for name, inner in shape.members.items():
                found.setdefault(name, []).append(inner)
                waiting.append(inner)
    return {name: tuple(shapes) for name, shapes in found.items()}


def enumeration(shapes: Iterable[Shape]) -> set[str]:
    """Return all that the model lets one of these be, or what they list; empty where it names no limit."""
    inner = [shape.member if isinstance(shape, ListShape) else shape for shape in shapes]
    return {word for shape in inner for word in getattr(shape, "enum", None) or ()}


def error_codes(service: str) -> set[str]:
    """Return the error codes that the model of a service names; EC2's names none."""
    shapes = service_model(service).error_shapes
    return {shape.error_code for shape in shapes} | {shape.name for shape in shapes}


def _problems(shape: Shape, value: Any, path: str) -> Iterator[str]:  # noqa: C901, PLR0912 - one branch a kind
    if isinstance(shape, StructureShape):
        if not isinstance(value, Mapping):
            yield f"{path}: {value!r} is no structure"
            return
        for name in shape.required_members:
            if name not in value:
                yield f"{path}: {name} is required"
        for name, inner in value.items():
            if name not in shape.members:
                yield f"{path}.{name}: no such member; there are {', '.join(shape.members)}"
            else:
                yield from _problems(shape.members[name], inner, f"{path}.{name}")
    elif isinstance(shape, ListShape):
        yield from _outside(shape, len(value), f"{path}: length")
        for index, one in enumerate(value):
            yield from _problems(shape.member, one, f"{path}[{index}]")
    elif isinstance(shape, MapShape):
        for key, one in value.items():
            yield from _problems(shape.key, key, f"{path} key")
            yield from _problems(shape.value, one, f"{path}[{key}]")
    elif shape.type_name == "string":
        if not isinstance(value, str):
            yield f"{path}: {value!r} is no text"
            return
        if shape.enum and value not in shape.enum:
            yield f"{path}: {value!r} is none of {', '.join(shape.enum)}"
        yield from _outside(shape, len(value), f"{path}: length")
        yield from _unlike(shape, value, path)
    elif shape.type_name in {"integer", "long", "float", "double"}:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield f"{path}: {value!r} is no number"
        else:
            yield from _outside(shape, value, path)
    elif shape.type_name == "boolean" and not isinstance(value, bool):
        yield f"{path}: {value!r} is neither true nor false"


def _outside(shape: Shape, value: float, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min", -math.inf), shape.metadata.get("max", math.inf)
    if not low <= value <= high:
        yield f"{path} {value} is not within {low} to {high}"


def _unlike(shape: Shape, value: str, path: str) -> Iterator[str]:
    pattern = shape.metadata.get("pattern")
    if pattern is None:
        return
    try:
        fits = re.fullmatch(pattern, value) is not None or re.search(f"^(?:{pattern})$", value) is not None
    except re.error:  # Java's classes, as \p{L}
        return
    if not fits:
        yield f"{path}: {value!r} is not like {pattern}"


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves(inner)
    elif value != "":  # an empty element
        yield value


def _leaves_on_wire(body: str) -> list[str]:
    if body.lstrip().startswith("{"):
        return [str(leaf) for leaf in _leaves(json.loads(body))]
    if not body.lstrip().startswith("<"):
        return []
    elements = ET.fromstring(body).iter()  # noqa: S314 - our own answer, or that of moto on this machine
    return [
        element.text
        for element in elements
        if len(element) == 0 and element.text and not element.tag.endswith(("RequestId", "requestId"))
    ]
