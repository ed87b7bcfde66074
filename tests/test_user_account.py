"""A user without a name, without a home, or with a home that cannot be used."""

from __future__ import annotations

import getpass
import os
import re
from pathlib import Path

import pytest

from training.cloud.launch import launch
from training.errors import UsageError
from training.process import user_account
from training.sim.track import catalog
from training.store.open import open_store

ROOT = Path(__file__).parent.parent
# What a tag of IAM may hold: https://docs.aws.amazon.com/IAM/latest/APIReference/API_Tag.html
TAG = re.compile(r"[\w \t.:/=+\-@]*")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a number that no list of users has, as in a container: no name, no HOME."""

    def no_such_user(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_such_user)


@pytest.mark.usefixtures("nobody")
def test_a_number_without_a_name_is_named_by_its_number() -> None:
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    assert user_account.user_name() == f"uid-{os.getuid()}"
    assert launch.owner().startswith(f"uid-{os.getuid()}@")


@pytest.mark.usefixtures("nobody")
def test_a_user_without_a_home_has_no_cache_and_is_told_so_for_a_path_with_a_tilde() -> None:
    assert user_account.home() is None
    assert user_account.cache_folder() is None
    assert catalog.directory().name == "tracks"
    with pytest.raises(UsageError, match="home"):
        open_store("~/runs")


def test_the_cache_lies_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_account.cache_folder() == tmp_path / "f1tenth-training"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_account.cache_folder() == tmp_path / "home" / ".cache" / "f1tenth-training"


@pytest.mark.parametrize("name", [r"CORP\kim", "kim;rm", "müller", "kim'", "名前", "a" * 400])
def test_every_name_makes_a_tag_that_iam_takes(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("LOGNAME", name)
    assert TAG.fullmatch(launch.owner())
    assert 1 < len(launch.owner()) <= 250


def test_nothing_asks_past_this_module_who_the_user_is() -> None:
    """But the simulator, which knows the standard library alone."""
    asking = re.compile(r"Path\.home\(|\bgetpass\.getuser|expanduser\(|getpwuid")
    allowed = {"training/process/user_account.py", "training/sim/track/catalog.py"}
    files = [ROOT / "launch.py", *(ROOT / "training").rglob("*.py"), *(ROOT / "packer").glob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in files if asking.search(path.read_text(encoding="utf-8"))}
    assert found <= allowed
