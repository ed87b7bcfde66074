"""The progress display of a run: a calm live table on a terminal, one line every ten seconds anywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..report.tables import NOTHING, duration, number

LIVE_INTERVAL_S = 0.5  # a picture costs 2 ms of the trainer's time
PLAIN_INTERVAL_S = 10.0


class AgentProgress(NamedTuple):
    """The figures of one agent; NaN if there is nothing to show yet."""

    reward: float  # mean of recent episodes
    laps: int
    best_lap_s: float
    crash_rate: float  # share of recent episodes that ended in a crash
    progress_m: float  # mean distance of recent episodes along the centreline, and as a share of a lap
    lap_share: float
    kept: str  # for example "58/60 laps, 4.3 m/s at step 41,000"


class Progress(NamedTuple):
    """How far a run is."""

    step: int
    total_steps: int
    elapsed_s: float  # all attempts together
    limit_s: float | None  # the run ends after this much time, whatever its steps
    steps_per_s: float
    checkpoint_step: int | None
    checkpoint_age_s: float
    agents: tuple[AgentProgress, ...]

    @property
    def done(self) -> float:
        """Return the share of the run that is over, 0 to 1, by steps or by time, whichever ends it first."""
        by_time = 0.0 if self.limit_s is None else self.elapsed_s / self.limit_s
        return min(1.0, max(self.step / max(self.total_steps, 1), by_time))

    @property
    def left_s(self) -> float | None:
        """Return the time until the run ends; None as long as it is unknown."""
        ends = [] if self.limit_s is None else [self.limit_s - self.elapsed_s]
        if self.steps_per_s > 0:
            ends.append((self.total_steps - self.step) / self.steps_per_s)
        return max(0.0, min(ends)) if ends else None


class Display:
    """Show progress while its `with` block runs; `say` works before, in and after it, from any thread."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(highlight=False)
        self._clock = clock
        self._live: Live | None = None
        self._shown_at = -math.inf
        self._unseen: Progress | None = None

    def __enter__(self) -> Display:  # noqa: PYI034 - Self came with Python 3.11
        if self._console.is_interactive:
            self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.settle()

    @property
    def due(self) -> bool:
        """Tell whether `update` would show anything now; before, there is no need to work out the figures."""
        interval_s = PLAIN_INTERVAL_S if self._live is None else LIVE_INTERVAL_S
        return self._clock() - self._shown_at >= interval_s

    def update(self, progress: Progress) -> None:
        """Show progress, if it is time for it; the last one is shown at the end in any case."""
        self._unseen = progress
        if self.due:
            self._show(progress)

    def settle(self) -> None:
        """Leave the last state on the screen and continue below it: later output is no longer progress."""
        if self._unseen is not None:
            self._show(self._unseen)
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def say(self, text: str) -> None:
        """Print lines that stay, above the live part."""
        self._console.print(Text(text), soft_wrap=not self._console.is_terminal)

    def _show(self, progress: Progress) -> None:
        self._shown_at, self._unseen = self._clock(), None
        if self._live is None:
            self.say(plain_line(progress))
        else:
            self._live.update(live_table(progress), refresh=True)


