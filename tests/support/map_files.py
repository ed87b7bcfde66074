"""Maps written in the ROS form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.sim import Track

SETTINGS = {
    "image": "hall.png",
    "resolution": "0.05",
    "origin": "[-1.0, -2.0, 0.0]",
    "negate": "0",
    "occupied_thresh": "0.65",
    "free_thresh": "0.196",
}


def write_map(directory: Path, pixels: np.ndarray | None = None, **changes: str | None) -> Path:
    """Write hall.png and hall.yaml; a setting changed to None is left out."""
    pixels = np.full((6, 8), 254, np.uint8) if pixels is None else pixels
    Image.fromarray(pixels).save(directory / "hall.png")
    lines = [f"{key}: {value}" for key, value in (SETTINGS | changes).items() if value is not None]
    (directory / "hall.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory / "hall.yaml"


def saved_oval(directory: Path) -> tuple[Path, list[str]]:
    """Save a track; return its yaml and its csv's lines, the header first."""
    path = Track.generate(1, 40.0, name="oval").save(directory)
    return path, (directory / "oval_centerline.csv").read_text().splitlines()
