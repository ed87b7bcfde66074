"""The diffs of docs/change_the_algorithm.md apply as written, and do what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/change_the_algorithm.md").read_text(encoding="utf-8")
CHANGES = dict(re.findall(r"^## (.+?)\n.*?^```diff\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
# What shows that a change has an effect, in the changed copy.
EFFECTS = {
    "Change the loss": """
import torch
from training.agents.networks import Batch
from training.agents.stacked_mlp import StackedMlp
from training.agents.update import SacUpdate
stacks = [StackedMlp(1, [3, 4, 2]), *(StackedMlp(2, [4, 4, 1]) for _ in range(2))]
update = SacUpdate(*stacks, learning_rate=0.0, tau=0.0, log_alpha=torch.zeros(1), target_entropy=None,
                   backend="eager")
ones = torch.ones((1, 5, 1))
batch = Batch(ones.expand(1, 5, 3), ones, ones.expand(1, 5, 3), 100.0 * ones[..., 0], 0.0 * ones[..., 0])
assert float(update.step(batch, ones, ones).critic) <= 1.0, "clamped: two critics, an error of at most 1 each"
""",
    "Add a reward term": """
import numpy as np
from training.config import load_config
from training.envs.reward import Decision, terms
rewards = load_config(None, ["env.reward.speed=0.5"]).env.reward
zeros, actions = np.zeros((1, 1)), np.zeros((1, 1, 2))
found = terms(rewards, Decision(zeros + 2.0, zeros > 0, zeros > 0, None, None, None, actions, actions, None))
assert float(found["speed"].item()) == 0.5 * 2.0**2
""",
    "Add an observation": """
import numpy as np
from types import SimpleNamespace
from training.config import EnvSettings
from training.envs.observation import ScanStack
settings, states = EnvSettings(), np.zeros((1, 1, 7))
states[..., 3], states[..., 6] = settings.speed_cap_mps, 0.5
world = SimpleNamespace(states=states, measured=states[..., [3, 5, 2]])
seen = ScanStack(settings, 1, 1).observe(world, np.zeros((1, 1, 2)))
assert seen.shape[-1] == settings.observation_size
assert np.isclose(seen[0, 0, settings.beams * settings.scans_stacked + 1], np.sin(0.5))
""",
    "Add a driver": """
import numpy as np
from types import SimpleNamespace
from training.envs.drivers.registry import DRIVERS, make_driver
assert "straight" in DRIVERS
world = SimpleNamespace(states=np.ones((1, 2, 7)))
assert make_driver("straight").act(world).tolist() == [[[0.0, 1.0], [0.0, 1.0]]]
""",
}


def test_every_change_of_the_page_is_tried() -> None:
    assert CHANGES.keys() == EFFECTS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("title", EFFECTS)
def test_a_change_works_as_it_is_written(title: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "training", tmp_path / "training", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    applied = subprocess.run(
        ["git", "apply", "-"], cwd=tmp_path, input=CHANGES[title], capture_output=True, text=True, check=False
    )
    assert applied.returncode == 0, f"the page does not fit the code any more: {applied.stderr}"
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(tmp_path / "numba")),
    }
    done = subprocess.run(
        [sys.executable, "-c", EFFECTS[title]],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
