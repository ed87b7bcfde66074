"""The wheel: built, installed into empty environments, and used from a folder that has a `training` of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support import api_page
from training.process import program

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SITE = sysconfig.get_paths()["purelib"]
# What a wheel does not hold: the launcher's.
LEFT_OUT = "training/cloud/"
# By the name of a distribution the module that it brings, where the two differ.
MODULES = {
    "nvidia-ml-py": "pynvml",
    "stable-baselines3": "stable_baselines3",
    "imageio-ffmpeg": "imageio_ffmpeg",
}
DECOY = "raise SystemExit('the folder training of the user was imported')\n"


def tracked(under: str) -> list[str]:
    told = subprocess.run(["git", "ls-files", under], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in told.stdout.splitlines() if (ROOT / name).exists()]


def pythons() -> list[str]:
    """Return the interpreters of this machine that the project serves, the tests' own first."""
    lowest, above = (int(number) for number in re.findall(r"3\.(\d+)", PROJECT["project"]["requires-python"]))
    others = [f"python3.{minor}" for minor in range(lowest, above) if minor != sys.version_info.minor]
    return [
        sys.executable,
        *(found for name in others if (found := shutil.which(name)) and makes_environments(found)),
    ]


def makes_environments(python: str) -> bool:
    """Tell whether an interpreter runs, which a version manager's stand-in may not, and has venv and pip."""
    done = subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Build from a copy of the tracked files: pip leaves build/ in the folder that it builds."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*tracked("training"), "pyproject.toml", "README.md", "LICENSE"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(source)], ROOT)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module", params=pythons(), ids=lambda path: Path(path).name)
def installed(request, wheel, tmp_path_factory) -> Path:
    """Return an environment of its own with the wheel and what it depends on, no more."""
    place = tmp_path_factory.mktemp("environment")
    run([request.param, "-m", "venv", str(place)], ROOT)
    run([str(place / "bin/python"), "-m", "pip", "install", "-q", str(wheel)], ROOT)
    return place


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """A user's folder, which has a `training` of its own."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training/__init__.py").write_text(DECOY)
    return tmp_path


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """The user's cache, where a wheel keeps compiled kernels."""
    return tmp_path_factory.mktemp("cache")


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "NUMBA", "PYTEST"))
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def need_extras(installed: Path) -> None:
    if (installed / "bin/python").resolve() != Path(sys.executable).resolve():
        pytest.skip("the packages of the extras are there for the tests' own Python alone")


def examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


# --- what is written down ---
def test_every_package_but_the_launchers_is_in_the_wheel():
    """A new folder of training/ must be named in pyproject.toml."""
    folders = {str(Path(name).parent) for name in tracked("training") if name.endswith(".py")}
    kept = {name for name in folders if not f"{name}/".startswith(LEFT_OUT)}
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(
        "f1tenth_" + name.replace("/", ".") for name in kept
    )


def test_the_ranges_hold_the_pins():
    """What a wheel's user may get includes what the tests ran with; nothing is named that is not pinned."""
    files = ("requirements.txt", "tests/requirements.txt")
    text = "\n".join((ROOT / file).read_text("utf-8") for file in files)
    pins = {
        name.lower(): version for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)
    }
    project = PROJECT["project"]
    named = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    for requirement in map(Requirement, named):
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement
        assert len(requirement.specifier) >= 1, f"{requirement}: without a range"


def test_the_extras_are_those_that_messages_name():
    """program.EXTRAS names the modules of each extra; botocore comes with boto3."""
    for extra, requirements in PROJECT["project"]["optional-dependencies"].items():
        names = [Requirement(one).name for one in requirements]
        modules = {MODULES.get(name, name.lower()) for name in names} | (
            {"botocore"} if extra == "train" else set()
        )
        assert set(program.EXTRAS[extra]) == modules


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        (
            "With: .venv/bin/python -m training train --resume r",
            "With: f1tenth-train train --resume r",
        ),
        ("Make one: python -m training tracks centreline m", "Make one: f1tenth-train tracks centreline m"),
        ("python -m training.store.repair R", f"python -m {program.PACKAGE}.store.repair R"),
        ("the same `make train` again", "the same `f1tenth-train train` again"),
        ("Try: make report RUN=r", "Try: f1tenth-train report r"),
        ("then: ./launch.py doctor", "then: ./launch.py doctor (in a checkout)"),
    ],
)
def test_a_wheels_messages_name_its_own_commands(text, typed):
    assert program.as_typed(text, installed=True) == typed
    assert program.as_typed(text) == text, "a checkout's stay"


