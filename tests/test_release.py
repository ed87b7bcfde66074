"""A release is one thing: the version in pyproject.toml, the newest heading of CHANGELOG.md and the tag agree."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def faults(version: str, changelog: str, tags: list[str]) -> list[str]:
    """Return what disagrees. `tags` are those of this commit; without one, `## Unreleased` may stand on top."""
    if not VERSION.fullmatch(version):
        return [f"pyproject.toml: {version} is not MAJOR.MINOR.PATCH"]
    headings = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    newest, *_ = headings or [""]
    released = [heading for heading in headings if heading != "Unreleased"]
    found = [f"CHANGELOG.md: '## {heading}' is no release" for heading in released if not is_release(heading)]
    if "Unreleased" in headings[1:]:
        found.append("CHANGELOG.md: '## Unreleased' below a release")
    if found:
        return found
    numbers = [numbered(heading.split()[0]) for heading in released]
    if numbers != sorted(set(numbers), reverse=True):
        found.append("CHANGELOG.md: the newest release does not stand first, or one stands there twice")
    # Between two releases the version may be raised ahead of its heading, and never lies behind the last one.
    if numbers and (
        numbered(version) < numbers[0] or (newest == released[0] and numbered(version) != numbers[0])
    ):
        found.append(f"pyproject.toml has {version}, the newest release of CHANGELOG.md is {released[0]}")
    for tag in (tag for tag in tags if re.match(r"v\d", tag)):
        if tag != f"v{version}":
            found.append(f"the tag {tag} is not v{version}")
        if not newest.startswith(f"{version} "):
            found.append(f"the tag {tag} stands on a CHANGELOG.md whose newest heading is '## {newest}'")
    return found


def is_release(heading: str) -> bool:
    """Tell whether a heading is a version, a dash and a day: 0.2.0 - 2027-01-31."""
    version, dash, day = heading.partition(" - ")
    try:
        dt.date.fromisoformat(day)
    except ValueError:
        return False
    return bool(dash and VERSION.fullmatch(version) and len(day) == len("2027-01-31"))


def numbered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_version_changelog_and_tag_agree() -> None:
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert version
    listing = subprocess.run(
        ["git", "tag", "--points-at", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert faults(version[1], changelog, listing.stdout.split()) == []


RELEASED = "## 0.2.0 - 2027-01-31\n- b\n## 0.1.0 - 2026-12-01\n- a\n"


@pytest.mark.parametrize(
    ("version", "changelog", "tags"),
    [
        ("0.1.0", "## Unreleased\n- a\n", []),
        ("0.2.0", RELEASED, []),
        ("0.2.0", RELEASED, ["v0.2.0", "nightly"]),
        ("0.2.0", "## Unreleased\n- c\n" + RELEASED, []),
        ("0.3.0", "## Unreleased\n- c\n" + RELEASED, []),
        ("0.10.0", "## 0.10.0 - 2027-01-31\n## 0.9.0 - 2026-12-01\n", ["v0.10.0"]),
    ],
)
def test_what_agrees_passes(version: str, changelog: str, tags: list[str]) -> None:
    assert faults(version, changelog, tags) == []


@pytest.mark.parametrize(
    ("version", "changelog", "tags", "said"),
    [
        ("0.2", RELEASED, [], "is not MAJOR.MINOR.PATCH"),
        ("0.2.0rc1", RELEASED, [], "is not MAJOR.MINOR.PATCH"),
        ("0.1.0", RELEASED, [], "has 0.1.0, the newest release"),
        ("0.3.0", RELEASED, [], "has 0.3.0, the newest release"),
        ("0.1.0", "## Unreleased\n" + RELEASED, [], "has 0.1.0, the newest release"),
        ("0.2.0", RELEASED, ["v0.2.1"], "the tag v0.2.1 is not v0.2.0"),
        ("0.2.0", "## Unreleased\n" + RELEASED, ["v0.2.0"], "newest heading is '## Unreleased'"),
        ("0.2.0", "## 0.2.0\n", [], "is no release"),
        ("0.2.0", "## 0.2.0 - 2027-02-31\n", [], "is no release"),
        ("0.2.0", "## v0.2.0 - 2027-01-31\n", [], "is no release"),
        ("0.2.0", RELEASED + "## Unreleased\n", [], "below a release"),
        ("0.2.0", "## 0.2.0 - 2027-01-31\n## 0.10.0 - 2026-12-01\n", [], "does not stand first"),
    ],
)
def test_what_disagrees_is_said(version: str, changelog: str, tags: list[str], said: str) -> None:
    assert any(said in fault for fault in faults(version, changelog, tags))
