"""Every task of the roles, read from their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ANSIBLE = Path(__file__).parents[2] / "ansible"

ROLES = sorted(path for path in (ANSIBLE / "roles").iterdir() if path.is_dir())

Task = dict[str, Any]


def tasks_of(role: Path) -> Iterator[Task]:
    """Yield every task of a role, those in blocks too."""
    for path in sorted((role / "tasks").glob("*.yml")):
        yield from flattened(yaml.safe_load(path.read_text(encoding="utf-8")))


def flattened(tasks: list[Task]) -> Iterator[Task]:
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from flattened(task.get(part, []))


def every_task() -> Iterator[tuple[str, Task]]:
    for role in ROLES:
        yield from ((role.name, task) for task in tasks_of(role))
