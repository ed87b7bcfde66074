"""Images of maps: transparent ones, and large ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.map_files import saved_oval, write_map
from training.sim import Track, TrackError


def test_a_transparent_image_is_refused_with_its_cause(tmp_path: Path) -> None:
    """An editor's white on nothing: not one pixel is opaque, so all is unknown ground."""
    pixels = np.full((6, 8, 4), 255, np.uint8)
    pixels[..., 3] = 0
    with pytest.raises(
        TrackError, match=r"hall.yaml: all free pixels of its image are transparent, .* unknown"
    ):
        Track.load(write_map(tmp_path, pixels))


def test_where_transparent_ground_is_in_the_way_the_error_says_so(tmp_path: Path) -> None:
    path, _ = saved_oval(tmp_path)
    with Image.open(path.with_suffix(".png")) as opened:
        pixels = np.asarray(opened.convert("RGBA")).copy()
    pixels[len(pixels) // 2 :, :, 3] = 0
    Image.fromarray(pixels).save(path.with_suffix(".png"))
    with pytest.raises(
        TrackError, match=r"goes through a wall at .*; 50 % of the image's pixels are transparent"
    ):
        Track.load(path)


LOADING = """
import resource, sys
from training.sim import Track

Track.load(sys.argv[1])  # compiled, and imported, before it counts
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Track.load(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "most"), [("L", 8.0), ("RGBA", 22.0)])
def test_a_large_map_takes_a_few_bytes_a_pixel_to_load(tmp_path: Path, mode: str, most: float) -> None:
    """4,000 x 4,000 pixels took 660 MB, 41 bytes each."""
    side = 4000
    pixels = np.full((side, side), 254, np.uint8)
    pixels[[0, -1]] = pixels[:, [0, -1]] = 0
    small, large = tmp_path / "small", tmp_path / "large"
    for folder, grey, width_m in ((small, pixels[:40, :40], 0.8), (large, pixels, 8.0)):
        folder.mkdir()
        path = write_map(folder, grey)
        Image.fromarray(grey).convert(mode).save(folder / "hall.png")
        angle = 2 * np.pi * np.arange(40) / 40
        points = np.stack([-1.0 + 1.0 + 0.5 * np.cos(angle), -2.0 + 1.0 + 0.5 * np.sin(angle)], axis=1)
        rows = "".join(f"{x}, {y}, {width_m}, {width_m}\n" for x, y in points)
        (folder / "hall_centerline.csv").write_text(rows)
    done = subprocess.run(
        [sys.executable, "-c", LOADING, str(small / path.name), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 1024 * int(done.stdout) < most * side**2
