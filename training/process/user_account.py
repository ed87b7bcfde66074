"""The user of this computer, and this user's folders: also in a container, under a user id without a name."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from ..errors import UsageError


def user_name() -> str:
    """Return the user's name, or uid-NUMBER for a user who has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no LOGNAME, and the number is not in the list of users
        return f"uid-{os.getuid()}"


def home() -> Path | None:
    """Return the home folder, None for a user who has none."""
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and the number is not in the list of users
        return None


def cache_folder() -> Path | None:
    """Return the folder for things whose loss costs a request or a download; None for a user without a home."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if named and Path(named).is_absolute():  # others are ignored, as the standard asks
        return Path(named) / "f1tenth-training"
    found = home()
    return None if found is None else found / ".cache" / "f1tenth-training"


def expand(path: str) -> Path:
    """Return a path in which ~ is the home folder. UsageError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path!r}: {error}", next_step="Write the path without ~, or set HOME.") from error
