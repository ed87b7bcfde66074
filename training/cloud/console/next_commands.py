"""The next commands in what the launcher prints: each repeats the --config and --set that the user typed.

Without them a command would look at another project or region than the one that printed it. Messages are written
without: `./launch.py stop race`, `make ami`. The printer,
`training/cloud/console/output.py`, hands every text through here.
"""

from __future__ import annotations

import re
import shlex
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

COMMANDS = (
    "doctor", "up", "down", "gc", "train", "status", "list", "logs", "stop", "fetch", "prune", "ssh", "tensorboard",
    "prices", "cost",
)  # fmt: skip
_LAUNCHER = re.compile(rf"(?<=\./launch\.py )({'|'.join(COMMANDS)})\b")
_MAKE_AMI = re.compile(r"\bmake ami(?:-plan)?\b(?![-\w])")
_SET_IN_TEXT = re.compile(r"--set ([\w.]+)=")


class Typed(NamedTuple):
    """The options with which the user chose a project: the settings file and the overrides of the group aws.

    Other overrides concern a run's training, and the run has them in its config.json.
    """

    config: Path | None = None
    sets: tuple[str, ...] = ()
    project: Path = Path()  # the project's folder, where make runs

    def options(self, without: set[str]) -> list[str]:
        """Return the options, less overrides of the keys that a message sets itself."""
        sets = [one for one in self.sets if _key(one).startswith("aws.") and _key(one) not in without]
        return [
            *(["--config", shlex.quote(str(self.config))] if self.config else []),
            *(word for one in sets for word in ("--set", shlex.quote(one))),
        ]

    def make_variables(self, without: set[str]) -> list[str]:
        """Return the options as variables of make, which runs in the project's folder."""
        found = []
        if self.config:
            here = Path.cwd().resolve() == self.project.resolve()
            found.append(f"CONFIG={shlex.quote(str(self.config if here else self.config.resolve()))}")
        sets = self._replace(config=None).options(without)
        return [*found, *([f"ARGS={shlex.quote(' '.join(sets))}"] if sets else [])]


_typed: ContextVar[Typed] = ContextVar("typed")


def remember(config: Path | None, sets: tuple[str, ...], project: Path) -> None:
    """Keep what the user typed, for all that this command prints."""
    _typed.set(Typed(config, sets, project))


def complete(text: str) -> str:
    """Return a text with the user's options in each next command, right after its first word."""
    typed = _typed.get(Typed())
    own = set(_SET_IN_TEXT.findall(text))
    text = _LAUNCHER.sub(lambda found: " ".join([found[0], *typed.options(own)]), text)
    return _MAKE_AMI.sub(lambda found: " ".join([found[0], *typed.make_variables(own)]), text)


def complete_data(data: object) -> object:
    """Return plain data with each text in it completed, as JSON carries next commands too."""
    if isinstance(data, str):
        return complete(data)
    if isinstance(data, dict):
        return {key: complete_data(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [complete_data(value) for value in data]
    return data


def _key(override: str) -> str:
    return override.partition("=")[0].strip()
