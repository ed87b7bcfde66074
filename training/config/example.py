"""Write config.example.yaml, the manual of the settings: `python -m training.config.example` prints it."""

from __future__ import annotations

import sys
import textwrap

import yaml
from pydantic import BaseModel

from .settings import PRESETS, Config
from .text import legal_values, section_of

WIDTH = 110
HEADER = """\
# Every setting, with its default. Copy this file to config.yaml, then take the # off the lines to change:
# what stays commented keeps the value of the preset (training.preset: local | cloud).
# The command line wins over the file: --set training.total_timesteps=50000
# Written from training/config*.py by `python -m training.config.example`.
"""


def example_yaml() -> str:
    """Return the text of config.example.yaml."""
    return HEADER + "\n".join(_section_lines(Config(), "", "")) + "\n"


def _section_lines(section: BaseModel, prefix: str, indent: str) -> list[str]:
    lines: list[str] = []
    for name, field in type(section).model_fields.items():
        value, model = getattr(section, name), section_of(field)
        if model is not None:
            lines += ["", *_comment(indent, str(model.__doc__)), f"{indent}{name}:"]
            lines += _section_lines(value, f"{prefix}{name}.", f"{indent}  ")
        else:
            lines += _comment(indent, f"{field.description} [{legal_values(field)}]{_presets(prefix + name)}")
            lines.append(f"{indent}#{name}: {_yaml_value(value)}")
    return lines


def _comment(indent: str, text: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False)


def _presets(key: str) -> str:
    return "".join(
        f" ({name}: {_yaml_value(values[key])})" for name, values in PRESETS.items() if key in values
    )


def _yaml_value(value: object) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()


if __name__ == "__main__":
    sys.stdout.write(example_yaml())
