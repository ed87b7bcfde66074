"""An image whose units speak to other code is refused before it trains; one number holds image and code together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from training import layout
from training.__main__ import main
from training.errors import ConfigurationError
from training.instance.image_interface import check_image

ROOT = Path(__file__).parents[1]


def test_the_role_bakes_the_number_of_the_code() -> None:
    role = yaml.safe_load((ROOT / "ansible/roles/python_env/vars/main.yml").read_text("utf-8"))
    assert role["python_env_image_interface"] == layout.IMAGE_INTERFACE


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"interface": 1}', '{"interface": "none"}'])
def test_another_number_is_refused_with_the_command_that_helps(text: str, tmp_path: Path) -> None:
    (tmp_path / "image.json").write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=rf"the code needs {layout.IMAGE_INTERFACE}\n.*make ami"):
        check_image(tmp_path / "image.json")
    check_image(tmp_path / "missing.json")


@pytest.mark.parametrize("number", [layout.IMAGE_INTERFACE, str(layout.IMAGE_INTERFACE)])
def test_its_own_number_is_taken(number: object, tmp_path: Path) -> None:
    (tmp_path / "image.json").write_text(json.dumps({"interface": number}), "utf-8")
    check_image(tmp_path / "image.json")


def test_every_program_that_a_unit_starts_is_a_command_of_the_trainer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Moving a module must not break an image that is baked already."""
    units = ROOT / "ansible/roles/trainer/templates/etc/systemd/system"
    started = [
        line.partition("-m training ")[2].split()[:2]
        for unit in units.glob("*.j2")
        for line in unit.read_text("utf-8").splitlines()
        if line.startswith("ExecStart") and "-m training" in line
    ]
    assert sorted(words[0] for words in started) == ["instance", "train"]
    for words in started:
        command = [word for word in words if not word.startswith("-")]
        assert main([*command[:1], "--help"]) == 0
        assert all(word in capsys.readouterr().out for word in command[1:])


def test_the_finish_unit_leaves_the_outcome_of_the_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = tmp_path / "outcome.json"
    outcome.write_text("as the trainer left it", "utf-8")
    monkeypatch.setenv("F1TENTH_OUTCOME", str(outcome))
    monkeypatch.setattr("training.instance.finish.main", lambda: 0)
    assert main(["instance", "finish"]) == 0
    assert outcome.read_text("utf-8") == "as the trainer left it"
    assert main(["train", "--set", "no=such"]) == 64 + 14
    assert json.loads(outcome.read_text("utf-8"))["exit_code"] == 78
