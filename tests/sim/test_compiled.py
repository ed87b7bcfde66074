"""Where compiled kernels are kept, and what happens where they cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FULL_DISK = """
import resource
import numpy as np

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # any byte written to a file is too many
from training.sim import collision, compiled

corners = np.zeros((4, 2))
collision.fill_corners(0.0, 0.0, 0.0, 0.58, 0.31, corners)
print(compiled.directory(), corners[2].round(3).tolist())
"""


def test_a_full_disk_costs_time_and_nothing_else(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "[0.29, -0.155]" in done.stdout
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]
    assert kept == [], "the disk was not full"
