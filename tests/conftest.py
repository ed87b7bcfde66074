"""Servers that any test may ask for; they start when the first test does, once a session."""

import os
import signal

# As in a run (sac.torch_threads). Two processes whose OpenMP threads spin for two cores take ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# Their assertions explain themselves as those of a test do.
pytest.register_assert_rewrite("tests.support")

from tests.cloud.recording import pytest_runtest_makereport, recorded_calls
from tests.support.servers import credentials, moto_server, moto_url, weed_server, weed_url

__all__ = [
    "credentials",
    "moto_server",
    "moto_url",
    "pytest_runtest_makereport",
    "recorded_calls",
    "weed_server",
    "weed_url",
]


def pytest_configure(config: pytest.Config) -> None:
    """Hear SIGHUP: under nohup every child would ignore it, and the tests that close a terminal would not end.

    Of pytest-randomly keep the order alone: who draws global random numbers seeds them.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if hasattr(config.option, "randomly_reset_seed"):
        config.option.randomly_reset_seed = False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say the seed of the order with -q too, where pytest prints no header."""
    seed = getattr(config.option, "randomly_seed", None)
    if (
        seed is not None
        and getattr(config.option, "randomly_reorganize", False)
        and config.get_verbosity() < 0
    ):
        terminalreporter.write_line(f"Using --randomly-seed={seed}")
