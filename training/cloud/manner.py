"""How the launcher talks: answers to stdout, in words or as JSON; news and questions to stderr."""

from __future__ import annotations

import json
import sys
from typing import NamedTuple

from training.cloud.next_commands import complete, complete_data
from training.errors import UsageError


class Manner(NamedTuple):
    """How a command talks."""

    json: bool = False
    yes: bool = False
    dry_run: bool = False


def say(line: str) -> None:
    """Tell a person something, past what a script reads."""
    print(complete(line), file=sys.stderr, flush=True)


def answer(line: str) -> None:
    """Print a line of the answer."""
    print(complete(line), flush=True)


def pass_on(text: str) -> None:
    """Print what is not ours, such as a run's log, as it is."""
    print(text, end="", flush=True)


def show(data: object) -> None:
    """Print data as JSON."""
    print(json.dumps(complete_data(data), indent=2, default=str))


def ask(question: str, manner: Manner) -> None:
    """Go on only if the user agrees."""
    if manner.yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is here to answer", next_step="Add --yes.")
    print(f"{complete(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise UsageError("nothing was done")


def ask_again(question: str, next_step: str) -> None:
    """Go on only if somebody at a terminal agrees: a --yes was not meant for this. next_step: what to do instead."""
    if not sys.stdin.isatty():
        raise UsageError(question, next_step=next_step)
    ask(question, Manner())


def table(title: str, heads: list[str], rows: list[list[str]]) -> None:
    """Print a table that fits the terminal."""
    from rich.console import Console  # noqa: PLC0415 - drawing takes time to load
    from rich.table import Table  # noqa: PLC0415

    drawn = Table(*heads, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        drawn.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(drawn)
