"""`fetch`: bring home what a run has made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ... import layout
from ...store.storage import ListedObject, Storage
from ..aws.aws_errors import CloudError
from ..console.wait_notices import heartbeat
from .run_status import newest_meta, newest_pointer

MAX_FILE_BYTES = 4 << 30


def fetch_results(
    storage: Storage, run: str, out: Path, say: Callable[[str], None], *, latest: bool
) -> list[Path]:
    """Copy the best model of a run, or the `latest`, its report and its maps to this computer; return the files."""
    models = [one for one in storage.list(f"{layout.run_prefix(run)}/models/") if one.key.endswith(".zip")]
    models.sort(key=lambda one: one.key.rpartition("/")[2])
    chosen = _newest(models) if latest else _best(storage, run, models)
    made = [*chosen, *storage.list(f"{layout.report_prefix(run)}/")]
    if not made:
        raise CloudError(
            f"run {run} has no model and no report yet", next_step=f"How far it is: ./launch.py status {run}"
        )
    files = []
    for entry in (*made, *storage.list(f"{layout.maps_prefix(run)}/")):
        path = out / entry.key
        path.parent.mkdir(parents=True, exist_ok=True)
        with heartbeat(say, f"  still fetching {entry.key}, {entry.size / 1e6:.1f} MB"):
            storage.get_to_file(entry.key, path, max_bytes=MAX_FILE_BYTES)
        files.append(path)
    return files


def _best(storage: Storage, run: str, models: list[ListedObject]) -> list[ListedObject]:
    """Return each agent's model of the policy that the newest checkpoint calls its best; the newest where none is."""
    pointer = newest_pointer(storage, run)
    kept = newest_meta(storage, pointer).get("kept") if pointer else None
    rows = kept if isinstance(kept, list) else []
    steps = [row.get("step") if isinstance(row, dict) else None for row in rows]
    best = []
    for number, step in enumerate(steps):
        folder = f"{layout.agent_name(number)}/" if len(steps) > 1 else ""
        if isinstance(step, int):
            best += [one for one in models if one.key.endswith(f"/{folder}{step:012d}.zip")]
    return best or _newest(models)


def _newest(models: list[ListedObject]) -> list[ListedObject]:
    """Return the newest of the models, of each agent where there are several; models: sorted by step."""
    return list({one.key.rpartition("/")[0]: one for one in models}.values())
