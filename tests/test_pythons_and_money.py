"""README, `make help` and the launcher say the same of what is needed and of what costs money."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILES = [ROOT / "Makefile", ROOT / "ansible" / "image.mk", ROOT / "tests" / "rehearsal" / "rehearsal.mk"]
# The one place where it is said which Pythons serve.
FOUND = re.search(
    r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
)
assert FOUND
LOWEST, HIGHEST = int(FOUND[1]), int(FOUND[2]) - 1
RANGE = f"3.{LOWEST} to 3.{HIGHEST}"


def make(*words: str, path: Path | None = None, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, with its own programs first on the path."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTHON"))
    }
    if path is not None:
        env["PATH"] = f"{path}:{env['PATH']}"
    return subprocess.run(["make", *words], cwd=folder, env=env, capture_output=True, text=True, check=False)


# --- Pythons ---
def test_readme_and_launcher_name_the_pythons_of_pyproject(capsys: pytest.CaptureFixture[str]) -> None:
    assert f"Python {RANGE}" in README
    with pytest.raises(SystemExit):
        importlib.import_module("launch").leave("x")
    assert f"Python {RANGE}" in capsys.readouterr().err


def test_no_other_text_names_a_range_of_pythons_of_its_own() -> None:
    """But what is said of the pins, which are exact for the image's Python and one laptop's (docs/adr/0001)."""
    texts = [ROOT / "README.md", ROOT / "launch.py", *MAKEFILES, *(ROOT / "docs").glob("*.md")]
    named = {
        one for path in texts for one in re.findall(r"3\.\d+ (?:to|or|and) 3\.\d+", path.read_text("utf-8"))
    }
    assert named == {RANGE}


def test_launcher_and_tools_hold_the_same_pythons() -> None:
    launcher = (ROOT / "launch.py").read_text(encoding="utf-8")
    assert f"sys.version_info < (3, {LOWEST})" in launcher
    assert f'else ("{LOWEST}", "{HIGHEST + 1}")' in launcher, (
        "what it says where pyproject.toml cannot be read"
    )
    tools = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'target-version = "py3{LOWEST}"' in tools
    assert f'python_version = "3.{LOWEST}"' in tools


def test_contributing_resolves_the_pins_for_each_of_them() -> None:
    looped = re.search(r"for v in (.*?);", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert looped
    assert looped[1].split() == [f"3.{minor}" for minor in range(LOWEST, HIGHEST + 1)]


@pytest.fixture
def pythons(tmp_path: Path) -> Path:
    """Give a folder of programs by the names of all Pythons; each fits if a file beside it says so."""
    names = ["python3", *(f"python3.{minor}" for minor in range(6, 20))]
    for name in names:
        (tmp_path / name).write_text(f"#!/bin/sh\ntest -e {tmp_path}/{name}.fits\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("fitting", "taken"),
    [
        ({"python3", "python3.11"}, "python3"),
        ({"python3.10", f"python3.{HIGHEST}"}, f"python3.{HIGHEST}"),
        ({"python3.10"}, "python3.10"),
        ({"python3.9", "python3.14", "python3.19"}, ""),
    ],
)
def test_make_takes_the_first_python_that_serves(pythons: Path, fitting: set[str], taken: str) -> None:
    for name in fitting:
        (pythons / f"{name}.fits").touch()
    assert make("--eval=taken: ; @echo $(PYTHON)", "taken", path=pythons).stdout.strip() == taken


def test_make_asks_each_python_for_the_versions_of_pyproject() -> None:
    code = re.search(r"-c '(import sys; .*?)' 2>&1", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert code
    text = code[1].replace("$(LOWEST)", str(LOWEST)).replace("$(HIGHEST)", str(HIGHEST))
    asked = re.search(r"not (.*?)\)$", text)
    assert asked
    for minor in range(6, 20):
        said = asked[1].replace("sys.version_info[:2]", f"(3, {minor})")
        assert eval(said) == (LOWEST <= minor <= HIGHEST)  # noqa: S307 - of our own Makefile


def test_make_setup_without_a_python_says_which_ones_serve(pythons: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for path in (
        *MAKEFILES,
        ROOT / "pyproject.toml",
        *ROOT.glob("*requirements.txt"),
        ROOT / "tests/requirements.txt",
    ):
        copy = clone / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    done = make("setup", path=pythons, folder=clone)
    assert done.returncode != 0
    assert f"No Python {RANGE} found" in done.stdout


# --- money ---
def recipes() -> dict[str, str]:
    """Return the recipe of each target that `make help` lists, its help first."""
    found: dict[str, str] = {}
    for path in MAKEFILES:
        for block in re.split(r"\n(?=\S)", path.read_text(encoding="utf-8")):
            name = re.match(r"([a-z][a-z-]*):.*## ", block)
            if name:
                found[name[1]] = block
    return found


def test_help_says_of_exactly_the_targets_that_can_spend_money_that_they_do() -> None:
    spending = {
        name for name, text in recipes().items() if re.search(r"launch\.py train|ami\.py build", text)
    }
    assert spending == {"train", "ami"}
    shown = make("help").stdout
    head, *lines = shown.splitlines()
    assert {line.split()[1] for line in lines if "costs money" in line} == spending
    assert set(re.findall(r"make ([a-z-]+)", head)) == spending
    assert "make train CLOUD=aws" in head
    assert len(lines) == len(recipes())


def test_readme_names_the_same_and_the_launchers_command() -> None:
    (sentence,) = re.findall(
        r"Three commands can cost money.*?\.\s", README.replace("\n", " ").replace("./", "·")
    )
    assert re.findall(r"`([^`]*)`", sentence) == ["make train CLOUD=aws", "make ami", "·launch.py train"]
