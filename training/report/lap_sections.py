"""Sections of a report on the policy's best laps: grip, time by sector, completion under randomisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from ..evaluation.baselines import REFERENCE
from ..evaluation.robustness import ranges
from ..process.systemd_notify import alive
from . import lap_plots
from .grip_use import common_reach, described_use, grip_use, verdict
from .laps import number
from .run_info import as_yaml
from .sectors import compared
from .tables import percent, signed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..config import EnvSettings
    from ..envs.rendering.scenery import Scenery
    from ..evaluation.baselines import EvalTrack
    from ..evaluation.recording import Trace
    from ..evaluation.robustness import ConditionResult
    from .grip_use import GripUse
    from .sectors import SectorTimes

Traces = list[tuple["EvalTrack", "Trace"]]


def grip_section(traces: Traces, env: EnvSettings) -> dict[str, Any]:
    """Return what the best laps ask of the tyres: a sentence, a row of figures and a picture for each track."""
    uses = [(course, grip_use(trace)) for course, trace in traces]
    drivable, sentence = verdict([use for _, use in uses], env)
    reach_g = common_reach([use for _, use in uses])
    cards, rows = [], []
    for course, use in uses:
        if not len(use.along_g):
            continue
        picture = Markup(lap_plots.friction_circle(use, reach_g))  # noqa: S704 - our own SVG
        cards.append(
            {"track": course.track.name, "kind": course.kind, "picture": picture, "line": described_use(use)}
        )
        rows.append(
            {
                "track": course.track.name,
                "limit": f"{use.limit_g:.2f}",
                "beyond": percent(use.share_beyond),
                "settled": f"{use.settled_g:.2f}",
                "across": f"{np.abs(use.across_g).max():.2f}",
                "forward": f"{max(use.along_g.max(), 0.0):.2f}",
                "braking": f"{max(-use.along_g.min(), 0.0):.2f}",
                "drivable": use.drivable,
            }
        )
        alive()
    return {"drivable": drivable, "verdict": sentence, "tile": _tile(uses), "cards": cards, "rows": rows}


def _tile(uses: Sequence[tuple[EvalTrack, GripUse]]) -> dict[str, str]:
    if not uses:
        return {}
    worst = max((use for _, use in uses), key=lambda use: use.settled_g / use.limit_g)
    return {
        "value": f"{worst.settled_g:.1f} g",
        "label": f"in settled corners at most; the tyres hold {worst.limit_g:.2f}\u00a0g",
    }


def sector_section(
    traces: Traces, references: Mapping[EvalTrack, Trace], sceneries: Mapping[EvalTrack, Scenery]
) -> dict[str, Any]:
    """Return where the best laps lose and gain time to the reference driver, and the tracks without a lap."""
    shown, unlapped = [], []
    for course, trace in traces:
        reference = references.get(course)
        times = compared(trace, reference)
        if times is None:
            unlapped.append(course.track.name)
        else:
            track_map = lap_plots.sector_map(sceneries[course], trace, times)
            shown.append(_sectors_of(course, (trace, reference), times, track_map))
    return {"tracks": shown, "unlapped": ", ".join(unlapped)}


def _sectors_of(
    course: EvalTrack, laps: tuple[Trace, Trace | None], times: SectorTimes, track_map: str
) -> dict[str, Any]:
    trace, reference = laps
    lap_s = None if reference is None else reference.lap_s
    rows = [("policy", [f"{value:.2f}" for value in times.policy_s], f"{trace.lap_s:.2f}")]
    lost_s = times.lost_s
    if lost_s is not None:
        rows.append((REFERENCE, [f"{value:.2f}" for value in times.reference_s], f"{lap_s:.2f}"))
        rows.append(("difference", [signed(value) for value in lost_s], signed(trace.lap_s - lap_s)))
    pictures = (track_map, lap_plots.sector_bars(times, f"the {REFERENCE}"))
    alive()
    return {
        "track": course.track.name,
        "kind": course.kind,
        "rows": [
            {
                "name": name,
                "cells": [
                    {"text": text, "ahead": text[0] == "−", "behind": text[0] == "+"} for text in cells
                ],
                "total": total,
            }
            for name, cells, total in rows
        ],
        "pictures": [Markup(picture) for picture in pictures],  # noqa: S704 - our own SVG
        "note": _in_words(times, lap_s, trace),
    }


def _in_words(times: SectorTimes, reference_s: float | None, trace: Trace) -> str:
    """Say how the two laps compare, and where they do not."""
    lost_s = times.lost_s
    if lost_s is None:
        return f"The {REFERENCE} completes no lap here: the times are the policy's alone."
    total_s = trace.lap_s - reference_s
    side = "behind" if total_s > 0.0 else "ahead of"
    most, least = int(np.argmax(lost_s)), int(np.argmin(lost_s))
    words = f"The policy is {abs(total_s):.2f} s {side} the {REFERENCE}."
    if lost_s[most] >= 0.005:
        words += f" It loses most in sector {most + 1} ({signed(lost_s[most])} s)."
    if lost_s[least] <= -0.005:
        words += f" It gains most in sector {least + 1} ({signed(lost_s[least])} s)."
    if times.standing:
        where = " and ".join(f"{sector}" for sector in times.standing)
        words += (
            f" The laps begin at different places, at rest in sector {where}: these times do not compare."
        )
    elif trace.lap == 0:
        words += " Both laps begin at rest at the same place."
    return words


def robustness_section(conditions: Sequence[ConditionResult]) -> dict[str, Any] | None:
    """Return the table of completion under randomisation; None if the policy drove under no condition."""
    if not conditions:
        return None
    return {
        "conditions": [one.name for one in conditions],
        "totals": [
            {"done": f"{one.completed} of {one.starts}", "short": one.completed < one.starts}
            for one in conditions
        ],
        "rows": [
            {
                "track": course.track.name,
                "kind": course.kind,
                "cells": [
                    {
                        "done": f"{one.completed} of {one.starts}",
                        "mean": number(one.mean_lap_s),
                        "short": one.completed < one.starts,
                    }
                    for one in (each.tallies[i] for each in conditions)
                ],
            }
            for i, course in enumerate(conditions[0].courses)
        ],
        "drawn": [
            (one.name, [f"{name}: {as_yaml(span)}" for name, span in ranges(one.drawn).items()])
            for one in conditions
        ],
    }
