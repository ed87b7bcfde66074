"""Hold the AWS calls of the tests against recorded_calls.json, or write that list: `make record-calls`.

The files of RECORDED_TESTS are watched. With ARGS="tests/cloud/test_session.py" only the calls of that file are renewed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import call_shapes
from tests.cloud.call_shapes import COMMAND, Call
from tests.cloud.recorder import sitecustomize as recorder

ROOT = Path(__file__).parents[2]
# The launcher, what runs on a machine, the bake's own script.
RECORDED_TESTS = (
    "tests/cloud/",
    "tests/image/",
    "tests/test_metrics_cloudwatch.py",
    "tests/test_runner.py",
)
# Tests of what is done by nobody of the project.
LEFT_OUT = {
    "tests/test_metrics_cloudwatch.py::test_a_run_sends_by_setting_into_the_namespace_of_the_settings": (
        "a namespace of one's own is for a run on one's own computer; the launcher refuses it"
    ),
    "tests/cloud/test_existing_bucket.py::test_a_bucket_of_another_project_is_refused_whatever_the_user_says": (
        "the user of another project, under that project's policies"
    ),
}
SEEN = "F1TENTH_CALLS_SEEN"  # a folder, while the list is written
_PASSED: pytest.StashKey[bool] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Note whether a test has passed: one that fails or is skipped says nothing about its calls."""
    report = yield
    if call.when == "call":
        item.stash[_PASSED] = report.passed  # type: ignore[attr-defined]
    return report


@pytest.fixture(autouse=True)
def recorded_calls(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Compare the calls of a test with the list."""
    test = request.node.nodeid
    if not test.startswith(RECORDED_TESTS) or test in LEFT_OUT:
        yield
        return
    file = tmp_path_factory.mktemp("calls") / "lines"
    monkeypatch.setenv(recorder.VARIABLE, str(file))
    paths = [str(Path(recorder.__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    recorder.install()
    yield
    if not request.node.stash.get(_PASSED, False):
        return
    calls = call_shapes.read_lines(file)
    if SEEN in os.environ:
        _write_seen(Path(os.environ[SEEN]), test, calls)
    else:
        _compare(test, calls)


def _compare(test: str, calls: set[Call]) -> None:
    known = call_shapes.load()
    new = sorted(calls - set(known))
    gone = sorted({call for call, vouched in known.items() if vouched == test} - calls)
    told = [*(f"new  {call}" for call in new), *(f"gone {call}" for call in gone)]
    file = test.partition("::")[0]
    assert not told, (
        f"AWS calls that {call_shapes.RECORDED.name} does not have, or that are no longer made:\n"
        + "\n".join(told)
        + f"\nIf the change is meant: {COMMAND} ARGS={file}, and give a new call its permission in training/cloud/aws/iam_policies.py"
    )


def _write_seen(folder: Path, test: str, calls: set[Call]) -> None:
    name = hashlib.sha256(test.encode()).hexdigest()[:16]
    rows = {"test": test, "calls": sorted(calls)}
    (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")


def record(files: list[str]) -> int:
    """Run the tests of some files, or of all, and write the list; return pytest's exit status.

    The calls of a test that fails stay as they were.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"]
        done = subprocess.run(
            [*command, *(files or RECORDED_TESTS)], cwd=ROOT, env={**os.environ, SEEN: folder}, check=False
        )
        seen = {}
        for path in Path(folder).iterdir():
            rows = json.loads(path.read_text(encoding="utf-8"))
            seen[rows["test"]] = {Call(*call) for call in rows["calls"]}
    known = call_shapes.load()
    kept = {}
    if files or done.returncode != 0:  # else a test that made no appearance is gone
        kept = {call: test for call, test in known.items() if not (test not in seen and _is_gone(test))}
    calls = call_shapes.merged(kept, seen)
    call_shapes.save(calls)
    new, gone = len(calls.keys() - known.keys()), len(known.keys() - calls.keys())
    print(f"{len(calls)} calls of {len(seen)} tests; {new} new, {gone} gone")
    return done.returncode


def _is_gone(test: str) -> bool:
    """Tell whether the file of a test has no such test any more."""
    file, _, name = test.partition("::")
    path = ROOT / file
    return not path.exists() or f"def {name.partition('[')[0]}(" not in path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(record(sys.argv[1:]))
