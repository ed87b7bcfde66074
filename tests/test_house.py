"""The house rules that a machine can check: layout, pins, imports, nothing of the builder's machine."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent

GIVEN = "packer ansible training launch.py Makefile tests requirements.txt"
BESIDE_IT = "README.md LICENSE CHANGELOG.md CONTRIBUTING.md pyproject.toml config.example.yaml docs"


def tracked_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def source_files() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".py"]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("lint-imports")
    command = [str(tool), "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


# --- make ---
@pytest.mark.slow
def test_make_bench_and_make_torture_find_their_tests() -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    for target, known in (("bench", "::test_a_policy_laps_soon"), ("torture", "test_trainer_kills.py::")):
        command = ["make", target, "ARGS=--collect-only -q"]
        found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert known in found.stdout


def test_make_quick_names_files_that_exist() -> None:
    listed = re.search(r"^QUICK := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert listed
    names = listed[1].replace("\\\n", " ").split()
    assert names
    assert [name for name in names if not (ROOT / name).is_file()] == []


# --- layout ---
def test_the_top_level_holds_what_it_should_and_dotfiles() -> None:
    top = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    assert {name for name in top if not name.startswith(".")} - set(f"{GIVEN} {BESIDE_IT}".split()) == set()


def test_nothing_names_a_path_or_a_tool_of_the_machine_it_was_written_on() -> None:
    stray = re.compile(
        r"/wor[k]/|/opt/(pypi|wheels)|\.\./share[d]/(design|reference)|(?<!\w)/home/(?!ubuntu)[a-z]"
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked_files()
        if path.suffix in {".py", ".md", ".yml", ".yaml", ".toml", ".hcl", ".sh", ".txt", ".j2", ""}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if stray.search(line)
    ]
    assert found == []


def test_no_test_file_imports_another() -> None:
    """What several use is in tests/support."""
    imports = re.compile(
        r"^(?:from|import) (?:tests\.\S*\.|tests\.|\.)?test_\w+|^from tests\S* import .*\btest_", re.MULTILINE
    )
    found = [
        path.name
        for path in tracked_files()
        if path.suffix == ".py" and "tests" in path.parts and imports.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_files_stay_short_enough_to_read() -> None:
    long = {
        str(path.relative_to(ROOT)): n
        for path in source_files()
        if (n := len(path.read_text().splitlines())) > 450
    }
    assert long == {}


def test_a_name_means_one_thing() -> None:
    """No two modules and no two classes of training share a name; `commands` is the command line of each room."""
    files = [path for path in source_files() if path.is_relative_to(ROOT / "training")]
    modules = [path.stem for path in files if path.stem not in {"__init__", "commands"}]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    classes = [node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [name for name, times in Counter(modules).items() if times > 1] == []
    assert [name for name, times in Counter(classes).items() if times > 1] == []


# --- settings ---
# The entry of a run, and what concerns each of its settings: its config.json, the checks before it, its report.
MOST_THAT_TAKE_ALL_SETTINGS = 8


def takes_all_settings(path: Path) -> list[str]:
    """Return the functions of a file with a parameter that is a whole Config."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ours = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level and "config" in (node.module or "").split(".")
        for name in node.names
        if name.name == "Config"
    }
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        every = function.args
        given = [*every.posonlyargs, *every.args, *every.kwonlyargs, every.vararg, every.kwarg]
        words = {
            word
            for one in given
            if one is not None and one.annotation is not None
            for word in re.findall(r"\w+", ast.unparse(one.annotation))
        }
        if words & ours:
            found.append(f"{path.relative_to(ROOT)}: {function.name}")
    return found


def test_few_functions_take_all_settings_of_a_run() -> None:
    """Others take the groups, or the values, that they read: a signature then says what a function depends on."""
    rooms = [path for path in source_files() if path.is_relative_to(ROOT / "training")]
    outside = [path for path in rooms if not path.is_relative_to(ROOT / "training" / "config")]
    found = [name for path in outside for name in takes_all_settings(path)]
    assert any("runner.py: train" in name for name in found), "the count finds nothing"
    assert len(found) <= MOST_THAT_TAKE_ALL_SETTINGS, found


