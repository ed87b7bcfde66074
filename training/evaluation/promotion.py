"""When a policy becomes its agent's champion: it beats the one before it in races, and earlier ones, and is clean.

AlphaGo Zero's evaluator (Silver et al. 2017, https://doi.org/10.1038/nature24270) let a network generate games once it
won 55 % of 400 against the best so far. Here it is races of two, started as `env.race.grid` says, on the training
tracks. Policies that learn from each other can go round in circles: one that never gives way beats the careful one,
which later learns to beat it and forgets what it knew. A policy that must beat all earlier champions cannot.

A champion must also give way: otherwise it would drive into its equal, and a policy that learns against it would learn
to yield, because a crash costs more than a place. So a champion races its own copy as well, and must seldom be at
fault.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..agents.league import PromotionResult
from .lap_evaluation import evaluate
from .races import Entrant, race_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..agents.league import PolicySnapshot
    from ..agents.policy import Policy
    from ..config import EnvSettings
    from ..sim import Track
    from .races import CarResult

# The share to be won, of the races that one of the two finished first: in the full test, in a short first one, and
# against the last few champions before the newest, taken together: a policy that beats the newest may be no better than
# the one before it.
SHARE, QUICK_SHARE, EARLIER_SHARE = 0.55, 0.52, 0.58
EARLIER = 3
LAPS = 2
# Driving alone, the first champion must complete this share of its laps; a later one as many as the one before it, or
# nearly all. A race can also be lost at a wall, but so rarely that a slow increase of such losses would pass for bad
# luck.
FIRST_COMPLETES, COMPLETES = 0.9, 0.98
STARTS = 6
# Of the cars in races against itself, the share that may be out by a contact at its own fault.
FAULTS = 0.02
CONTEST_SEED = 13_000_000


class MatchFormat(NamedTuple):
    """So many tracks, drawn for each challenge, and so many races on each; either car at each place in half of them."""

    tracks: int
    races: int


QUICK, FULL, AGAINST_EARLIER = MatchFormat(4, 30), MatchFormat(6, 40), MatchFormat(6, 40)


class WinLoss(NamedTuple):
    """Races won and lost; a race that no car finished is neither."""

    won: int
    lost: int

    @property
    def share(self) -> float:
        """Return the share won of those that are decided, 0 of none."""
        return self.won / max(self.won + self.lost, 1)

    @property
    def known_share(self) -> float:
        """Return the share won of those that are decided, nan of none."""
        return self.share if self.won + self.lost else math.nan

    def __add__(self, other: WinLoss) -> WinLoss:  # type: ignore[override]  # of tallies, not of tuples
        """Return both together."""
        return WinLoss(self.won + other.won, self.lost + other.lost)


def in_words(champion: PolicySnapshot, verdict: PromotionResult) -> str:
    """Say which policy has become champion, and by how much."""
    won = (
        "the first"
        if math.isnan(verdict.won_share)
        else f"won {100.0 * verdict.won_share:.0f} % against the one before"
    )
    return f"champion: {champion.name}, {won}"


class PromotionRaces:
    """Race challengers against champions on the training tracks; a league's contest (training.agents.league)."""

    def __init__(self, settings: EnvSettings, tracks: Sequence[Track]) -> None:
        self._settings, self._tracks = settings, list(tracks)

    def __call__(self, challenger: Policy, champions: Sequence[Policy], step: int) -> PromotionResult:
        """Crown a challenger that beats champions, the newest last, or the first that laps; if it races cleanly."""
        if not champions:
            laps = self._completed(challenger, step) >= FIRST_COMPLETES
            return PromotionResult(laps and self._is_clean(challenger, step))
        rng = np.random.default_rng([CONTEST_SEED, step])
        against_newest = self.play(challenger, champions[-1], QUICK, rng)
        if against_newest.share < QUICK_SHARE:
            return PromotionResult(promoted=False, won_share=against_newest.known_share)
        against_newest += self.play(challenger, champions[-1], FULL, rng)
        promoted = against_newest.share >= SHARE and self.beats_previous(challenger, champions, step, rng)
        return PromotionResult(promoted, against_newest.known_share)

    def beats_previous(
        self, challenger: Policy, champions: Sequence[Policy], step: int, rng: np.random.Generator
    ) -> bool:
        """Tell whether a policy that beats the newest champion also beats earlier ones, laps as well and is clean."""
        earlier = [self.play(challenger, one, AGAINST_EARLIER, rng) for one in champions[-1 - EARLIER : -1]]
        if earlier and sum(earlier, WinLoss(0, 0)).share < EARLIER_SHARE:
            return False
        if self._completed(challenger, step) < min(self._completed(champions[-1], step), COMPLETES):
            return False
        return self._is_clean(challenger, step)

    def play(
        self, challenger: Policy, champion: Policy, bouts: MatchFormat, rng: np.random.Generator
    ) -> WinLoss:
        """Race two policies in a format; return how often each won."""
        races = self._race(challenger, champion, bouts, rng)
        return WinLoss(*(sum(cars[place].won for cars in races) for place in range(2)))

    def _is_clean(self, policy: Policy, step: int) -> bool:
        """Tell whether a policy seldom drives into its equal."""
        races = self._race(policy, policy, FULL, np.random.default_rng([CONTEST_SEED, step, 1]))
        faults = [car.at_fault for cars in races for car in cars]
        return sum(faults) <= FAULTS * len(faults)

    def _race(
        self, challenger: Policy, champion: Policy, bouts: MatchFormat, rng: np.random.Generator
    ) -> list[tuple[CarResult, ...]]:
        """Return how both fared in each race, the challenger first."""
        pair = [
            Entrant(name, self._settings, controller)
            for name, controller in (("new", challenger), ("old", champion))
        ]
        count = min(bouts.tracks, len(self._tracks))
        drawn = rng.permutation(len(self._tracks))[:count]
        tracks = [self._tracks[i] for i in drawn for _ in range(bouts.tracks * bouts.races // count)]
        seed = int(rng.integers(1 << 31))
        return [one.entries for one in race_all(pair, [(0, 1)] * len(tracks), tracks, laps=LAPS, seed=seed)]

    def _completed(self, policy: Policy, step: int) -> float:
        """Return the share of laps from standing that a policy completes alone; the same starts for the same step."""
        drives = evaluate(policy, self._settings, self._tracks, starts=STARTS, seed=CONTEST_SEED + step)
        return sum(drive.completed for drive in drives) / len(drives)
