"""Where compiled kernels are kept, and what happens where they cannot be."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.sim import compiled

ROOT = Path(__file__).parents[2]
USE = """
import sys
import numpy as np
from training.sim import collision, compiled

kind = getattr(np, sys.argv[1])
corners = np.zeros((4, 2))
sys.stdin.readline()  # two processes wait for each other
collision.fill_corners(kind(0), kind(0), kind(0), 0.58, 0.31, corners)
print(corners[2].round(3).tolist(), sum(collision.fill_corners.stats.cache_hits.values()))
"""
RIGHT = "[0.29, -0.155]"
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


def begin(cache: Path, kind: str = "float64") -> subprocess.Popen[str]:
    """Start a program that uses one kernel, called with scalars of a type."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", USE, kind]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def use(cache: Path, kind: str = "float64") -> int:
    """Run it to its end, see that it computes, and return how often compiled code was found."""
    out, err = begin(cache, kind).communicate("\n", timeout=120)
    assert out.startswith(RIGHT), err[-2000:]
    return int(out.split()[-1])


def kept(cache: Path) -> Path:
    (path,) = [path for path in cache.rglob("*.nbc") if "fill_corners" in path.name]
    return path


DAMAGES = {
    "empty": lambda data: data[:0],
    "half": lambda data: data[: len(data) // 2],
    "one byte": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    ),
    "text": lambda data: data.hex().encode(),
    "numba's own": lambda data: data[32:],
}


@pytest.mark.slow
def test_damaged_code_is_compiled_again_and_replaced(tmp_path: Path) -> None:
    assert use(tmp_path) == 0
    assert use(tmp_path) == 1
    path = kept(tmp_path)
    whole = path.read_bytes()
    for damage, spoil in DAMAGES.items():
        path.write_bytes(spoil(whole))
        assert use(tmp_path) == 0, damage
        assert use(tmp_path) == 1, f"{damage}: not mended"
    path.unlink()
    path.mkdir()  # what cannot be read, and not replaced either
    assert use(tmp_path) == 0


@pytest.mark.slow
def test_code_whose_classes_have_other_names_by_now_is_compiled_again(tmp_path: Path) -> None:
    assert use(tmp_path) == 0
    content = b"ctraining.sim.lidar\nBeamsOfBefore\n."  # a pickle that names a class which is gone
    kept(tmp_path).write_bytes(hashlib.sha256(content).digest() + content)
    assert use(tmp_path) == 0
    assert use(tmp_path) == 1, "not mended"


@pytest.mark.slow
def test_processes_that_compile_at_once_keep_the_code_of_both(tmp_path: Path) -> None:
    """Numba's index would name one file for both, with the code of whichever came last."""
    kinds = ("float64", "float32", "int64")
    began = [begin(tmp_path, kind) for kind in kinds]
    for process in began:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in began:
        out, err = process.communicate(timeout=120)
        assert out.startswith(RIGHT), err[-2000:]
    assert [use(tmp_path, kind) for kind in kinds] == [1, 1, 1]


def test_a_place_that_cannot_be_written_to_costs_time_and_nothing_else(tmp_path: Path) -> None:
    """As root no folder is read-only: here a file stands in the way, and numba's own choice would be below sources."""
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    before = set((ROOT / "training").rglob("*.nb[ic]"))
    assert use(in_the_way / "cache") == 0
    assert set((ROOT / "training").rglob("*.nb[ic]")) == before


def test_the_cache_of_kernels_changes_with_every_source_of_the_simulator() -> None:
    """Kernels call functions of sim/track too: a cache that does not follow them runs old code."""
    sources = {path.relative_to(ROOT / "training/sim") for path in (ROOT / "training/sim").rglob("*.py")}
    assert {path.relative_to(ROOT / "training/sim") for path in compiled._SOURCES} == sources
    assert Path("track/centerline.py") in sources
