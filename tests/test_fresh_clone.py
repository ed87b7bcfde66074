"""./launch.py where nothing is installed yet, or something is broken: one line, with the command that mends it."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).parent.parent
OLD = ("3.6", "3.7", "3.8", "3.9")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give what of a fresh clone ./launch.py needs, in a folder whose name has a blank."""
    folder = tmp_path / "f1tenth training"
    folder.mkdir()
    for name in ("launch.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "training", folder / "training", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(clone: Path, command: list[str], folder: Path | None = None) -> str:
    """Run a command that must end with 2, without any environment of Python's, and return what it says."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "F1TENTH", "VIRTUAL"))
    }
    where = folder or clone
    done = subprocess.run(
        command, cwd=where, env={**kept, "PWD": str(where)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    return done.stderr


def bare(*words: str) -> list[str]:
    """Return a command of a Python that sees no packages."""
    return [str(Path(sys._base_executable)), "-I", "-S", *words]  # type: ignore[attr-defined]


def test_a_fresh_clone_says_make_setup(clone: Path) -> None:
    assert run(clone, bare("launch.py", "status")).endswith(": make setup\n")


def test_from_another_folder_it_says_where(clone: Path, tmp_path: Path) -> None:
    told = run(clone, bare(str(clone / "launch.py"), "status"), tmp_path)
    assert told.endswith(f": make -C '{clone}' setup\n")


def test_an_environment_that_lost_its_python_is_made_again(clone: Path) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").symlink_to("/no/such/python")
    told = run(clone, bare("launch.py", "status"))
    assert told.endswith(f": rm -r '{clone / '.venv'}' && make setup\n")


def test_an_environment_of_another_processor_is_made_again(clone: Path) -> None:
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_bytes(b"\x7fELF but not for here")
    python.chmod(0o755)
    told = run(clone, bare("launch.py", "status"))
    assert "does not run: Exec format error" in told
    assert "rm -r" in told


@pytest.mark.parametrize("module", ["botocore", "pydantic", "yaml"])
def test_a_package_that_is_missing_later_is_said_in_the_same_words(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As after a `git pull` that brings a new requirement."""
    monkeypatch.chdir(tmp_path)
    # Restored as a whole: a launcher imported here must not be the one that other tests find.
    with mock.patch.dict(sys.modules):
        for name in [
            name for name in sys.modules if name.partition(".")[0] in {module, "training", "launch"}
        ]:
            del sys.modules[name]
        sys.modules[module] = None  # type: ignore[assignment]
        with pytest.raises(SystemExit) as end:
            importlib.import_module("launch").main(["status"])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert f"the module {module}" in told
    assert "setup\n" in told


def test_the_launcher_can_be_read_by_old_pythons() -> None:
    source = (ROOT / "launch.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))
    assert "from __future__ import annotations" not in source, "no syntax of Python 3.6"


@pytest.mark.parametrize("version", OLD)
def test_an_old_python_is_told_which_ones_serve(clone: Path, version: str) -> None:
    python = python_of(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    told = run(clone, [python, "-I", "launch.py", "status"])
    assert f"this is Python {version}" in told
    assert "with Python 3.10 to 3." in told
    assert told.endswith("make setup\n")


def python_of(version: str) -> str | None:
    """Return a Python of this version, from the path or from pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path("~/.pyenv").expanduser()) / "versions"
    for found in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))):
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(found)
    return None
