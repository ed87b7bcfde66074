"""Each argument of packer/*.hcl is one that the pinned Packer plugins know, of the type that it is given.

Debian's Packer, on which the rehearsal runs, has older plugins built in and drops the marked parts; the newer ones
can be had neither from PyPI nor from Debian, so `packer validate` with them waits for a user (docs/first-run.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest

from tests.image import packer_arguments

PACKER = Path(__file__).parents[2] / "packer"
# Packer's own, of every provisioner and post-processor (hcl2template/types.build.*.go).
OF_EVERY_STEP = {
    "name": "string", "pause_before": "string", "max_retries": "number", "timeout": "string", "only": "list",
    "except": "list", "override": "map", "keep_input_artifact": "bool",
}  # fmt: skip
Row = tuple[str, str, str]


def parsed() -> Iterator[dict[str, Any]]:
    for path in sorted(PACKER.glob("*.pkr.hcl")):
        yield hcl2.loads(path.read_text(encoding="utf-8"))


def components() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the body of each source, provisioner and post-processor with the name of its component."""
    for document in parsed():
        for kind in document.get("source", []):
            yield from ((label.strip('"'), next(iter(named.values()))) for label, named in kind.items())
        for build in document.get("build", []):
            for step in [*build.get("provisioner", []), *build.get("post-processor", [])]:
                yield from ((label.strip('"'), body) for label, body in step.items())


def given(where: str, body: dict[str, Any]) -> Iterator[Row]:
    """Yield component or block, argument and the type it is written with; `?` where only a bake knows."""
    for name, value in body.items():
        if name.startswith("__"):
            continue
        blocks = (
            [v for v in value if isinstance(v, dict) and v.get("__is_block__")]
            if isinstance(value, list)
            else []
        )
        yield where, name, "block" if blocks else written_type(value)
        for block in blocks:
            yield from given(f"{where}.{name}", block)


def written_type(value: object) -> str:
    if isinstance(value, str):
        return "string" if value.startswith('"') else "?"
    names: dict[type, str] = {bool: "bool", int: "number", list: "list", dict: "map"}
    return names[type(value)]


def written() -> list[Row]:
    return [row for component, body in components() for row in given(component, body)]


def refused(rows: list[Row]) -> list[Row]:
    _, known = packer_arguments.known()
    bad = []
    for where, name, kind in rows:
        wanted = known.get((where, name)) or OF_EVERY_STEP.get(name)
        if wanted is None or kind not in {"?", wanted}:
            bad.append((where, name, kind))
    return bad


def test_the_list_is_of_the_pinned_versions() -> None:
    """A raised pin needs the list written again: packer_arguments.py says how."""
    tags, known = packer_arguments.known()
    assert tags == packer_arguments.pins()
    assert len(known) > 300


def test_every_argument_is_known_to_its_plugin_and_of_its_type() -> None:
    rows = written()
    assert len(rows) > 60
    assert {where for where, _, _ in rows} >= {
        "amazon-ebs",
        "amazon-ebs.metadata_options",
        "ansible",
        "shell",
        "manifest",
    }
    assert refused(rows) == []


@pytest.mark.parametrize(
    "row",
    [
        ("amazon-ebs", "metadata_option", "block"),
        ("amazon-ebs", "metadata_options", "map"),
        ("amazon-ebs.metadata_options", "http_token", "string"),
        ("amazon-ebs.launch_block_device_mappings", "iops", "string"),
        ("ansible", "playbook", "string"),
        ("shell", "inline", "string"),
    ],
)
def test_a_wrong_name_or_type_would_be_seen(row: Row) -> None:
    assert refused([row]) == [row]


def test_every_function_is_known_to_the_oldest_accepted_packer() -> None:
    _, known = packer_arguments.known()
    text = "\n".join(path.read_text(encoding="utf-8") for path in PACKER.glob("*.pkr.hcl"))
    code = re.sub(r"(^\s*|\s)#.*$|^\s*type\s*=.*$", "", text, flags=re.MULTILINE)
    code = re.sub(r'"[^"\n]*"', "", code) + " ".join(re.findall(r"\$\{.*?\}", code))
    called = set(re.findall(r"\b([a-z][a-z0-9_]+)\(", code))
    assert "regex_replace" in called
    assert {name for name in called if ("function", name) not in known} == set()


@pytest.mark.parametrize("page", ["first-run.md", "image.md"])
def test_the_docs_name_the_pinned_versions(page: str) -> None:
    text = (PACKER.parent / "docs" / page).read_text(encoding="utf-8")
    assert [tag for tag in packer_arguments.pins().values() if tag.removeprefix("v") not in text] == []
