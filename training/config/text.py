"""Between settings and text: strict YAML, dotted keys, messages that name the key, the example file.

Works on any pydantic model whose fields are values or further models; knows no single setting.
"""

from __future__ import annotations

import difflib
import math
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ..errors import ConfigurationError, UsageError


class Given(NamedTuple):
    """A value as the user gave it, and where."""

    value: object
    source: str


Leaves = dict[str, Given]
Model = type[BaseModel]


# --- YAML ---
class _Loader(yaml.SafeLoader):
    """YAML as people mean it: 3e-4 is a number, dates are text, a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(self.construct_object(key_node, deep=True))
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _exponent(loader: yaml.Loader, node: yaml.ScalarNode) -> float | int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    number = float(text)
    whole = "." not in text and "-" not in text.lower().partition("e")[2]
    return int(number) if whole and math.isfinite(number) else number  # 1e6 is a count, 1.0e6 a measure


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "!exponent", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
_Loader.add_constructor("!exponent", _exponent)


def parse_yaml(text: str, where: str) -> object:
    """Return the data of a YAML text. ConfigurationError with line and column if it is broken."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"{where} is not valid YAML: {error}") from None


def read_settings_file(path: Path) -> Mapping[str, object]:
    """Return the mapping in a settings file; an empty file is an empty mapping."""
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error}", next_step="config.example.yaml shows every setting."
        ) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigurationError(
            f"{path} holds a {type(data).__name__}, not groups of settings",
            next_step="config.example.yaml shows the form.",
        )
    return data


def parse_override(text: str) -> tuple[str, object]:
    """Split `a.b=value` into the key and the value, which is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(
            f"--set {text!r} has no form key=value",
            next_step="Write for example --set training.total_timesteps=50000",
        )
    return key.strip(), parse_yaml(value, f"--set {text}")


# --- dotted keys ---
def section_of(field: FieldInfo) -> Model | None:
    """Return the model of a field that is a group of settings, else None."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def walk(model: Model, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every setting as its dotted key and field, in the order of the source."""
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is None:
            yield prefix + name, field
        else:
            yield from walk(section, f"{prefix}{name}.")


def _former_names(model: Model) -> dict[str, str]:
    """Return former dotted key → today's, of the settings that were renamed."""
    renamed = {}
    for key, field in walk(model):
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("formerly"):
            name = str(extra["formerly"])
            renamed[name if "." in name else f"{key.rpartition('.')[0]}.{name}"] = key
    return renamed


def _today(field: FieldInfo, value: object) -> object:
    """Return what a former setting's value is called today."""
    extra = field.json_schema_extra
    meant = extra.get("former_values") if isinstance(extra, dict) else None
    return meant.get(str(value), value) if isinstance(meant, dict) else value


def flatten(
    model: Model,
    data: Mapping[str, object],
    source: str,
    on_renamed: Callable[[str, str], object] = lambda _former, _key: None,
) -> Leaves:
    """Return dotted key → value. ConfigurationError lists every key that the model does not know.

    A former name of a setting counts as today's; on_renamed hears of each: the former name and today's key.
    """
    known, former = dict(walk(model)), _former_names(model)
    groups = sorted(
        {key.rsplit(".", depth)[0] for key in (*known, *former) for depth in range(1, key.count(".") + 1)}
    )
    leaves: Leaves = {}
    problems: list[str] = []

    def visit(tree: Mapping[str, object], prefix: str) -> None:
        for name, value in tree.items():
            written = f"{prefix}{name}"
            key = former.get(written, written)
            if key in leaves:
                problems.append(f"{written} ({source}) and {key} are the same setting: leave one out")
            elif key in known:
                leaves[key] = Given(_today(known[key], value) if written in former else value, source)
                if written in former:
                    on_renamed(written, key)
            elif key not in groups:
                problems.append(
                    f"{key} ({source}) is not a setting. Did you mean {_nearest(key, [*groups, *known])}?"
                )
            elif isinstance(value, Mapping):
                visit(value, f"{key}.")
            elif value is not None:
                problems.append(f"{key} ({source}) = {value!r} is a group of settings, not a value")

    visit(data, "")
    if problems:
        raise ConfigurationError("\n".join(problems), next_step="config.example.yaml lists every setting.")
    return leaves


def nested(leaves: Leaves) -> dict[str, Any]:
    """Return the dotted keys as nested dictionaries."""
    tree: dict[str, Any] = {}
    for key, given in leaves.items():
        *path, name = key.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[name] = given.value
    return tree


def _nearest(key: str, known: Sequence[str]) -> str:
    prefix, _, name = key.rpartition(".")
    same_name = [other for other in known if other.rpartition(".")[2] == name]
    siblings = [other for other in known if other.rpartition(".")[0] == prefix]
    near = (
        same_name
        or difflib.get_close_matches(key, siblings, n=1, cutoff=0.7)
        or difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    )
    return near[0]


# --- what is legal ---
def legal_values(field: FieldInfo) -> str:
    """Return the legal values of a setting in words, for example `integer, 1 to 4096`."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and extra.get("legal"):
        return str(extra["legal"]) + (" | null" if types.NoneType in get_args(field.annotation) else "")
    return _legal_type(field.annotation, field.metadata)


def _legal_type(kind: Any, limits: list[Any]) -> str:  # noqa: ANN401 - a type form
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " | ".join(_legal_type(part, limits) for part in get_args(kind))
    if origin is Annotated:
        inner, *more = get_args(kind)
        return _legal_type(inner, [*more, *limits])
    if origin is Literal:
        return " | ".join(str(choice) for choice in get_args(kind))
    if origin is tuple:
        return f"list of {_legal_type(get_args(kind)[0], [])}" + (
            "" if _limit(limits, "min_length") is None else ", not empty"
        )
    if (pattern := _limit(limits, "pattern")) is not None:
        return f"text like {pattern}"
    names = {int: "integer", float: "number", str: "text", bool: "true | false", types.NoneType: "null"}
    return names[kind] + (_bounds(limits) if kind in (int, float) else "")


def _limit(limits: list[Any], name: str) -> Any:  # noqa: ANN401 - a number or None
    flat = [
        part for limit in limits for part in (limit.metadata if isinstance(limit, FieldInfo) else [limit])
    ]
    return next((getattr(limit, name) for limit in flat if getattr(limit, name, None) is not None), None)


def _bounds(limits: list[Any]) -> str:
    low, above, high = (_limit(limits, name) for name in ("ge", "gt", "le"))
    lowest = f"above {above}" if above is not None else f"{low}" if low is not None else None
    if lowest is None:
        return "" if high is None else f", at most {high}"
    return f", {lowest} to {high}" if high is not None else f", at least {lowest}"


def explain(model: Model, error: ValidationError, leaves: Leaves) -> str:
    """Return one line for each wrong setting: dotted key, value, where it was given, what is legal."""
    known = dict(walk(model))
    lines: dict[str, None] = {}
    for item in error.errors(include_url=False):
        path = [str(part) for part in item["loc"]]
        key = next((key for n in range(len(path), 0, -1) if (key := ".".join(path[:n])) in known), None)
        if key is None:
            where = f"{'.'.join(path)}: " if path else ""
            lines[where + item["msg"].removeprefix("Value error, ")] = None
        else:
            given = leaves.get(key, Given(item["input"], "default"))
            lines[
                f"{key} = {given.value!r} ({given.source}) is not legal. Legal: {legal_values(known[key])}"
            ] = None
    return "\n".join(lines)
