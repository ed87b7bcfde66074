"""docs/api.md, written from signatures and docstrings: `python -m tests.support.api_page`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from training.envs.parallel_env import RaceParallelEnv
from training.envs.race_env import RaceEnv
from training.envs.vec_env import RaceVecEnv
from training.envs.vector_env import RaceVectorEnv
from training.sim import Lidar, Randomisation, Switches, Track, Vehicle, World

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
HEAD = """\
# Python interface

Written from the code by `python -m tests.support.api_page`. In a checkout the package is called `training`, in the
wheel `f1tenth_training`; [environments.md](environments.md) has examples. Letters of shapes: E environments, N cars, D
numbers of an observation. Units are in the names: `_m`, `_mps`, `_rad`, `_s`, `_1pm` (1/m).
"""
CLASSES = {
    "sim": (World, Track, Vehicle, Lidar, Randomisation, Switches),
    "envs.race_env": (RaceEnv,),
    "envs.vector_env": (RaceVectorEnv,),
    "envs.parallel_env": (RaceParallelEnv,),
    "envs.vec_env": (RaceVecEnv,),
}
# Of stable-baselines3's class only what differs from its base: the rest is in its own manual.
LEFT_OUT = {"get_attr", "set_attr", "env_method", "env_is_wrapped"}


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *(_class(name, kind) for name, kinds in CLASSES.items() for kind in kinds)])


def _class(module: str, kind: type) -> str:
    lines = [
        f"## training.{module}.{kind.__name__}",
        "",
        "```text",
        _signature(kind, kind.__name__),
        "```",
        "",
    ]
    lines += [_text(kind), ""]
    members = [
        (name, member)
        for name, member in vars(kind).items()
        if not name.startswith("_") and name not in LEFT_OUT
    ]
    described = [line for name, member in members if (line := _member(name, member))]
    return "\n".join([*lines, "**Members**", "", *described, ""]) if described else "\n".join(lines)


def _member(name: str, member: Any) -> str:
    if isinstance(member, (classmethod, staticmethod)):
        member = member.__func__
    if isinstance(member, property):
        return f"- `{name}`: {_first(member.fget)}"
    wrapped = getattr(member, "func", member)  # functools.cached_property
    if wrapped is not member:
        return f"- `{name}`: {_first(wrapped)}"
    if inspect.isfunction(member):
        return f"- `{_signature(member, name)}`: {_first(member)}"
    return ""


def _signature(thing: Any, name: str) -> str:
    signature = inspect.signature(thing)
    kept = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name not in ("self", "cls", "_cls")
    ]
    return name + str(signature.replace(parameters=kept, return_annotation=inspect.Signature.empty))


def _first(function: Any) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join(inspect.getdoc(function).partition("\n\n")[0].split())


def _text(kind: type) -> str:
    """Return a class's docstring; its sections of arguments and errors become lists."""
    text = inspect.cleandoc(kind.__doc__ or "")
    text = re.sub(r"^(Args|Raises|Attributes):$", r"**\1**\n", text, flags=re.MULTILINE)
    text = re.sub(r"^    (\w+): ", r"- `\1`: ", text, flags=re.MULTILINE)
    return re.sub(r"^ {4,}", "  ", text, flags=re.MULTILINE)


if __name__ == "__main__":
    PAGE.write_text(page())
