"""Who becomes a league's champion: who beats the one before it and the earlier ones, laps alone and races cleanly."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from tests.report.runs import driver_by_hand, straight_on
from training import champions as crowning
from training.agents.policy import Policy
from training.champions import EARLIER, Races, Tally
from training.config import load_config
from training.report.races import Entry
from training.sim import Track

CONFIG = load_config(
    None,
    [
        "training.training_type=sac_multiagent",
        "env.tracks=[generated-1-l60, generated-2-l60]",
        "env.race.grid=side_by_side",
    ],
)
TRACKS = [Track.load(name) for name in CONFIG.env.tracks]
SLOW, FAST, RASH = (driver_by_hand(CONFIG, boldness=boldness) for boldness in (1.5, 2.5, 3.0))


@pytest.fixture
def contest(monkeypatch: pytest.MonkeyPatch) -> Races:
    """Return a contest of few races."""
    for name, (tracks, races) in {
        "QUICK": (2, 4),
        "FULL": (2, 4),
        "AGAINST_EARLIER": (1, 4),
    }.items():
        monkeypatch.setattr(crowning, name, crowning.Bouts(tracks, races))
    return Races(CONFIG, TRACKS)


def test_the_first_champion_is_one_that_laps(contest: Races) -> None:
    assert contest(SLOW, [], 1000)
    assert not contest(straight_on(CONFIG), [], 1000)


def test_who_is_ahead_after_two_laps_beats_who_is_behind(contest: Races) -> None:
    """From side by side the bolder one leads and wins; against itself a policy wins half, which is too little."""
    assert contest(FAST, [SLOW], 1000)
    assert not contest(SLOW, [FAST], 1000)
    assert not contest(FAST, [FAST], 1000)
    assert not contest(straight_on(CONFIG), [SLOW], 1000)


class Scripted(Races):
    """A contest whose races and laps end as a test says."""

    def __init__(self, races: Sequence[Tally], laps: Sequence[float], *, clean: bool) -> None:
        super().__init__(CONFIG, TRACKS)
        self.races, self.laps, self.clean = iter(races), iter(laps), clean
        self.met: list[tuple[Any, Any]] = []

    def _meet(self, challenger: Policy, champion: Policy, *_: Any) -> Tally:
        self.met.append((challenger, champion))
        return next(self.races)

    def _completed(self, *_: Any) -> float:
        return next(self.laps)

    def _is_clean(self, *_: Any) -> bool:
        return self.clean


LINE = [straight_on(CONFIG) for _ in range(EARLIER + 2)]
NEW = straight_on(CONFIG)
WON, EVEN = Tally(60, 40), Tally(50, 50)


@pytest.mark.parametrize(
    ("races", "laps", "crowned", "met"),
    [
        ([EVEN], (), False, 1),  # the short look is enough
        ([WON, Tally(49, 51)], (), False, 2),  # 109 of 200 are not 55 %
        ([WON, EVEN, WON, WON, Tally(54, 46)], (1.0, 1.0), True, 5),  # 110 are, and 174 of 300
        ([WON, WON, WON, WON, Tally(53, 47)], (), False, 5),  # 173 of 300 against the earlier ones are not
        ([WON, WON, WON, WON, WON], (0.97, 1.0), False, 5),  # loses too many laps alone
        ([WON, WON, WON, WON, WON], (0.98, 1.0), True, 5),
        ([WON, WON, WON, WON, WON], (0.94, 0.95), False, 5),
        ([WON, WON, WON, WON, WON], (0.95, 0.95), True, 5),
    ],
)
def test_a_champion_beats_the_newest_clearly_and_the_earlier_ones_together_too(
    races: list[Tally], laps: tuple[float, ...], *, crowned: bool, met: int
) -> None:
    """Looks that are enough end the contest; only the last few of the earlier champions are met."""
    contest = Scripted(races, laps, clean=True)
    assert contest(NEW, LINE, 1000) is crowned
    opponents = [LINE[-1], LINE[-1], *LINE[-1 - EARLIER : -1]][:met]
    assert [id(one) for pair in contest.met for one in pair] == [
        id(one) for one in itertools.chain(*((NEW, opponent) for opponent in opponents))
    ]


@pytest.mark.parametrize("line", [[], LINE])
def test_who_is_not_clean_becomes_no_champion(line: list[Policy]) -> None:
    """Neither as the first, nor by beating all before it."""
    for clean in (False, True):
        contest = Scripted([WON] * 5, (1.0, 1.0), clean=clean)
        assert contest(NEW, line, 1000) is clean


def test_who_drives_into_its_equal_is_not_clean(contest: Races, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that laps alone as surely as the others may still be no champion, not even the first."""
    assert contest._is_clean(FAST, 1000)
    assert contest._completed(RASH, 1000) == 1.0
    assert not contest._is_clean(RASH, 1000)
    assert not contest(RASH, [], 1000)
    clean_car = Entry(0, 1, 1, False, False, None, 0.0, 0, at_fault=False, hit=False, wall=False)  # noqa: FBT003
    cars = [clean_car._replace(at_fault=True), clean_car]
    for faults, clean in ((2, True), (3, False)):  # of a hundred cars
        races = [(cars[i >= faults], cars[1]) for i in range(50)]
        monkeypatch.setattr(contest, "_race", lambda *_, races=races: races)
        assert contest._is_clean(SLOW, 1000) is clean


def test_races_that_nobody_finished_count_for_nobody() -> None:
    assert Tally(11, 9).share == 0.55
    assert Tally(0, 0).share == 0.0
    assert Tally(1, 2) + Tally(3, 4) == Tally(4, 6)


def test_a_contest_ends_alike_for_the_same_step_and_is_spread_over_the_tracks(
    contest: Races, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a resume does again must end as before; the next challenge is of other places and other tracks."""
    seen: list[tuple[dict[str, int], int]] = []  # races by track, and their seed

    def raced(_pair: Any, fixtures: Any, tracks: list[Track], *, laps: int, seed: int) -> list[Any]:
        assert laps == crowning.LAPS
        assert fixtures == [(0, 1)] * len(tracks)
        seen.append((dict(Counter(track.name for track in tracks)), seed))
        return []

    monkeypatch.setattr(crowning, "race_all", raced)
    for step in (1000, 1000, 2000):
        assert not contest(FAST, [SLOW], step)
    first, again, later = seen
    assert first == again
    assert first[0] == {track.name: 4 for track in TRACKS}
    assert later[1] != first[1]
    one_track = Races(CONFIG, TRACKS[:1])
    one_track(FAST, [SLOW], 1000)
    assert seen[-1][0] == {TRACKS[0].name: 8}, "as many races where there are fewer tracks"
