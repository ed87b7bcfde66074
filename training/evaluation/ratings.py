"""Statistics of races: shares of wins with their uncertainty, wins of each against each, ratings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .races import RaceResult

_Z95 = 1.959963984540054  # of a 95 % interval
ELO_AT = 1000.0  # mean of the ratings


class ContestantRow(NamedTuple):
    """How one contestant fared in all its races."""

    name: str
    races: int
    wins: int
    win_low: float  # 95 % Wilson interval of the share of races won
    win_high: float
    finished: int
    overtakes: int
    at_fault: int  # races that it ended by driving into another car
    hit: int  # races in which another car drove into it
    wall: int  # races that it ended at a wall
    laps: float
    mean_finish_s: float | None

    @property
    def win_rate(self) -> float:
        """Give the share of races won."""
        return self.wins / max(self.races, 1)

    def to_json_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {**self._asdict(), "win_rate": self.win_rate}


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927, score interval); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    share, z2 = successes / trials, _Z95 * _Z95
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials)) / (1 + z2 / trials)
    return max(0.0, middle - half), min(1.0, middle + half)


def table(names: Sequence[str], results: Sequence[RaceResult]) -> list[ContestantRow]:
    """Return a row for each contestant."""
    rows = []
    for index, name in enumerate(names):
        entries = [entry for race in results for entry in race.entries if entry.contestant == index]
        wins = sum(entry.won for entry in entries)
        times = [entry.finish_s for entry in entries if entry.finish_s is not None]
        low, high = wilson(wins, len(entries))
        rows.append(
            ContestantRow(
                name=name,
                races=len(entries),
                wins=wins,
                win_low=low,
                win_high=high,
                finished=len(times),
                overtakes=sum(entry.overtakes for entry in entries),
                at_fault=sum(entry.at_fault for entry in entries),
                hit=sum(entry.hit for entry in entries),
                wall=sum(entry.wall for entry in entries),
                laps=float(sum(entry.laps for entry in entries)),
                mean_finish_s=float(np.mean(times)) if times else None,
            )
        )
    return rows


def beaten(count: int, results: Sequence[RaceResult]) -> NDArray[np.float64]:
    """Return (K, K): in how many races i came in before j; half a race to each where both came in last alike.

    A place counts where at least one of the two finished: two that crash have not beaten each other.
    """
    wins = np.zeros((count, count))
    for race in results:
        for one in race.entries:
            for other in race.entries:
                if one.contestant == other.contestant:
                    continue
                if not (one.finished or other.finished):
                    wins[one.contestant, other.contestant] += 0.5
                elif one.position < other.position:
                    wins[one.contestant, other.contestant] += 1.0
    return wins


def elo(wins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ratings (K,) of mean 1000 on the scale of Elo: 400 more win ten of eleven.

    The Bradley-Terry model's most likely strengths (Hunter 2004, MM algorithms), with half a win added each way for
    every pair that met, so that the rating of a contestant that has won everything stays finite.
    """
    met = (wins + wins.T) > 0.0
    padded = wins + 0.5 * met
    games = padded + padded.T
    strength = np.ones(len(wins))
    for _ in range(1000):
        share = games / (strength[:, None] + strength[None, :])
        updated = padded.sum(axis=1) / np.maximum(share.sum(axis=1), 1e-12)
        updated /= np.exp(np.log(np.maximum(updated, 1e-12)).mean())
        if np.abs(updated - strength).max() < 1e-10:
            break
        strength = updated
    ratings = 400.0 * np.log10(np.maximum(strength, 1e-12))
    return ELO_AT + ratings - ratings.mean()