# --- pins ---
PINS = ("requirements.txt", "tests/requirements.txt", "ansible/requirements.txt")


@pytest.mark.parametrize("name", PINS)
def test_every_requirement_is_pinned_exactly(name: str) -> None:
    exact = re.compile(r"^[A-Za-z0-9_.-]+(\[[a-z0-9,-]+\])?==[0-9A-Za-z.+!]+( ; [^#]+)?( +#.*)?$")
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    loose = [line for line in lines if line and not line.startswith(("#", "-r ")) and not exact.match(line)]
    assert loose == []


def test_nothing_is_pinned_twice() -> None:
    """But for one release of a package for Python 3.10 and another for 3.11."""
    markers: dict[str, list[str]] = {}
    for name in PINS:
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            package, pinned, rest = line.partition("==")
            if pinned:
                package = package.partition("[")[0].lower().replace("_", "-")
                marker = rest.partition("#")[0].partition(";")[2].strip()
                markers.setdefault(package, []).append(marker)
    twice = {package: found for package, found in markers.items() if len(found) > 1}
    pair = ['python_version < "3.11"', 'python_version >= "3.11"']
    assert {package: found for package, found in twice.items() if sorted(found) != pair} == {}


# --- imports ---
@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("training", include_external_packages=True, cache_dir=None)


def test_the_simulator_imports_numpy_and_numba_and_only_its_map_files_more(
    imports: grimp.ImportGraph,
) -> None:
    outside = {
        (module, imported)
        for module in {"training.sim"} | imports.find_descendants("training.sim")
        for imported in imports.find_modules_directly_imported_by(module)
        if not imported.startswith("training.sim") and imported not in sys.stdlib_module_names
    }
    extra = {(module, name) for module, name in outside if name not in {"numpy", "numba"}}
    assert extra <= {
        ("training.sim.track.map_files", "yaml"),
        ("training.sim.track.map_files", "PIL"),
        ("training.sim.march", "llvmlite"),  # numba's own compiler: its vector instructions
    }


def test_nothing_imports_the_launcher() -> None:
    importing = re.compile(r"^\s*(import launch\b|from launch\b)", re.MULTILINE)
    assert [path for path in source_files() if importing.search(path.read_text(encoding="utf-8"))] == []


def test_the_import_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("sim/params.py", "import torch", "sim knows numpy and numba alone"),
        ("sim/params.py", "import training.config", "sim knows numpy and numba alone"),
        ("sim/params.py", "import training.envs", "Imports point downwards"),
        ("envs/reward.py", "import training.agents", "Imports point downwards"),
        ("agents/stray.py", "import training.report", "Imports point downwards"),
        ("envs/reward.py", "import stable_baselines3", "torch and stable-baselines3 only in"),
        ("envs/reward.py", "import botocore", "botocore only in store, cloud and aws_access"),
        ("cloud/aws/inventory.py", "import boto3", "Nothing makes clients past aws_access"),
        ("store/stray.py", "import torch", "The launcher's path"),
        ("layout.py", "import numba", "The launcher's path"),
        ("agents/stray.py", "import training.store", "Learning and driving know no store"),
        ("stray.py", "import numpy", "Imports point downwards"),
    ],
    ids=lambda value: value.replace("import ", "") if "import " in value else "",
)
def test_a_forbidden_import_is_refused(tmp_path: Path, module: str, line: str, contract: str) -> None:
    shutil.copytree(ROOT / "training", tmp_path / "training", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "training" / module).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert re.search(rf"{re.escape(contract)}.*? BROKEN", " ".join(done.stdout.split())), done.stdout


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
    for path, number in zip(sorted((ROOT / "docs" / "adr").glob("*.md")), numbers, strict=True):
        assert path.read_text("utf-8").startswith(f"# {int(number)}. "), path.name
