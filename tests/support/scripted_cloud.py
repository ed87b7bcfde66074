"""A cloud whose services answer from a script, with a clock that passes by sleeping."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.golden import LAUNCH, SCOPE
from tests.cloud.service_model import TruthfulStubber
from training.cloud.aws.client import Clock, Cloud
from training.config import AwsSettings

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=timezone.utc)


class Watch:
    """A clock whose time passes by sleeping."""

    def __init__(self) -> None:
        self.s = 0.0

    def sleep(self, s: float) -> None:
        self.s += s

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: NOW + timedelta(seconds=self.s), monotonic=lambda: self.s, sleep=self.sleep)


class Stage:
    """A cloud whose services answer from a script."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.watch = Watch()
        self.cloud = Cloud(AwsSettings(), self.said.append, self.watch.clock)
        self.stubbers: list[TruthfulStubber] = []

    def script(self, service: str) -> TruthfulStubber:
        stubber = TruthfulStubber(self.cloud.client(service))
        stubber.activate()
        self.stubbers.append(stubber)
        return stubber


@pytest.fixture
def stage(credentials: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stage = Stage()
    yield stage
    for stubber in stage.stubbers:
        stubber.assert_no_pending_responses()


def living_fleet() -> dict[str, Any]:
    return {
        "FleetId": "fleet-1",
        "FleetState": "active",
        "CreateTime": NOW,
        "Tags": SCOPE.run_tags(LAUNCH.run, "kim", NOW),
    }
