"""Who becomes a league's champion: who beats the one before it and the earlier ones, laps alone and races cleanly."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.report.runs import driver_by_hand, straight_on
from tests.support.trainer_process import QUICK
from training import layout
from training.agents.league import PolicySnapshot, PromotionResult
from training.agents.policy import Policy
from training.config import load_config
from training.evaluation import promotion
from training.evaluation.load_run import policy_of, runs_in
from training.evaluation.promotion import EARLIER, PromotionRaces, WinLoss, in_words
from training.evaluation.races import CarResult
from training.run import runner
from training.sim import Track
from training.store.open import open_store

CONFIG = load_config(
    None,
    [
        "training.training_type=sac_multiagent",
        "env.tracks=[generated-1-l60, generated-2-l60]",
        "env.race.grid=side_by_side",
        "env.tyres=linear",  # where policies by hand are fast
    ],
)
TRACKS = [Track.load(name) for name in CONFIG.env.tracks]
SLOW, FAST, RASH = (driver_by_hand(CONFIG, boldness=boldness) for boldness in (1.5, 2.5, 3.0))


@pytest.fixture
def contest(monkeypatch: pytest.MonkeyPatch) -> PromotionRaces:
    """Return a contest of few races."""
    for name, (tracks, races) in {
        "QUICK": (2, 4),
        "FULL": (2, 4),
        "AGAINST_EARLIER": (1, 4),
    }.items():
        monkeypatch.setattr(promotion, name, promotion.MatchFormat(tracks, races))
    return PromotionRaces(CONFIG.env, TRACKS)


def test_the_first_champion_is_one_that_laps(contest: PromotionRaces) -> None:
    assert contest(SLOW, [], 1000).promoted
    assert not contest(straight_on(CONFIG), [], 1000).promoted


@pytest.mark.slow
def test_who_is_ahead_after_two_laps_beats_who_is_behind(contest: PromotionRaces) -> None:
    """From side by side the bolder one leads and wins; against itself a policy wins half, which is too little."""
    assert contest(FAST, [SLOW], 1000) == PromotionResult(promoted=True, won_share=1.0)
    assert contest(SLOW, [FAST], 1000) == PromotionResult(promoted=False, won_share=0.0)
    assert not contest(FAST, [FAST], 1000).promoted
    assert not contest(straight_on(CONFIG), [SLOW], 1000).promoted


class Scripted(PromotionRaces):
    """A contest whose races and laps end as a test says."""

    def __init__(self, races: Sequence[WinLoss], laps: Sequence[float], *, clean: bool) -> None:
        super().__init__(CONFIG, TRACKS)
        self.races, self.laps, self.clean = iter(races), iter(laps), clean
        self.met: list[tuple[Any, Any]] = []

    def play(self, challenger: Policy, champion: Policy, *_: Any) -> WinLoss:
        self.met.append((challenger, champion))
        return next(self.races)

    def _completed(self, *_: Any) -> float:
        return next(self.laps)

    def _is_clean(self, *_: Any) -> bool:
        return self.clean


LINE = [straight_on(CONFIG) for _ in range(EARLIER + 2)]
NEW = straight_on(CONFIG)
WON, EVEN = WinLoss(60, 40), WinLoss(50, 50)


@pytest.mark.parametrize(
    ("races", "laps", "promoted", "met"),
    [
        ([EVEN], (), False, 1),  # the short look is enough
        ([WON, WinLoss(49, 51)], (), False, 2),  # 109 of 200 are not 55 %
        ([WON, EVEN, WON, WON, WinLoss(54, 46)], (1.0, 1.0), True, 5),  # 110 are, and 174 of 300
        ([WON, WON, WON, WON, WinLoss(53, 47)], (), False, 5),  # 173 of 300 against the earlier ones are not
        ([WON, WON, WON, WON, WON], (0.97, 1.0), False, 5),  # loses too many laps alone
        ([WON, WON, WON, WON, WON], (0.98, 1.0), True, 5),
        ([WON, WON, WON, WON, WON], (0.94, 0.95), False, 5),
        ([WON, WON, WON, WON, WON], (0.95, 0.95), True, 5),
    ],
)
def test_a_champion_beats_the_newest_clearly_and_the_earlier_ones_together_too(
    races: list[WinLoss], laps: tuple[float, ...], *, promoted: bool, met: int
) -> None:
    """Looks that are enough end the contest; only the last few of the earlier champions are met."""
    contest = Scripted(races, laps, clean=True)
    assert contest(NEW, LINE, 1000).promoted is promoted
    opponents = [LINE[-1], LINE[-1], *LINE[-1 - EARLIER : -1]][:met]
    assert [id(one) for pair in contest.met for one in pair] == [
        id(one) for one in itertools.chain(*((NEW, opponent) for opponent in opponents))
    ]


@pytest.mark.parametrize("line", [[], LINE])
def test_who_is_not_clean_becomes_no_champion(line: list[Policy]) -> None:
    """Neither as the first, nor by beating all before it."""
    for clean in (False, True):
        contest = Scripted([WON] * 5, (1.0, 1.0), clean=clean)
        assert contest(NEW, line, 1000).promoted is clean


@pytest.mark.slow
def test_who_drives_into_its_equal_is_not_clean(
    contest: PromotionRaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that laps alone as surely as the others may still be no champion, not even the first."""
    assert contest._is_clean(FAST, 1000)
    assert contest._completed(RASH, 1000) == 1.0
    assert not contest._is_clean(RASH, 1000)
    assert not contest(RASH, [], 1000).promoted
    clean_car = CarResult(0, 1, 1, False, False, None, 0.0, 0, at_fault=False, hit=False, wall=False)  # noqa: FBT003
    cars = [clean_car._replace(at_fault=True), clean_car]
    for faults, clean in ((2, True), (3, False)):  # of a hundred cars
        races = [(cars[i >= faults], cars[1]) for i in range(50)]
        monkeypatch.setattr(contest, "_race", lambda *_, races=races: races)
        assert contest._is_clean(SLOW, 1000) is clean


