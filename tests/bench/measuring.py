"""How the benchmarks measure: candidates in turns, medians, and everything beside a fixed reference loop.

A machine is never as fast twice: other work, heat, another processor. So whatever is compared runs in turns within one
run, and what is kept over time is a ratio to a loop that never changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 5
SECONDS = 0.4
WINDOW_S = 0.1
MOVED = 0.15
REFERENCE = "reference loop"
# A Python with jax, and f1tenth_gym_jax or sbx beside it: neither fits the pins of what runs here.
JAX_PYTHON = os.environ.get("BENCH_JAX_PYTHON", "")

Speeds = dict[str, float]


def reference_loop() -> int:
    """Do a fixed piece of work, a twentieth of a second or so of Python, numpy and memory; return 1."""
    matrix = np.linspace(0.0, 1.0, 128 * 128).reshape(128, 128)
    for _ in range(40):
        matrix = np.tanh(matrix @ matrix / 64.0)
    total = 0.0
    for i in range(60_000):
        total += i * 0.5
    assert total > 0
    return 1


def rate(work: Callable[[], int], seconds: float = SECONDS) -> float:
    """Return the units per second of a function that does some and returns how many: the fastest window's.

    Windows of a tenth of a second, until `seconds` have passed: what other programs take out of one is in few of them.
    """
    began, fastest = time.perf_counter(), 0.0
    while time.perf_counter() - began < seconds:
        start, done = time.perf_counter(), 0
        while True:
            done += work()
            spent = time.perf_counter() - start
            if spent >= WINDOW_S:
                break
        fastest = max(fastest, done / spent)
    return fastest


def in_turns(
    candidates: Mapping[str, Callable[[], int]], rounds: int = ROUNDS, seconds: float = SECONDS
) -> Speeds:
    """Return each candidate's units per second: the median of rounds in which all of them run.

    The reference loop is always one of them. Each runs once before, to compile and to warm up.
    """
    works = {REFERENCE: reference_loop, **candidates}
    for work in works.values():
        work()
    samples: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            samples[name].append(rate(work, seconds))
    return {name: statistics.median(values) for name, values in samples.items()}


class JaxPeer:
    """A peer in another Python: each call lets it work once and returns how many units it did, 0.0 s of it ours."""

    def __init__(self, *arguments: str) -> None:
        script = Path(__file__).with_name("peer_jax.py")
        self._process = subprocess.Popen(
            [JAX_PYTHON, str(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.environ.get("BENCH_JAX_PATH", "")},
        )

    def __call__(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print("go", file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            msg = "the peer in BENCH_JAX_PYTHON ended; its error stands above"
            raise RuntimeError(msg)
        return int(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=30)


def rows_of(
    speeds: Speeds, peers: Sequence[str] = (), goals: Mapping[str, Mapping[str, float]] | None = None
) -> dict[str, dict[str, Any]]:
    """Return a row for every candidate: its speed, what that is beside the peers, and the goals there.

    goals: of a candidate, by peer, how many times as fast it has to be.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, per_s in speeds.items():
        if name == REFERENCE:
            continue
        row = rows[name] = {"per_s": _digits(per_s), "per_reference": _digits(per_s / speeds[REFERENCE])}
        if peers and name not in peers:
            row["beside"] = {peer: _digits(per_s / speeds[peer]) for peer in peers}
        here = {
            peer: goal for peer, goal in (goals or {}).get(name, {}).items() if peer in row.get("beside", {})
        }
        if here:
            row["goals"] = here
    return rows


def rows_of_seconds(
    seconds: Mapping[str, float], reference: float, goals: Mapping[str, float] | None = None
) -> dict[str, dict[str, Any]]:
    """Return rows of what is to take little time: its speed is how often that fits into a second.

    reference: the reference loop's speed. goals: at most so many seconds.
    """
    rows = rows_of({REFERENCE: reference, **{name: 1 / s for name, s in seconds.items()}})
    for name, s in seconds.items():
        rows[name]["seconds"] = _digits(s)
    for name, goal in (goals or {}).items():
        rows[name]["at_most_s"] = _digits(goal)
    return rows


def _digits(number: float) -> float:
    return float(f"{number:.6g}")


def flat(speeds: Speeds, within: float) -> tuple[str, dict[str, dict[str, float]]]:
    """Return the fastest candidate, and for all others the goal of being slower than it by no more than a share."""
    names = [name for name in speeds if name != REFERENCE]
    fastest = max(names, key=speeds.__getitem__)
    return fastest, {name: {fastest: 1.0 - within} for name in names if name != fastest}


def moved(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Say which speeds changed by more than MOVED against the baseline, both as ratios to the reference loop."""
    lines = []
    for name, row in now.items():
        old = before.get(name)
        if old is None:
            lines.append(f"new: {name}")
            continue
        change = row["per_reference"] / old["per_reference"] - 1.0
        if abs(change) > MOVED:
            lines.append(f"{'faster' if change > 0 else 'SLOWER'} by {100 * abs(change):.0f} %: {name}")
    return lines


def table(rows: Mapping[str, Any], notes: list[str]) -> str:
    """Return all speeds as one table: what, units/s, per reference loop, beside the peers, and the goals there."""
    wide = max(map(len, rows), default=0)
    lines = [f"{'what':<{wide}} {'per s':>12} {'per ref.':>10}  beside"]
    for name, row in rows.items():
        goals = row.get("goals", {})
        beside = ", ".join(
            f"{ratio:.2f} x {peer}{_goal(ratio, goals.get(peer))}"
            for peer, ratio in row.get("beside", {}).items()
        )
        if "seconds" in row:
            beside = f"{row['seconds']:.3g} s{_at_most(row['seconds'], row.get('at_most_s'))}"
        speeds = f"{_short(row['per_s']):>12} {_short(row['per_reference']):>10}"
        lines.append(f"{name:<{wide}} {speeds}  {beside}")
    return "\n".join([*lines, *(f"not measured: {note}" for note in dict.fromkeys(notes))])


def _short(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 1000 else f"{speed:.3g}"


def _at_most(seconds: float, goal: float | None) -> str:
    if goal is None:
        return ""
    return f" (goal {goal:.3g} s{': missed' if seconds > goal else ''})"


def _goal(ratio: float, goal: float | None) -> str:
    if goal is None:
        return ""
    return f" (goal {goal:.3g} x{': missed' if ratio < goal else ''})"


def machine() -> str:
    """Return what figures depend on: the processor by name, family and model, the system, the number of cores."""
    wanted = {"model name": "", "cpu family": "family ", "model": "model "}
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in wanted:
                found.setdefault(name.strip(), value.strip())
    processor = [f"{short}{found[name]}" for name, short in wanted.items() if name in found]
    return ", ".join([*processor, f"{platform.system()} {platform.machine()}", f"{os.cpu_count()} cores"])


class Baseline:
    """The last figures that were kept, of every machine its own: {machine: {name: row}}."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def changes(self, on: str, rows: Mapping[str, Any]) -> list[str]:
        """Say what moved against the same machine's last figures, or that there are none of it."""
        if on not in self._rows:
            others = "; ".join(self._rows) or "none"
            return [
                f"nothing to compare with: the baseline has no figures of this machine ({on}), but of {others}"
            ]
        return moved(rows, self._rows[on]) or [f"nothing moved by more than {100 * MOVED:.0f} %"]

    def keep(self, on: str, rows: Mapping[str, Any]) -> None:
        """Write rows over the machine's own of the same name; all others stay."""
        kept = self._rows | {on: {**self._rows.get(on, {}), **rows}}
        self._path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
