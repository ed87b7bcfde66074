"""A lap in sectors: where along the track the policy loses time to the reference driver, and where it gains."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..evaluation.recording import Trace

# Equal parts of the centreline, numbered from the start line in driving direction.
SECTORS = 10


class SectorTimes(NamedTuple):
    """The times of two laps in each sector of a track."""

    policy_s: NDArray[np.float64]  # (SECTORS,)
    reference_s: NDArray[np.float64] | None  # (SECTORS,); None: the reference completed no lap
    standing: tuple[
        int, ...
    ]  # numbers from 1: sectors in which one of the laps begins at rest and the other does not

    @property
    def lost_s(self) -> NDArray[np.float64] | None:
        """Give the time that the policy loses in each sector, (SECTORS,) s; negative where it is ahead."""
        return None if self.reference_s is None else self.policy_s - self.reference_s


def edges_m(length_m: float) -> NDArray[np.float64]:
    """Return where the sectors of a lap of this length begin, and its end: (SECTORS + 1,) m along the centreline."""
    return np.linspace(0.0, length_m, SECTORS + 1)


def sector_times(trace: Trace) -> NDArray[np.float64]:
    """Return the time of a recorded lap in each sector, (SECTORS,) s; their sum is the lap time.

    A lap begins anywhere: the sector in which it does is driven in two parts, at its begin and at its end.

    Raises:
        ValueError: the trace is no completed lap.

    """
    if trace.lap_s is None:
        msg = f"the drive on {trace.track.name} is no completed lap: it has no sector times"
        raise ValueError(msg)
    length_m = trace.track.length_m
    first_m = float(trace.arc_m[0])
    steps_m = np.diff(trace.arc_m)
    way_m = np.concatenate([[0.0], np.cumsum(steps_m - length_m * np.round(steps_m / length_m))])
    # A car that slides back for a moment passes a line once: when it gets there first.
    way_m = np.maximum.accumulate(way_m)
    lines_m = np.sort((edges_m(length_m)[:-1] - first_m) % length_m)
    crossed_s = np.interp(lines_m, way_m, trace.time_s)
    bounds_m = np.concatenate([[0.0], lines_m, [length_m]])
    bounds_s = np.clip(np.concatenate([[0.0], crossed_s, [trace.lap_s]]), 0.0, trace.lap_s)
    middles_m = (first_m + 0.5 * (bounds_m[1:] + bounds_m[:-1])) % length_m
    which = np.minimum((middles_m / length_m * SECTORS).astype(int), SECTORS - 1)
    return np.bincount(which, weights=np.diff(bounds_s), minlength=SECTORS)


def compared(policy: Trace, reference: Trace | None) -> SectorTimes | None:
    """Return both drivers' times by sector; None if the policy completed no lap."""
    if policy.lap_s is None:
        return None
    own = sector_times(policy)
    if reference is None or reference.lap_s is None:
        return SectorTimes(own, None, ())
    same = (policy.start, policy.lap) == (reference.start, reference.lap)
    begins = () if same else {sector_at(trace) for trace in (policy, reference) if trace.lap == 0}
    return SectorTimes(own, sector_times(reference), tuple(sorted(begins)))


def sector_at(trace: Trace, row: int = 0) -> int:
    """Return the number, from 1, of the sector in which the car is in a row of a trace."""
    return min(int(trace.arc_m[row] / trace.track.length_m * SECTORS), SECTORS - 1) + 1
