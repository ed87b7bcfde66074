"""What tests of a report's parts share: settings of a quick run, and a short track."""

from __future__ import annotations

import pytest

from tests.report.runs import QUICK
from training.config import Config, load_config
from training.evaluation.baselines import EvalTrack
from training.sim import Track


@pytest.fixture(scope="module")
def config() -> Config:
    """Return settings with tyres without a limit: a policy by hand is fast there, beyond what a car could do."""
    return load_config(None, [*QUICK, "env.tyres=linear"], "local")


@pytest.fixture(scope="module")
def course() -> EvalTrack:
    return EvalTrack(Track.load("generated-1-l60"), seen=True)