def test_who_became_champion_is_told_with_the_share_that_it_won() -> None:
    champion = PolicySnapshot("agent1 of step 20,480", SLOW, 20_480)
    told = [
        in_words(champion, verdict)
        for verdict in (PromotionResult(promoted=True), PromotionResult(promoted=True, won_share=0.567))
    ]
    assert told == [
        "champion: agent1 of step 20,480, the first",
        "champion: agent1 of step 20,480, won 57 % against the one before",
    ]


def test_races_that_nobody_finished_count_for_nobody() -> None:
    assert WinLoss(11, 9).share == 0.55
    assert (WinLoss(0, 0).share, str(WinLoss(0, 0).known_share)) == (0.0, "nan")
    assert WinLoss(11, 9).known_share == 0.55
    assert WinLoss(1, 2) + WinLoss(3, 4) == WinLoss(4, 6)


def test_a_contest_ends_alike_for_the_same_step_and_is_spread_over_the_tracks(
    contest: PromotionRaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a resume does again must end as before; the next challenge is of other places and other tracks."""
    seen: list[tuple[dict[str, int], int]] = []  # races by track, and their seed

    def raced(_pair: Any, fixtures: Any, tracks: list[Track], *, laps: int, seed: int) -> list[Any]:
        assert laps == promotion.LAPS
        assert fixtures == [(0, 1)] * len(tracks)
        seen.append((dict(Counter(track.name for track in tracks)), seed))
        return []

    monkeypatch.setattr(promotion, "race_all", raced)
    for step in (1000, 1000, 2000):
        assert not contest(FAST, [SLOW], step).promoted
    first, again, later = seen
    assert first == again
    assert first[0] == {track.name: 4 for track in TRACKS}
    assert later[1] != first[1]
    one_track = PromotionRaces(CONFIG.env, TRACKS[:1])
    one_track(FAST, [SLOW], 1000)
    assert seen[-1][0] == {TRACKS[0].name: 8}, "as many races where there are fewer tracks"


@pytest.mark.slow
def test_a_run_says_and_logs_who_became_champion_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained by the runner, with a contest that asks for no laps: whoever challenges first, then nobody wins."""
    monkeypatch.setattr(promotion, "FIRST_COMPLETES", 0.0)
    monkeypatch.setattr(promotion, "FAULTS", 1.0)
    monkeypatch.setattr(promotion, "QUICK", promotion.MatchFormat(1, 4))
    monkeypatch.setattr(promotion, "FULL", promotion.MatchFormat(1, 4))
    settings = (
        *QUICK,
        "training.training_type=sac_multiagent",
        "training.total_timesteps=2400",
        "multi_agent.mode=league",
        "multi_agent.league.champions=true",
        "multi_agent.league.snapshot_interval=800",
        "tensorboard.interval_s=0.1",
    )
    assert runner.train(load_config(None, settings), store=str(tmp_path)) == 0
    said = capsys.readouterr().out
    for agent in range(2):
        assert said.count(f"champion: agent{agent} of step ") == 1
        assert f"champion: agent{agent} of step 800, the first" in said
    storage = open_store(str(tmp_path))
    (run,) = runs_in(storage)
    assert [policy_of(storage, run, agent).kept_step for agent in range(2)] == [800, 800]
    curves = EventAccumulator(str(tmp_path / layout.metrics_prefix(run)))
    curves.Reload()
    for name in ("league", "agent0/league", "agent1/league"):
        assert {one.value for one in curves.Scalars(f"{name}/champion_step")} == {800.0}
        assert f"{name}/won_share" not in curves.Tags()["scalars"], "no race was decided"
