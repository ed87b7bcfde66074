"""How a rehearsal talks: each phase with its time and what came of it; the same lines in colour on a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 110


class Teller:
    """Tell a story on a terminal or to a log. `log` keeps every line, with its time, for whoever looks for a fault."""

    def __init__(self, log: Path, *, plain: bool = False) -> None:
        console = Console(highlight=False, no_color=plain or None, force_terminal=False if plain else None)
        self.console = console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)
        self._log = log
        self._begun = time.monotonic()
        self._status: Status | None = None
        self._phase = ""
        self.phases: list[tuple[str, float, str]] = []

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._begun

    def head(self, title: str) -> None:
        """Say what is played."""
        self.console.print(Text(title, style="bold"))
        self._keep(title)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[list[str]]:
        """Tell one phase: its name and time, and what the block appends to the list."""
        begun = time.monotonic()
        details: list[str] = []
        self._phase = name
        self._keep(f"-- {name}")
        if self.console.is_terminal:
            self._status = self.console.status(Text(name))
            self._status.start()
        good = False
        try:
            yield details
            good = True
        finally:
            if self._status is not None:
                self._status.stop()
                self._status = None
            took_s = time.monotonic() - begun
            self.phases.append((name, took_s, "; ".join(details)))
            self._line(name, took_s, details, good=good)

    def hear(self, line: str) -> None:
        """Keep a line that some part said; a terminal shows it while the phase lasts."""
        self._keep(line)
        if self._status is not None:
            self._status.update(Text.assemble(self._phase, "  ", (line.strip()[:90], "bright_black")))

    def say(self, text: str) -> None:
        """Tell a line that stays."""
        self.console.print(Text(text), soft_wrap=True)
        self._keep(text)

    def table(self, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Tell figures."""
        drawn = Table(*heads, title=title, title_justify="left", box=None, pad_edge=False, title_style="bold")
        for row in rows:
            drawn.add_row(*row)
        self.console.print(drawn)
        self._keep("\n".join([title, *("  ".join(row) for row in rows)]))

    def _line(self, name: str, took_s: float, details: Sequence[str], *, good: bool) -> None:
        mark, style = ("ok", "green") if good else ("NO", "bold red")
        text = Text.assemble(
            (f"{self.elapsed_s:5.0f} s  ", "bright_black"), (f"{mark}  ", style), (f"{name:26}", "bold"),
            (f"{took_s:6.1f} s", "bright_black"),
        )  # fmt: skip
        for number, detail in enumerate(details):
            text.append("  " if number == 0 else "\n" + " " * 47)
            text.append(detail)
        self.console.print(text, soft_wrap=True)
        self._keep(text.plain)

    def _keep(self, text: str) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {text}\n")
