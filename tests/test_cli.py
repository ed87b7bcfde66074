"""The command line as a user meets it: help, one clear message, the exit code of the table."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.__main__ import main
from training.errors import (
    ConfigurationError,
    DataError,
    Fenced,
    Interrupted,
    NoProgress,
    TrainingError,
    UsageError,
)
from training.instance import exit_record
from training.sim import compiled
from training.store.storage import Corrupt, Refused

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def failing_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first thing that `train` does fail with the error."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("training.config.load_config", fail)


def test_a_file_that_ends_too_early_is_shown_as_a_fault_and_not_as_aborted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing_with(EOFError("Ran out of input"), monkeypatch)
    assert main(["train"]) == 1
    told = capsys.readouterr().err
    assert "Ran out of input" in told
    assert "This is a fault of the program" in told
    assert "Aborted" not in told


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from training.__main__ import main; code = main(['--help']);"
        "heavy = {'torch', 'boto3', 'numba', 'numpy', 'matplotlib', 'pydantic'} & set(sys.modules);"
        "print('loaded', sorted(heavy)); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for command in ("train", "evaluate", "race", "report", "tracks", "prune", "precompile"):
        assert f" {command} " in done.stdout
    assert "loaded []" in done.stdout


@pytest.mark.slow
def test_what_an_image_calls_compiles_the_kernels_of_a_run() -> None:
    """The command of ansible/group_vars/all.yml; afterwards a race of two that learn has nothing left to compile."""
    group_vars = (ROOT / "ansible" / "group_vars" / "all.yml").read_text(encoding="utf-8")
    assert "python_env_warm_arguments: [-m, training, precompile]" in group_vars
    subprocess.run(
        [sys.executable, "-m", "training", "precompile"], cwd=ROOT, capture_output=True, check=True
    )
    step = """if True:
        from training.agents.multi_agent import MultiAgentSAC
        from training.config import load_config
        from training.envs.batch import RaceBatch
        from training.sim import Track

        changes = ["sac.learning_starts=100", "sac.gradient_steps=1", "training.training_type=sac_multiagent"]
        config = load_config(None, changes)
        batch = RaceBatch(config.env, [Track.generate(seed=0)], 2)
        learner = MultiAgentSAC(batch, config, device="cpu")
        learner.learn(1_000)
        assert learner.agents[0]._n_updates > 0
    """
    kept = kernels()
    assert kept
    subprocess.run([sys.executable, "-c", step], cwd=ROOT, capture_output=True, check=True)
    assert kernels() == kept


def kernels() -> dict[Path, int]:
    """Return the files of compiled kernels with the time of their last change."""
    folders = (compiled.directory().parent.glob(f"{name}-*") for name in ("sim", "update"))
    files = (path for folder in itertools.chain(*folders) for path in folder.rglob("*.nbc"))
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.parametrize(
    "arguments",
    [
        ["trian"],
        ["train", "--nonsense"],
        ["train", "--preset", "huge"],
        ["train", "--at", "-1", "--resume", "x"],
        ["train", "--at", "50000"],
        ["train", "--set", "training.seed"],
        ["evaluate"],
        ["evaluate", "some-run", "--laps", "0"],
        ["race", "only-one"],
        ["race", "a", "b", "--races", "many"],
        ["prune", "some-run", "--keep", "1"],
    ],
    ids=" ".join,
)
def test_what_the_user_words_wrongly_ends_with_64(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 64
    assert "Traceback" not in capsys.readouterr().err


def test_a_wrong_setting_ends_with_78_and_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--set", "sac.gama=1"]) == 78
    assert capsys.readouterr().err == (
        "error: sac.gama (--set) is not a setting. Did you mean sac.gamma?\n"
        "config.example.yaml lists every setting.\n"
    )


def test_config_yaml_is_read_where_there_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("sac:\n  gama: 1\n", encoding="utf-8")
    assert main(["train"]) == 78
    assert "sac.gama (config.yaml)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (TrainingError, 1),
        (Fenced, 3),
        (UsageError, 64),
        (DataError, 65),
        (Interrupted, 75),
        (NoProgress, 78),
        (ConfigurationError, 78),
    ],
)
def test_an_explained_error_ends_with_its_code_and_its_next_step(
    kind: type[TrainingError],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing_with(kind("it broke", next_step="Mend it."), monkeypatch)
    assert main(["train"]) == code
    # A run that was stopped and saved is no error.
    prefix = "" if kind is Interrupted else "error: "
    assert capsys.readouterr().err == f"{prefix}it broke\nMend it.\n"


@pytest.mark.parametrize(
    ("error", "repeats"),
    [
        (UsageError, True),
        (DataError, True),
        (ConfigurationError, True),
        (Refused, False),
        (Corrupt, False),
        (NoProgress, False),
        (Fenced, False),
        (ZeroDivisionError, False),
    ],
)
def test_the_outcome_says_whether_the_same_launch_would_end_so_again(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, repeats: bool
) -> None:
    """Settings, code and image decide it; what a store refuses may be mended there, what no start saved by another."""
    monkeypatch.setenv(exit_record.VARIABLE, str(tmp_path / "outcome.json"))
    failing_with(error("it broke"), monkeypatch)
    main(["train"])
    left = exit_record.read_exit_record()
    assert left is not None
    assert left.repeats == repeats


def test_a_broken_map_is_a_data_error_though_the_simulator_knows_no_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.sim import TrackError

    failing_with(TrackError("oval.png: no free cell"), monkeypatch)
    assert main(["train"]) == 65
    assert capsys.readouterr().err == "error: oval.png: no free cell\n"


@pytest.mark.parametrize("arguments", [["--debug", "train"], ["train", "--debug"]], ids=" ".join)
def test_debug_anywhere_shows_the_traceback(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing_with(DataError("it broke"), monkeypatch)
    assert main(arguments) == 65
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_shown_whole_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing_with(ZeroDivisionError("division by zero"), monkeypatch)
    assert main(["train"]) == 1
    message = capsys.readouterr().err
    assert "Traceback" in message
    assert "fault of the program" in message


def test_the_exit_code_reaches_the_shell() -> None:
    command = [sys.executable, "-m", "training", "train", "--set", "sac.gamma=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert done.stderr == "error: sac.gamma = 2 (--set) is not legal. Legal: number, 0 to 1\n"


def test_make_train_hands_its_words_on_to_the_trainer() -> None:
    words = ["TYPE=sac_multiagent", "CONFIG=my.yaml", "ARGS=--set training.seed=3"]
    done = subprocess.run(
        ["make", "-n", "train", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (
        "training train --config 'my.yaml' --set training.training_type=sac_multiagent --set training.seed=3"
        in " ".join(done.stdout.replace("\\\n", " ").split())
    )


def test_make_without_a_target_lists_every_documented_one() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("setup", "train", "test", "check", "report", "bench", "clean"):
        assert f"make {target} " in done.stdout
