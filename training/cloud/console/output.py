"""How the launcher talks: answers to stdout, in words or as JSON; news and questions to stderr."""

from __future__ import annotations

import json
import sys
from typing import NamedTuple

from ...errors import UsageError
from ...process.terminal import columns, is_terminal
from .next_commands import complete, complete_data


class OutputOptions(NamedTuple):
    """How a command talks."""

    json: bool = False
    yes: bool = False
    dry_run: bool = False


def say(line: str) -> None:
    """Print a line for a person, to stderr, which scripts do not read."""
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


def ask(question: str, output: OutputOptions) -> None:
    """Continue only if the user agrees."""
    if output.yes:
        return
    if not is_terminal(sys.stdin):
        raise UsageError(f"{question} There is no terminal to answer on", next_step="Add --yes.")
    print(f"{complete(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise UsageError("nothing was done")


def ask_again(question: str, next_step: str) -> None:
    """Continue only if someone at a terminal agrees: a --yes was not meant for this. next_step: the alternative."""
    if not is_terminal(sys.stdin):
        raise UsageError(question, next_step=next_step)
    ask(question, OutputOptions())


def table(title: str, heads: list[str], rows: list[list[str]]) -> None:
    """Print a table; where it is wider than the terminal, each row as lines of its own."""
    if not is_terminal(sys.stdout) or _width(heads, rows) <= columns():
        _draw(title, heads, rows)
        return
    print(title)
    first, *others = heads
    for row in rows:
        print(f"{first} {row[0]}")
        for head, cell in zip(others, row[1:], strict=True):
            print(f"  {head} {cell}")


def _width(heads: list[str], rows: list[list[str]]) -> int:
    return sum(max(len(cell) for cell in column) + 2 for column in zip(heads, *rows, strict=True)) - 2


def _draw(title: str, heads: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - drawing takes time to load
    from rich.table import Table  # noqa: PLC0415

    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for head in heads:
        drawn.add_column(head, no_wrap=True, overflow="ignore")
    for row in rows:
        drawn.add_row(*row)
    # Whole where a program reads it: no cell is cut.
    Console(width=max(_width(heads, rows), len(title), columns())).print(drawn)
