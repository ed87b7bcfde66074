"""A home for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.aws_access.home import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Give an empty home to the user of this process."""
    home = Home(tmp_path)
    for name, value in home.environment.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    return home