def test_the_api_page_is_that_of_the_code():
    assert api_page.PAGE.read_text("utf-8") == api_page.page(), "write it: python -m tests.support.api_page"


def test_imports_inside_training_are_relative():
    """An absolute one would find the checkout, or a user's own folder, from a wheel."""
    for name in tracked("training"):
        if name.endswith(".py"):
            found = re.search(r"^\s*(from|import) training\b", (ROOT / name).read_text("utf-8"), re.MULTILINE)
            assert found is None, f"{name}: {found}"


# --- built and installed ---
@pytest.mark.slow
def test_the_wheel_holds_the_files_of_training_and_the_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    held = {name for name in names if ".dist-info/" not in name}
    assert held == {f"f1tenth_{name}" for name in tracked("training") if not name.startswith(LEFT_OUT)}
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_readme_and_gymnasium_drive_from_a_folder_with_a_training_of_its_own(installed, elsewhere, cache):
    """README's example, and make_vec, with nothing installed but what the wheel depends on."""
    (example,) = examples("README.md")
    (elsewhere / "drive.py").write_text(example)
    python = str(installed / "bin/python")
    told = run([python, "drive.py"], elsewhere, XDG_CACHE_HOME=str(cache)).stdout
    assert float(told.split()[0]) > 0.0, "metres driven"
    program_text = (
        "import gymnasium\nenv = gymnasium.make_vec('f1tenth_training:F1TenthRace-v0', num_envs=2)\n"
        "print(env.reset(seed=1)[0].shape)"
    )
    assert run([python, "-c", program_text], elsewhere, XDG_CACHE_HOME=str(cache)).stdout.strip() == "(2, 77)"
    assert list((cache / "f1tenth-training/numba").glob("sim-*")), "kernels are kept in the user's cache"


@pytest.mark.slow
def test_the_script_without_its_extra_says_what_to_install(installed, elsewhere):
    done = subprocess.run(
        [str(installed / "bin/f1tenth-train")], cwd=elsewhere, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "not installed: boto3, " in done.stderr
    assert "pip install 'f1tenth-training[train,report]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_script_trains_evaluates_and_names_itself(installed, elsewhere, cache):
    """The extras are those of the tests' own environment, which is on the path."""
    need_extras(installed)
    script, places = str(installed / "bin/f1tenth-train"), {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": SITE}
    small = ["training.total_timesteps=1500", "env.num_envs=8", "evaluation.laps=1"]
    eager = "sac.update_backend=eager"  # compiling the other one would take most of the test's time
    options = [part for setting in (*small, eager) for part in ("--set", setting)]
    done = run([script, "train", "--name", "mine", *options], elsewhere, **places)
    assert "The report is in" in done.stdout
    assert "python -m" not in done.stdout + done.stderr
    assert ".venv" not in done.stdout + done.stderr
    page = (elsewhere / "runs/mine/report/index.html").read_text("utf-8")
    assert "f1tenth-train evaluate mine" in page
    run([script, "evaluate", "mine", "--laps", "1", "--track", "generated-1"], elsewhere, **places)
    helped = run([script, "tracks", "--help"], elsewhere, **places).stdout
    assert "Usage: f1tenth-train tracks" in helped


@pytest.mark.slow
def test_a_report_that_could_not_be_written_is_refused_before_the_run(installed, elsewhere, cache):
    need_extras(installed)
    (elsewhere / "start").mkdir()
    (elsewhere / "start/sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'matplotlib' else find(name, *more)\n"
    )
    places = {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": f"{elsewhere / 'start'}:{SITE}"}
    done = subprocess.run(
        [str(installed / "bin/f1tenth-train"), "train"],
        cwd=elsewhere,
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 78, done.stderr
    assert "training.report = true needs packages that are not installed: matplotlib" in done.stderr
    assert "pip install 'f1tenth-training[train,report]', or use training.report = false" in done.stderr
    assert not (elsewhere / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_the_examples_of_the_page_run_as_they_are_written(installed, elsewhere, cache, number):
    need_extras(installed)
    found = examples("docs/environments.md")
    assert len(found) == 3
    (elsewhere / "example.py").write_text(found[number])
    told = run(
        [str(installed / "bin/python"), "example.py"], elsewhere, XDG_CACHE_HOME=str(cache), PYTHONPATH=SITE
    ).stdout
    assert told.strip()
    assert "nan" not in told
