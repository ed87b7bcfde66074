"""Whether something on AWS is ours: its tags say so, not its name. Asked before it is used, changed or deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ... import layout
from ...errors import UsageError
from .project import Project


def as_mapping(pairs: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """Return the tags of an answer, which EC2, IAM and S3 give as pairs of Key and Value; empty where it has none."""
    return {str(pair["Key"]): str(pair["Value"]) for pair in pairs or ()}


def is_owned(project: Project, tags: Mapping[str, str], run: str | None = None) -> bool:
    """Tell whether tags are those of the project and, where one is named, of the run."""
    return not _missing(project, tags, run)


def is_of_a_run(project: Project, tags: Mapping[str, str]) -> bool:
    """Tell whether tags are those that a launch gives to what costs money: all four of them.

    `Project` alone may be anyone's tag, used to divide a bill.
    """
    marks = (layout.TAG_RUN, layout.TAG_OWNER, layout.TAG_EXPIRES_AT)
    return is_owned(project, tags) and all(key in tags for key in marks)


def require_owned(
    project: Project, what: str, tags: Mapping[str, str], *, run: str | None = None, next_step: str = ""
) -> None:
    """Raise UsageError for something that has our name but not our tags.

    what: it in words, as `role f1tenth.us-east-2.race`. tags: its own. run: the run that it must belong to, if any.
    """
    missing = _missing(project, tags, run)
    if missing:
        wanted = ", ".join(f"{key}={value}" for key, value in missing.items())
        seen = ", ".join(f"{key}={tags[key]}" for key in missing if key in tags) or "none"
        raise UsageError(
            f"{what} exists and is not ours: it lacks the tag {wanted} (it has {seen}). It stays as it is",
            next_step=next_step
            or "Choose another aws.project_name; or, if it is yours, delete it or tag it.",
        )


def _missing(project: Project, tags: Mapping[str, str], run: str | None) -> dict[str, str]:
    wanted = {layout.TAG_PROJECT: project.name, **({} if run is None else {layout.TAG_RUN: run})}
    return {key: value for key, value in wanted.items() if tags.get(key) != value}