def live_table(progress: Progress) -> RenderableType:
    """Return what a terminal shows of the progress."""
    head = Table.grid(padding=(0, 2), expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right", no_wrap=True)
    bar = ProgressBar(total=1.0, completed=progress.done, style="bright_black", complete_style="green")
    head.add_row(bar, Text(f"{math.floor(100 * progress.done)} %", style="bold"))
    body = Table.grid(padding=(0, 2))
    # Columns that keep their places while the figures in them change.
    for style, width in (("bright_black", 10), ("bold", 26), ("bright_black", 8), ("bold", 8)):
        body.add_column(style=style, min_width=width, no_wrap=True, overflow="ellipsis")
    for run_cells, agent_cells in zip(_run_cells(progress), _agent_cells(progress), strict=True):
        body.add_row(*run_cells, *agent_cells)
    if len(progress.agents) > 1:
        return Group(Text(), head, body, _agents_table(progress.agents))
    policy = Table.grid(padding=(0, 2))
    policy.add_column(style="bright_black", min_width=10, no_wrap=True)
    policy.add_column(style="bold", no_wrap=True, overflow="ellipsis")
    policy.add_row("kept", _kept(progress.agents[0]))
    return Group(Text(), head, body, policy)


def _run_cells(p: Progress) -> list[tuple[str, str]]:
    """Return the facts about the run, each with its name."""
    speed = f"{p.steps_per_s:,.0f} steps/s" if p.steps_per_s > 0 else NOTHING
    return [
        ("step", f"{p.step:,} of {p.total_steps:,}"),
        ("speed", speed),
        ("time left", duration(p.left_s)),
        ("saved", _checkpoint(p)),
    ]


def _agent_cells(p: Progress) -> list[tuple[str, str]]:
    """Return how a single agent does, each figure with its name; several have a table of their own."""
    if len(p.agents) > 1:
        laps = sum(agent.laps for agent in p.agents)
        return [("agents", f"{len(p.agents)}"), ("laps", f"{laps:,}"), ("", ""), ("", "")]
    (one,) = p.agents
    names = ("reward", "laps", _best_or_distance([one]), "crashes")
    return list(zip(names, _figures(one), strict=True))


def _figures(agent: AgentProgress) -> tuple[str, str, str, str]:
    """Return an agent's figures; as long as it has completed no lap, its distance instead of its best lap."""
    return (
        number(agent.reward, ".1f"),
        f"{agent.laps:,}",
        number(agent.best_lap_s, ".2f", " s") if agent.laps else _distance(agent),
        number(100 * agent.crash_rate, ".0f", " %"),
    )


def _best_or_distance(agents: Sequence[AgentProgress]) -> str:
    """Name the third of the figures."""
    return "best lap" if any(agent.laps for agent in agents) else "distance"


def _distance(agent: AgentProgress) -> str:
    """Return how far an episode comes on average, in metres and of a lap: in the beginning until it crashes."""
    metres = number(agent.progress_m, ".0f", " m")
    return f"{metres}, {100 * agent.lap_share:.0f} % of a lap" if math.isfinite(agent.lap_share) else metres


def _kept(agent: AgentProgress) -> Text:
    return Text(agent.kept, style="green" if agent.kept[:1].isdigit() else "")


def _agents_table(agents: Sequence[AgentProgress]) -> Table:
    """Return a row for each agent."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bright_black")
    table.add_column("agent", min_width=10)
    for heading in ("reward", "laps", _best_or_distance(agents), "crashes"):
        table.add_column(heading, justify="right", min_width=8, no_wrap=True, style="bold")
    table.add_column("kept", no_wrap=True, overflow="ellipsis")
    for n, agent in enumerate(agents):
        table.add_row(f"{n}", *_figures(agent), _kept(agent))
    return table


def plain_line(progress: Progress) -> str:
    """Return the progress for logs: one line, and one more for each of several agents."""
    p = progress
    parts = [
        f"{duration(p.elapsed_s)} {math.floor(100 * p.done)} %",
        f"step {p.step:,} of {p.total_steps:,}",
        f"{p.steps_per_s:,.0f} steps/s",
        f"left {duration(p.left_s)}",
    ]
    if len(p.agents) == 1:
        *figures, kept = _told(p.agents[0])
        return " | ".join([*parts, *figures, f"saved {_checkpoint(p)}", kept])
    lines = [" | ".join([*parts, f"saved {_checkpoint(p)}"])]
    return "\n".join([*lines, *(" | ".join([f"  agent {n}", *_told(a)]) for n, a in enumerate(p.agents))])


def _told(agent: AgentProgress) -> list[str]:
    reward, laps, best_lap, crashes = _figures(agent)
    return [
        f"reward {reward}",
        f"laps {laps}",
        f"best {best_lap}" if agent.laps else f"distance {best_lap}",
        f"crashes {crashes}",
        f"kept {agent.kept}",
    ]


def _checkpoint(progress: Progress) -> str:
    if progress.checkpoint_step is None:
        return "none yet"
    return f"step {progress.checkpoint_step:,}, {duration(progress.checkpoint_age_s)} ago"
