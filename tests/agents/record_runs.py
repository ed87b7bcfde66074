"""Record runs that stop half way, with the state in which each ends if it is left alone.

The runs in tests/agents/runs_before/ are of commit 4fd2100 (2026-12-01), the last one before env.tyres. In a checkout
of it, with this file copied to the same place:

    git worktree add ../before 4fd2100
    cp tests/agents/record_runs.py ../before/tests/agents/
    (cd ../before && python -m tests.agents.record_runs RECORDED)

Each kind is a directory below RECORDED: config.json as that version writes it, store.npz with the bytes of each file of
the run's store, end.npz with the state at the end of the run that was left alone, and machine.json with what its bits
depend on.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.training_sessions import begin
from training.config import load_config
from training.rng import machine_class, set_threads

HALF, END = 120, 240
# The smallest run in which cars drive on worn tyres, crash, learn, and are evaluated before and after the break.
SMALL: dict[str, object] = {
    "env.tracks": "[kart]",
    "env.num_envs": 4,
    "env.beams": 8,
    "env.max_episode_s": 3.0,
    "env.scan_noise_m": 0.01,
    "sac.net_arch": "[8, 8]",
    "sac.batch_size": 8,
    "sac.buffer_size": 1000,
    "sac.learning_starts": 60,
    "sac.gradient_steps": 1,
    "sac.update_backend": "compiled",
    "imitation.timesteps": 160,
    "evaluation.frequency": 100,
    "evaluation.starts": 1,
}
KINDS: dict[str, dict[str, object]] = {
    "linear": {},
    "friction_circle": {"env.friction_circle": "true"},
    "randomised": {
        "env.randomisation.friction_factor": "[0.5, 1.3]",
        "env.randomisation.mass_factor": "[0.7, 1.3]",
        "env.randomisation.steering_delay_steps": "[0, 6]",
        "env.randomisation.scan_noise_factor": "[0.5, 2.0]",
    },
}


# What is compared: the cars, what the agent saw, did and was paid, the networks, the episodes and the evaluations.
COMPARED = (
    "world.states",
    "world.friction",
    "world.mass_kg",
    "world.delay",
    "world.noise_m",
    "world.progress_m",
    "world.scans",
    "world.episode",
    "last_observations",
    "agent0.replay.observations",
    "agent0.replay.actions",
    "agent0.replay.rewards",
    "agent0.replay.dones",
    "agent0.actor",
    "agent0.critic",
    "agent0.log_alpha",
    "agent0.kept.0",
    "agent0.kept_meta",
    "episodes",
)


# Figures of an episode that later versions have added.
ADDED_SINCE = ("lap_share",)


def compared(everything: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return what is compared of a session, as arrays: what is none, as JSON text, without what was added since."""
    return {
        name: value
        if isinstance(value, np.ndarray)
        else np.array(json.dumps(_without_added(value), sort_keys=True))
        for name, value in everything.items()
        if name in COMPARED
    }


def _without_added(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_added(value) for key, value in data.items() if key not in ADDED_SINCE}
    return [_without_added(value) for value in data] if isinstance(data, (list, tuple)) else data


def files_of(store: Path) -> dict[str, np.ndarray]:
    """Return the bytes of each file of a store, by its path in it; its lock is empty."""
    files = sorted(path for path in store.rglob("*") if path.is_file() and path.stat().st_size)
    return {str(path.relative_to(store)): np.frombuffer(path.read_bytes(), np.uint8) for path in files}


def unpack(recorded: Path, store: Path) -> None:
    """Write the files of a recorded store."""
    with np.load(recorded) as files:
        for name in files.files:
            path = store / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name].tobytes())


def main(directory: Path) -> None:
    """Record all kinds."""
    set_threads(1)
    for kind, changes in KINDS.items():
        config = load_config(None, [f"{key}={value}" for key, value in {**SMALL, **changes}.items()])
        (directory / kind).mkdir(parents=True)
        with tempfile.TemporaryDirectory() as cut, tempfile.TemporaryDirectory() as other:
            first = begin(config, Path(cut))
            first.train_to(HALF)
            first.save()
            np.savez_compressed(directory / kind / "store.npz", **files_of(Path(cut)))
            whole = begin(config, Path(other))
            whole.train_to(END)
            np.savez_compressed(directory / kind / "end.npz", **compared(whole.everything()))
        for name, data in (("config", config.to_json_dict()), ("machine", machine_class())):
            (directory / kind / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
