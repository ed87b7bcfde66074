"""Every setting is read by code: one that nothing looks at promises what nobody does."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.config import Config
from training.config.text import section_of, walk

ROOT = Path(__file__).parent.parent
SOURCES = (ROOT / "launch.py", *sorted((ROOT / "training").rglob("*.py")))


def groups(model: type = Config, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Give each group of settings: the name of its class, and its dotted key."""
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is not None:
            yield section.__name__, prefix + name
            yield from groups(section, f"{prefix}{name}.")


GROUPS = dict(groups())


def last_name(node: ast.AST | None) -> str:
    """Return the name that an expression ends with: `c` of `a.b.c`; of a call that of what it calls."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=called):
            return last_name(called)
    return ""


def bindings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Give each name of a module that stands for something: with its annotation, or with what is assigned to it."""
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name, annotation=kind) | ast.FunctionDef(name=name, returns=kind):
                yield name, last_name(kind)
            case ast.AnnAssign(target=target, annotation=kind):
                yield last_name(target), last_name(kind)
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                yield from zip(map(last_name, names), map(last_name, values), strict=True)
            case ast.Assign(targets=[target], value=value):
                yield last_name(target), last_name(value)


def aliases(tree: ast.Module) -> Mapping[str, set[str]]:
    """Return, of the names in a module that stand for groups of settings, the keys of these."""
    found = {key.rpartition(".")[2]: {key} for key in GROUPS.values()} | {c: {k} for c, k in GROUPS.items()}
    for _ in range(2):  # an alias of an alias
        for name, meant in bindings(tree):
            if name and meant in found:
                found[name] = found.get(name, set()) | found[meant]
    return found


def keys_read(source: str) -> set[str]:
    """Return the dotted keys that a module reads: `group.setting`, or an alias of the group in its place."""
    tree = ast.parse(source)
    known, read = aliases(tree), set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=owner, attr=name, ctx=ast.Load()):
                read |= {f"{key}.{name}" for key in known.get(last_name(owner), ())}
            case ast.Subscript(value=ast.Name(id="numbers"), slice=ast.Constant(value=str(name))):
                read.add(
                    f"env.car.{name}"
                )  # training.config.vehicle.numbers_of: every number of a car by its name
            case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Name(), *_]):
                keys = known.get(last_name(owner), set())
                read |= {key for key, _ in walk(Config) if key.rpartition(".")[0] in keys}
    return read


def test_every_setting_is_read_somewhere() -> None:
    """By its whole key: that another group has a setting of the same name does not help."""
    read = set().union(*(keys_read(path.read_text(encoding="utf-8")) for path in SOURCES))
    assert [key for key, _ in walk(Config) if key not in read] == []


def test_a_setting_is_read_by_its_group_or_by_what_stands_for_it() -> None:
    """The reader itself: it tells groups with the same leaf apart, and counts no other object's attribute."""
    source = (
        "def f(config, one: 'x', settings: SacSettings):\n"
        "    mine = config.multi_agent.league\n"
        "    return config.tensorboard.interval_s, mine.snapshot_fraction, settings.gamma, one.tau, other.live\n"
    )
    wanted = {"tensorboard.interval_s", "multi_agent.league.snapshot_fraction", "sac.gamma"}
    assert keys_read(source) & {key for key, _ in walk(Config)} == wanted
