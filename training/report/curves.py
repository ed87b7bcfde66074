"""The curves of a run, read back from its TensorBoard event files, wherever its store is."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import layout
from ..process.systemd_notify import alive
from ..store.storage import StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..store.storage import Storage

MAX_EVENT_FILE_BYTES = 256 << 20
# More points than this are not seen in a picture; they are averaged in groups.
MOST_POINTS = 240


class Series(NamedTuple):
    """One curve: values over timesteps, both (n,)."""

    steps: NDArray[np.float64]
    values: NDArray[np.float64]


class Curves(NamedTuple):
    """Every curve by its name, and why others could not be read, in words ("" for nothing)."""

    series: dict[str, Series]
    problem: str = ""


def read_curves(storage: Storage, run: str) -> Curves:
    """Read all scalars of a run; damage is described, never raised: a report without curves is still a report."""
    try:
        with tempfile.TemporaryDirectory(prefix="f1tenth-curves-") as name:
            count = _copy_event_files(storage, run, Path(name))
            if not count:
                return Curves({}, f"There are no event files in {layout.metrics_prefix(run)}.")
            series = _read(Path(name))
    except (StoreError, OSError) as error:
        return Curves({}, f"The event files could not be read: {error}")
    if not series:
        return Curves(
            {}, f"The {count} event file(s) in {layout.metrics_prefix(run)} hold no readable numbers."
        )
    return Curves(series)


def _copy_event_files(storage: Storage, run: str, directory: Path) -> int:
    keys = [
        entry.key
        for entry in storage.list(layout.metrics_prefix(run) + "/")
        if "tfevents" in entry.key.rpartition("/")[2]
    ]
    for key in keys:
        # All in one folder: their names begin with their time, and readers take them in order.
        storage.get_to_file(key, directory / key.rpartition("/")[2], max_bytes=MAX_EVENT_FILE_BYTES)
        alive()
    return len(keys)


def _read(directory: Path) -> dict[str, Series]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415 - takes a second

    sizes = {"scalars": 0, "tensors": 1, "graph": 1, "meta_graph": 1, "images": 1, "histograms": 1}
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = EventAccumulator(str(directory), size_guidance=sizes)
    events.Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        points = [(event.step, event.value) for event in events.Scalars(tag)]
        steps, values = np.array(points, dtype=np.float64).T
        finite = np.isfinite(values)
        if finite.any():
            found[tag] = _thinned(Series(steps[finite], values[finite]))
        alive()
    return found


def _thinned(series: Series) -> Series:
    """Return the series with neighbouring points averaged, if it has too many."""
    groups = -(-len(series.steps) // MOST_POINTS)
    if groups <= 1:
        return series
    edges = np.arange(0, len(series.steps), groups)
    sizes = np.diff([*edges, len(series.steps)])
    return Series(*(np.add.reduceat(column, edges) / sizes for column in series))
