"""`python -m training tracks …` in this process."""

from __future__ import annotations

from typer.testing import CliRunner

from training.track_commands import app


def run(*arguments: object) -> str:
    """Run a command; return what it printed, raise what it raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output
