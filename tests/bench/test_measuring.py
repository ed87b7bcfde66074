"""What `make bench` says of its figures."""

from __future__ import annotations

import json

from tests.bench.measuring import (
    REFERENCE,
    Baseline,
    flat,
    in_turns,
    machine,
    moved,
    rows_of,
    rows_of_seconds,
    table,
)


def row(per_reference: float, **more: object) -> dict[str, object]:
    return {"per_s": 100.0, "per_reference": per_reference, **more}


def test_what_moved_by_more_than_15_percent_of_the_reference_is_said():
    """A slower machine slows the reference loop as well, so speeds alone say nothing."""
    before = {"same": row(10.0), "a": row(10.0), "b": row(10.0), "gone": row(10.0)}
    now = {"same": row(11.4), "a": row(8.4), "b": row(12.0), "c": row(1.0)}
    assert moved(now, before) == ["SLOWER by 16 %: a", "faster by 20 %: b", "new: c"]


def test_the_table_has_ratios_goals_and_what_was_not_measured():
    """A row's ratio to its peer stands beside the goal for it."""
    beside, goals = {"theirs": 3.25, "another's": 1.1, "a third's": 2.0}, {"theirs": 3.0, "another's": 1.2}
    text = table({"ours": row(2.5, beside=beside, goals=goals)}, ["another (not here)"])
    told = "3.25 x theirs (goal 3 x), 1.10 x another's (goal 1.2 x: missed), 2.00 x a third's"
    assert text.splitlines()[1].split("  ")[-1] == told
    assert text.splitlines()[2] == "not measured: another (not here)"


def test_speeds_stand_beside_their_peers_with_the_goals_there():
    """Peers stand beside nobody, and a goal beside a peer that is not here is left out."""
    speeds = {REFERENCE: 4.0, "ours": 12.0, "theirs": 3.0}
    rows = rows_of(speeds, ["theirs"], {"ours": {"theirs": 3.0, "not here": 2.0}})
    assert rows["ours"] == {
        "per_s": 12.0,
        "per_reference": 3.0,
        "beside": {"theirs": 4.0},
        "goals": {"theirs": 3.0},
    }
    assert rows["theirs"] == {"per_s": 3.0, "per_reference": 0.75}


def test_what_is_to_take_little_time_stands_there_by_how_often_it_fits_into_a_second():
    """So that twice the time is half the speed, and what got slower is said as of any other row."""
    before = rows_of_seconds({"start": 2.5}, reference=100.0)
    now = rows_of_seconds({"start": 5.0, "save": 0.5}, reference=100.0, goals={"start": 4.0, "save": 5.0})
    assert moved(now, before) == ["SLOWER by 50 %: start", "new: save"]
    start, save = table(now, []).splitlines()[1:]
    assert " ".join(start.split()) == "start 0.2 0.002 5 s (goal 4 s: missed)"
    assert " ".join(save.split()) == "save 2 0.02 0.5 s (goal 5 s)"


def test_rows_are_flat_where_each_keeps_up_with_the_fastest():
    """At most a fifth below it; the fastest has nothing to keep up with."""
    peer, goals = flat({REFERENCE: 1.0, "few": 7.0, "some": 10.0, "many": 9.0}, 0.2)
    assert peer == "some"
    assert goals == {"few": {"some": 0.8}, "many": {"some": 0.8}}


def test_candidates_are_measured_in_turns_beside_the_reference_loop():
    """Each round lets everybody run, once all have warmed up."""
    calls: list[str] = []

    def work(name: str) -> int:
        calls.append(name)
        return 3

    speeds = in_turns({"a": lambda: work("a"), "b": lambda: work("b")}, rounds=1, seconds=0.01)
    assert set(speeds) == {REFERENCE, "a", "b"}
    assert min(speeds.values()) > 0
    assert calls[:2] == ["a", "b"], "the first calls warm up"


def test_the_machine_is_named_by_its_processor_and_cores():
    assert "Linux" in machine()
    assert "model" in machine()
    assert machine().endswith(" cores")


def test_rows_are_compared_with_the_same_machines_only(tmp_path):
    """Between processors the reference loop does not even everything out: another's figures are named, not compared."""
    file = tmp_path / "baseline.json"
    Baseline(file).keep("old", {"a": row(10.0)})
    (said,) = Baseline(file).changes("new", {"a": row(5.0)})
    assert said == "nothing to compare with: the baseline has no figures of this machine (new), but of old"
    assert Baseline(file).changes("old", {"a": row(5.0)}) == ["SLOWER by 50 %: a"]
    assert Baseline(file).changes("old", {"a": row(10.0)}) == ["nothing moved by more than 15 %"]


def test_a_part_of_the_bench_that_is_kept_leaves_all_other_rows(tmp_path):
    """Those of another machine, and those of this one that were not measured."""
    file = tmp_path / "baseline.json"
    for on, name, speed in (("old", "a", 1.0), ("new", "a", 2.0), ("new", "b", 3.0), ("new", "b", 4.0)):
        Baseline(file).keep(on, {name: row(speed)})
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept == {"old": {"a": row(1.0)}, "new": {"a": row(2.0), "b": row(4.0)}}
