"""What GitHub and git read of this repository: workflows, forms, hooks.

Nothing here runs on GitHub. These tests hold what can be held from outside: that the files can be read, that what they
call exists, and that they say the same as pyproject.toml and the Makefile.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = ("bug", "feature")
MAKEFILES = [ROOT / "Makefile", ROOT / "ansible" / "image.mk", ROOT / "tests" / "rehearsal" / "rehearsal.mk"]


def read(path: Path | str) -> dict[Any, Any]:
    content = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def make_targets() -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in MAKEFILES)
    return set(re.findall(r"^\.PHONY: (\S+)$", text, re.MULTILINE))


# --- workflows ---
def test_there_are_the_two_workflows() -> None:
    assert [path.name for path in WORKFLOWS] == ["check.yml", "test.yml"]


def test_check_runs_on_every_python_of_pyproject() -> None:
    served = re.search(
        r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert served
    matrix = read(WORKFLOWS[0])["jobs"]["check"]["strategy"]["matrix"]
    assert matrix["python"] == [f"3.{minor}" for minor in range(int(served[1]), int(served[2]))]


def test_what_a_workflow_runs_exists() -> None:
    commands = [step["run"] for path in WORKFLOWS for step in steps(path) if "run" in step]
    made = {word for text in commands for word in re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)}
    assert "check" in made
    assert made <= make_targets()
    assert ".ci/run" in commands
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_an_action_is_pinned_by_its_commit_with_its_version_beside_it(path: Path) -> None:
    lines = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    pinned = re.compile(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert lines
    assert [line for line in lines if not pinned.fullmatch(line)] == []


def test_workflows_pin_an_action_by_the_same_commit() -> None:
    used = {step["uses"] for path in WORKFLOWS for step in steps(path) if "uses" in step}
    assert len({use.partition("@")[0] for use in used}) == len(used)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_ends(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"].endswith("${{ github.ref }}")
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert 0 < job["timeout-minutes"] <= 180
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_knows_no_secret_and_no_strangers_text(path: Path) -> None:
    """A pull request's title or branch, put into a shell's line, would be run by it."""
    used = set(re.findall(r"\$\{\{ *(.*?) *\}\}", path.read_text(encoding="utf-8")))
    assert used <= {"github.ref", "github.ref != 'refs/heads/main'", "matrix.python", "matrix.system"}
    # YAML 1.1 reads the key `on` as true.
    assert set(read(path)[True]) <= {"push", "pull_request", "schedule", "workflow_dispatch"}


def test_the_whole_proof_runs_where_the_containers_of_the_tests_can() -> None:
    """As tests/image/missing_packages.sh asks: Debian 12, and control groups that may be written."""
    container = read(WORKFLOWS[1])["jobs"]["test"]["container"]
    assert container["image"] == "debian:12"
    assert "--privileged" in container["options"].split()


# --- forms ---
@pytest.mark.parametrize("name", FORMS)
def test_a_form_has_what_github_asks_of_one(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= set(form)
    asked = [field for field in form["body"] if field["type"] != "markdown"]
    assert asked, "GitHub refuses a form that asks nothing"
    for field in asked:
        assert field["type"] in {"textarea", "input", "dropdown", "checkboxes"}
        assert re.fullmatch(r"[a-z_-]+", field["id"])
        assert field["attributes"]["label"]
    for key in ("id", "label"):
        values = [field.get(key) or field["attributes"][key] for field in asked]
        assert len(set(values)) == len(values)


def test_a_bug_report_leads_to_the_private_way_for_what_is_none() -> None:
    assert ".github/SECURITY.md" in (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text(encoding="utf-8")
    assert (ROOT / ".github/SECURITY.md").is_file()


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.*")), ids=lambda path: path.name)
def test_a_file_that_a_text_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = [path.parent / link for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    named = [ROOT / name for name in re.findall(r"(?:tests|docs|\.github)/[\w./-]+\.(?:md|py|sh|yml)", text)]
    assert [str(file) for file in [*links, *named] if not file.resolve().is_file()] == []


# --- hooks ---
def test_hooks_call_the_projects_own_tools() -> None:
    """None is fetched: a hook of its own would bring a second version of ruff."""
    (source,) = read(".pre-commit-config.yaml")["repos"]
    assert source["repo"] == "local"
    style = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(PY)", ".venv/bin/python")
    for hook in source["hooks"]:
        assert hook["language"] == "system"
        assert hook["pass_filenames"] is False
        program, *words = shlex.split(hook["entry"])
        assert (program == "make" and words[0] in make_targets()) or f"\t{hook['entry']}\n" in style
