"""What a user types to run this program, and the packages that it may lack.

A checkout is run as `python -m training`. The wheel's package is f1tenth_training and its script is `f1tenth-train`:
there the same sentences name the script.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import NoReturn

PACKAGE = __name__.partition(".")[0]
INSTALLED = PACKAGE != "training"
SCRIPT = "f1tenth-train"
# As it is typed in this installation; help pages call a checkout's `python -m training`.
COMMAND = SCRIPT if INSTALLED else ".venv/bin/python -m training"
PROG_NAME = SCRIPT if INSTALLED else "python -m training"

# Modules that the extras of pyproject.toml bring, by the name that is imported.
EXTRAS = {
    "train": (
        "boto3", "botocore", "pettingzoo", "psutil", "pynvml", "rich", "safetensors", "stable_baselines3",
        "tensorboard", "torch", "typer", "urllib3", "wandb", "zstandard",
    ),
    "report": ("imageio_ffmpeg", "jinja2", "matplotlib"),
    "render": ("pygame",),
}  # fmt: skip

_FORMS = (
    (r"(?:\.venv/bin/)?python -m training\.(?=\w)", f"python -m {PACKAGE}."),
    (r"(?:\.venv/bin/)?python -m training(?![.\w])", SCRIPT),
    (r"\.venv/bin/tensorboard\b", "tensorboard"),
    (r"\bmake report RUN=", f"{SCRIPT} report "),
    (r"`make train`", f"`{SCRIPT} train`"),
    (r"(\./launch\.py \w+)", r"\1 (in a checkout)"),
)


def as_typed(text: str, *, installed: bool = INSTALLED) -> str:
    """Return a text whose commands are those of this installation."""
    if not installed:
        return text
    for pattern, replacement in _FORMS:
        text = re.sub(pattern, replacement, text)
    return text


def missing(extra: str) -> list[str]:
    """Return the modules of an extra that are not installed."""
    return [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]


def install_command(module: str) -> str | None:
    """Return the command that installs a module of an extra; None for a module that no extra brings."""
    name = module.partition(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if name in modules), None)
    if extra is None:
        return None
    if not INSTALLED:
        return ".venv/bin/python -m pip install pygame" if extra == "render" else "make setup"
    extras = "train,report" if extra == "report" else extra
    return f"pip install 'f1tenth-training[{extras}]'"


def leave_without_packages() -> NoReturn:
    """Say which packages the command line lacks and how to install them; exit with 2."""
    lacking = ", ".join(missing("train"))
    sys.stderr.write(
        f"error: {PROG_NAME} needs packages that are not installed: {lacking}\n"
        f"Install them: {install_command('matplotlib')}\n"
    )
    sys.exit(2)
