"""The sections of a report on grip, sectors and randomisation, from real drives."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tests.report.runs import QUICK, driver_by_hand, straight_on
from training.config import Config, load_config
from training.envs.rendering.scenery import Scenery
from training.evaluation.baselines import REFERENCE, EvalTrack, drive, results
from training.evaluation.recording import Trace, best_lap
from training.evaluation.robustness import completion_under, conditions_of
from training.report import lap_plots
from training.report.grip_use import common_reach, grip_use
from training.report.lap_sections import grip_section, robustness_section, sector_section
from training.report.sectors import SECTORS, compared, sector_times
from training.sim import Track


@pytest.fixture(scope="module")
def traces(config: Config, course: EvalTrack) -> dict[str, Trace]:
    """Return the laps of the policy and of the reference driver."""
    found = results({"policy": driver_by_hand(config, boldness=8.0)}, config.env, config.evaluation, [course])
    return {one.driver: one.trace for one in found if one.trace is not None}


@pytest.fixture(scope="module")
def crash(config: Config, course: EvalTrack) -> Trace:
    tape, drives = drive(straight_on(config), config.env, course, starts=2)
    return best_lap(tape, drives, course.track, config.env)


def picture(svg: str) -> ET.Element:
    root = ET.fromstring(svg)  # noqa: S314 - our own picture
    assert root.get("role") == "img"
    assert len(root.get("aria-label")) > 20
    return root


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()).strip() for element in picture(svg).iter("text")]


# --- grip ---
def test_the_section_on_grip_has_a_sentence_a_picture_and_the_figures_of_each_track(
    config: Config, course: EvalTrack, traces: dict[str, Trace]
) -> None:
    section = grip_section([(course, traces["policy"])], config.env)
    use = grip_use(traces["policy"])
    assert not section["drivable"]
    assert section["verdict"].startswith("A real car could not be driven like this.")
    assert section["tile"]["value"] == f"{use.settled_g:.1f} g"
    (row,), (card,) = section["rows"], section["cards"]
    assert (row["track"], row["limit"], row["settled"]) == ("generated-1-l60", "1.05", f"{use.settled_g:.2f}")
    assert row["forward"] == f"{use.along_g.max():.2f}"
    assert row["braking"] == f"{-use.along_g.min():.2f}"
    label = picture(card["picture"]).get("aria-label")
    assert f"up to {np.abs(use.across_g).max():.1f} g sideways" in label
    assert card["line"].startswith(row["beyond"])


def test_without_a_track_there_is_nothing_to_say_of_grip(config: Config) -> None:
    section = grip_section([], config.env)
    assert (section["drivable"], section["verdict"], section["rows"], section["tile"]) == (True, "", [], {})


def test_dots_inside_and_outside_the_circle_have_two_colours(traces: dict[str, Trace]) -> None:
    use = grip_use(traces["policy"])
    svg = lap_plots.friction_circle(use, common_reach([use]))
    assert "var(--bad)" in svg
    assert "var(--line-1)" in svg
    inside = use._replace(limit_g=50.0)
    assert "var(--bad)" not in lap_plots.friction_circle(inside, common_reach([inside]))


def test_the_picture_of_grip_names_its_axes_and_stays_small(traces: dict[str, Trace]) -> None:
    use = grip_use(traces["policy"])
    svg = lap_plots.friction_circle(use, common_reach([use]))
    assert "left ← lateral, g → right" in texts(svg)
    assert "braking ← g → forward" in texts(svg)
    assert len(svg) < 60_000


# --- sectors ---
def test_the_section_of_sectors_has_both_laps_and_their_difference(
    course: EvalTrack, traces: dict[str, Trace]
) -> None:
    policy, reference = traces["policy"], traces[REFERENCE]
    sceneries = {course: Scenery(course.track)}
    (shown,) = sector_section([(course, policy)], {course: reference}, sceneries)["tracks"]
    assert [row["name"] for row in shown["rows"]] == ["policy", REFERENCE, "difference"]
    assert [cell["text"] for cell in shown["rows"][0]["cells"]] == [
        f"{one:.2f}" for one in sector_times(policy)
    ]
    assert {len(row["cells"]) for row in shown["rows"]} == {SECTORS}
    total_s = policy.lap_s - reference.lap_s
    assert f"{abs(total_s):.2f} s {'behind' if total_s > 0 else 'ahead of'} the {REFERENCE}" in shown["note"]
    assert "Both laps begin at rest at the same place." in shown["note"]
    lost_s = sector_times(policy) - sector_times(reference)
    for cell, lost in zip(shown["rows"][2]["cells"], lost_s, strict=True):
        assert (cell["behind"], cell["ahead"]) == (lost >= 0.005, lost <= -0.005)
    track_map, bars = shown["pictures"]
    assert [text for text in texts(track_map) if text.isdigit()] == [f"{n}" for n in range(1, SECTORS + 1)]
    assert {cell["text"] for cell in shown["rows"][2]["cells"]} <= set(texts(bars))
    assert "1: " in picture(bars).get("aria-label")


def test_a_policy_that_is_level_everywhere_gains_and_loses_nothing(
    course: EvalTrack, traces: dict[str, Trace]
) -> None:
    policy = traces["policy"]
    (shown,) = sector_section([(course, policy)], {course: policy}, {course: Scenery(course.track)})["tracks"]
    assert {cell["text"] for cell in shown["rows"][2]["cells"]} == {"0.00"}
    assert "loses most" not in shown["note"]
    assert "gains most" not in shown["note"]


def test_laps_that_begin_at_different_places_are_marked_where_they_do(
    course: EvalTrack, traces: dict[str, Trace]
) -> None:
    policy = traces["policy"]
    other = traces[REFERENCE]._replace(start=policy.start + 1)
    (shown,) = sector_section([(course, policy)], {course: other}, {course: Scenery(course.track)})["tracks"]
    assert "The laps begin at different places, at rest in sector" in shown["note"]


def test_without_a_lap_of_the_reference_the_policy_s_times_stand_alone(
    course: EvalTrack, traces: dict[str, Trace], crash: Trace
) -> None:
    sceneries = {course: Scenery(course.track)}
    (shown,) = sector_section([(course, traces["policy"])], {course: crash}, sceneries)["tracks"]
    assert shown["note"] == f"The {REFERENCE} completes no lap here: the times are the policy's alone."
    assert [row["name"] for row in shown["rows"]] == ["policy"]
    bars = shown["pictures"][1]
    assert "time of the policy, s" in texts(bars)
    assert "var(--bad)" not in bars


def test_a_track_without_a_lap_of_the_policy_is_named(
    course: EvalTrack, traces: dict[str, Trace], crash: Trace
) -> None:
    section = sector_section([(course, crash)], {course: traces[REFERENCE]}, {course: Scenery(course.track)})
    assert section == {"tracks": [], "unlapped": "generated-1-l60"}


def test_the_map_colours_what_is_lost_and_what_is_gained(course: EvalTrack, traces: dict[str, Trace]) -> None:
    policy, scenery = traces["policy"], Scenery(course.track)
    times = compared(policy, policy)
    lost_s = np.zeros(SECTORS)
    level = lap_plots.sector_map(scenery, policy, times)
    assert lap_plots.BEHIND not in level
    lost_s[2], lost_s[5] = 0.3, -0.3
    mixed = times._replace(reference_s=times.policy_s - lost_s)
    svg = lap_plots.sector_map(scenery, policy, mixed)
    assert lap_plots.BEHIND in svg
    assert lap_plots.AHEAD in svg


# --- randomisation ---
def test_a_policy_that_drove_under_no_condition_has_no_section_of_it() -> None:
    assert robustness_section([]) is None


def test_the_section_of_randomisation_has_a_column_for_each_condition(course: EvalTrack) -> None:
    config = load_config(
        None, [*QUICK, "env.randomisation.friction_factor=[0.8, 1.2]", "env.scan_noise_m=0.02"], "local"
    )
    other = EvalTrack(Track.load("generated-3-l60"), seen=False)
    driven = completion_under(
        conditions_of(config.env), driver_by_hand(config), config.env, config.evaluation, [course, other]
    )
    section = robustness_section(driven)
    assert section["conditions"] == ["undisturbed", "as trained", "mild", "robust"]
    assert [row["track"] for row in section["rows"]] == ["generated-1-l60", "generated-3-l60"]
    assert [row["kind"] for row in section["rows"]] == ["training", "unseen"]
    for row, tallies in zip(section["rows"], zip(*(one.tallies for one in driven), strict=True), strict=True):
        assert [cell["done"] for cell in row["cells"]] == [f"{one.completed} of 3" for one in tallies]
    assert [cell["done"] for cell in section["totals"]] == [f"{one.completed} of 6" for one in driven]
    drawn = dict(section["drawn"])
    assert drawn["undisturbed"] == []
    assert drawn["as trained"] == ["friction_factor: [0.8, 1.2]", "scan_noise_m: [0.02, 0.02]"]
    assert "friction_factor: [0.45, 1.15]" in drawn["robust"]
    assert not [line for line in drawn["robust"] if line.startswith("preset")]
