"""Check that the image fits the code: the interface that its units call, and what they hand over, has a number.

An image that was baked before the number changed would train and then fail in its finish unit, and the fleet would
bring the next machine until its cap. The launcher refuses such an image by its tag, this check refuses it by its file.
"""

from __future__ import annotations

import json
from pathlib import Path

from .. import layout
from ..errors import ConfigurationError


def check_image(path: Path = Path(layout.IMAGE_JSON)) -> None:
    """Raise ConfigurationError on an image whose units were made for other code; path: the image's own description.

    A machine without that file was not baked by `make ami`: its owner starts the trainer.
    """
    if not path.exists():
        return
    try:
        seen = json.loads(path.read_text(encoding="utf-8")).get("interface")
    except (OSError, ValueError, AttributeError):
        seen = None
    if str(seen) != str(layout.IMAGE_INTERFACE):
        raise ConfigurationError(
            f"this image has interface {seen or 'none'}, the code needs {layout.IMAGE_INTERFACE}",
            next_step="Bake an image again: make ami",
        )
