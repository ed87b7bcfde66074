"""Every next command that the launcher prints repeats the --config and --set that the user typed."""

from __future__ import annotations

import ast
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.fake_aws import ROOT, Account, boot
from training import layout
from training.cloud.console.next_commands import COMMANDS, complete, complete_data, remember
from training.cloud.launch import setup
from training.store import documents
from training.store.checkpoint import CheckpointData, claim
from training.store.manifest import Owner

SOURCES = [ROOT / "launch.py", *sorted((ROOT / "training").rglob("*.py"))]
CONFIG, SET = Path("my settings.yaml"), "aws.availability_zones=[us-east-1a, us-east-1b]"
TYPED = f"--config 'my settings.yaml' --set '{SET}'"


@pytest.fixture
def typed() -> Iterator[None]:
    """The user has typed a settings file, an override of AWS and one of training."""
    remember(CONFIG, (SET, "training.seed=3"), ROOT)
    yield
    remember(None, (), ROOT)


def docstrings(tree: ast.Module) -> set[int]:
    """Return the ids of the nodes that are docstrings: people read them in the source alone."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            found.add(id(node.body[0].value))  # type: ignore[attr-defined]
    return found


def literals() -> Iterator[tuple[str, str]]:
    """Yield (place, text) of every text in the sources that names a command, as it is printed."""
    for path in SOURCES:
        if path.name == "next_commands.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        skipped = docstrings(tree)
        inside = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "race" for part in node.values
                )
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in inside | skipped
            ):
                text = node.value
            else:
                continue
            if re.search(r"launch\.py |make ami", text):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text


TEXTS = list(literals())


def test_the_sources_hold_as_many_next_commands_as_a_plain_search_finds() -> None:
    assert len(TEXTS) >= 45
    assert {"training/cloud/doctor.py", "training/cloud/launch/launch.py", "training/store/fencing.py"} <= {
        place.partition(":")[0] for place, _ in TEXTS
    }


@pytest.mark.parametrize(("place", "text"), TEXTS, ids=[place for place, _ in TEXTS])
def test_every_next_command_of_the_sources_gets_the_options(place: str, text: str, typed: None) -> None:
    told = complete(text)
    commands = re.findall(r"\./launch\.py (\S+)", text)
    known = [word for word in commands if re.sub(r"\W+$", "", word) in COMMANDS]
    prose = {"in"}  # "Run ./launch.py in its own folder."
    assert {re.sub(r"\W+$", "", word) for word in commands} <= {*COMMANDS, *prose}, (
        "a command of the launcher"
    )
    assert told.count(TYPED) == len(known)
    assert "training.seed" not in told, "a run has its own in its config.json"
    assert told.count("CONFIG='my settings.yaml'") == len(re.findall(r"make ami", text))


def test_nothing_is_printed_past_the_one_printer() -> None:
    """ruff's T201 holds it: of the launcher's modules only console/output.py may print."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r'"(training/cloud/\S+)" = \["T201"\]', text) == ["training/cloud/console/output.py"]


def test_the_commands_are_those_of_the_launcher() -> None:
    import importlib

    app = importlib.import_module("launch").app
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert names == set(COMMANDS)


# --- the one function ---
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("End it: ./launch.py stop race --now.", f"End it: ./launch.py stop {TYPED} race --now."),
        ("./launch.py up", f"./launch.py up {TYPED}"),
        ("Run ./launch.py in its own folder.", "Run ./launch.py in its own folder."),
        ("then ./launch.py train, or not", f"then ./launch.py train {TYPED}, or not"),
        ("Bake one: make ami", f"Bake one: make ami CONFIG='my settings.yaml' ARGS={shlex.quote(f'--set {shlex.quote(SET)}')}"),
        ("make ami-rehearsal", "make ami-rehearsal"),
        ("./launch.py status race --set aws.availability_zones=[]",
         "./launch.py status --config 'my settings.yaml' race --set aws.availability_zones=[]"),
    ],
)  # fmt: skip
def test_options_follow_the_commands_first_word(text: str, told: str, typed: None) -> None:
    assert complete(text) == told


def test_texts_inside_json_are_completed_and_other_data_stays(typed: None) -> None:
    data = {"next_step": "./launch.py up", "n": 1, "rows": [("./launch.py gc", None)]}
    assert complete_data(data) == {
        "next_step": f"./launch.py up {TYPED}", "n": 1, "rows": [[f"./launch.py gc {TYPED}", None]],
    }  # fmt: skip


def test_without_options_nothing_changes() -> None:
    for _, text in TEXTS:
        assert complete(text) == text


def test_make_gets_the_settings_file_by_a_path_that_it_finds(typed: None, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    assert "CONFIG='my settings.yaml'" in complete("make ami")
    monkeypatch.chdir(tmp_path)
    assert f"CONFIG='{tmp_path}/my settings.yaml'" in complete("make ami")


def test_what_is_typed_is_read_back_by_a_shell(typed: None) -> None:
    words = shlex.split(complete("./launch.py stop race"))
    assert words == ["./launch.py", "stop", "--config", str(CONFIG), "--set", SET, "race"]


# --- as a user meets them ---
@pytest.mark.slow
def test_a_session_with_options_prints_no_command_without_them(account: Account) -> None:
    mine = account.write_config().rename(account.folder / "mine.yaml")
    options = ("--config", mine.name, "--set", "aws.max_hours=3")
    repeated = " ".join(options)
    seen: set[str] = set()

    def told(*words: str, code: int = 0) -> str:
        done = account.launch_here(*words, *options)
        text = done.stdout + done.stderr
        assert done.returncode == code, f"{words}\n{text}"
        for found in re.finditer(r"\./launch\.py (\w+)", text):
            assert text[found.end() :].startswith(f" {repeated}"), f"{words}: {text}"
            seen.add(found[1])
        for rest in re.findall(r"make ami(.*)", text):
            assert rest.startswith(f" CONFIG={mine} ARGS='--set aws.max_hours=3'"), f"{words}: {text}"
            seen.add("make ami")
        return text

    told("doctor", code=1)
    told("status", code=1)
    told("train", "--up", "--yes", code=1)
    told("up", "--yes")
    account.bake()
    told("status", "race", code=2)
    told("train", "--name", "race", "--yes", "--detach")
    told("train", "--name", "race", "--yes", code=2)
    boot(account, "race", steps=1_000)
    told("stop", "race", "--no-wait")
    told("stop", "race", "--now")
    told("train", "--resume", "race", "--yes", "--detach", "--at", "5", code=2)
    account.storage.delete([layout.fleet_key("race")])
    told("gc")
    assert seen >= {"up", "list", "status", "logs", "stop", "train", "make ami"}, seen


@pytest.mark.slow
def test_prune_repeats_how_many_checkpoints_are_kept(account: Account) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    store = account.storage
    documents.set_status(store, "race", "stopped")
    lineage = claim(store, "race", "sac", 1, owner=Owner())
    for step in (10, 20, 30, 40):
        lineage.commit(step, CheckpointData({"learner": b"x" * step}, (), {}))
        if step == 10:
            time.sleep(1.1)  # S3 dates objects by the second, and what is as old as a kept checkpoint stays
    told = account.launch_here("prune", "race", "--keep", "3").stdout
    assert "Do it: ./launch.py prune race --keep 3 --delete" in told
