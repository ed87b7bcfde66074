"""docs/aws_faults.md names, for each fault that a first run on AWS would have met, the tests that hold it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (?P<number>[1-9][0-9]*\.[0-9]+[a-z]?) \| (?P<fault>.+?) \| (?P<tests>.+) \|$")
TEST = re.compile(r"`(?P<file>tests/[A-Za-z0-9_/.-]+)(?:::(?P<name>[A-Za-z0-9_]+))?`")
SECTIONS = range(1, 8)


def rows() -> list[re.Match[str]]:
    """Return the rows of the tables."""
    lines = (ROOT / "docs" / "aws_faults.md").read_text(encoding="utf-8").splitlines()
    return [found for line in lines if (found := ROW.match(line))]


def test_every_section_has_its_faults_and_every_fault_its_number_once() -> None:
    numbers = [row["number"] for row in rows()]
    assert {int(number.partition(".")[0]) for number in numbers} == set(SECTIONS)
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["number"])
def test_the_tests_that_hold_a_fault_exist(row: re.Match[str]) -> None:
    named = list(TEST.finditer(row["tests"]))
    assert named, row["tests"]
    for test in named:
        text = (ROOT / test["file"]).read_text(encoding="utf-8")
        if test["name"]:
            assert re.search(rf"\b{test['name']}\b", text), f"{test['name']} is not in {test['file']}"
