"""The errors a user can meet, each with the exit code that the process ends with.

    TrainingError              1   anything else that we can explain
    ├── RunAlreadyFinished     0   the run has ended before; a machine that boots late has nothing to do
    ├── Fenced                 3   another attempt owns the run
    ├── UsageError            64   the command line asks for something impossible
    ├── DataError             65   a file, a map or a checkpoint is broken
    │   └── Diverged          65   what was learnt is no longer finite
    ├── Interrupted           75   saved and stopped before the end; the run can be continued
    ├── NoProgress            78   too many starts in a row saved nothing new; a new launch begins a new count
    └── ConfigurationError    78   the settings or the machine do not fit (EX_CONFIG)

Only `training.__main__` turns them into an exit; the meaning of each code for an instance is in
docs/architecture.md. An error that is not a TrainingError is a bug or a crash of the machine.
"""

from __future__ import annotations


class TrainingError(Exception):
    """Say what went wrong, the value seen and what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, next_step: str = "") -> None:
        """Keep the message and, if there is one, the next command or change for the user."""
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        """Return the message, with the next step on a line of its own."""
        return f"{self.message}\n{self.next_step}" if self.next_step else self.message


class Fenced(TrainingError):
    """Another attempt has claimed the run: this one must change nothing more."""

    exit_code = 3


class UsageError(TrainingError):
    """The command line asks for something impossible."""

    exit_code = 64


class DataError(TrainingError):
    """A file, a map or a checkpoint is broken or is not what it says."""

    exit_code = 65


class Diverged(DataError):
    """The networks of a run are no longer finite; the same settings lead there again."""


class Interrupted(TrainingError):
    """The run was saved and stopped before its end; the same command continues it."""

    exit_code = 75

    def __init__(self, message: str, *, next_step: str = "", cause: str = "terminated") -> None:
        """Keep the cause too: interrupted (a spot notice), stopped (on request), terminated (a signal)."""
        super().__init__(message, next_step=next_step)
        self.cause = cause


class RunAlreadyFinished(TrainingError):
    """The run has ended before: there is nothing to train."""

    exit_code = 0


class NoProgress(TrainingError):
    """Too many starts in a row saved nothing new: this launch is over."""

    exit_code = 78


class ConfigurationError(TrainingError):
    """The settings, or the machine under them, do not fit."""

    exit_code = 78
