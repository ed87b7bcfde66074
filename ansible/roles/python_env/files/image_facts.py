"""Print what this image is made of, as the JSON of /etc/f1tenth-image.json; run by the venv's Python.

The arguments are NAME=VALUE pairs that only the bake knows.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Print the facts, sorted, so that the same image gives the same text."""
    facts = {
        **dict(argument.split("=", 1) for argument in sys.argv[1:]),
        "os": platform.freedesktop_os_release()["PRETTY_NAME"],
        "kernels": sorted(path.name.removeprefix("vmlinuz-") for path in Path("/boot").glob("vmlinuz-*")),
        "python": platform.python_version(),
        "requirements_sha256": hashlib.sha256(Path("/opt/f1tenth/requirements.txt").read_bytes()).hexdigest(),
        "packages": {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()},
        "nvidia": debian_versions("*nvidia*", "cuda-*"),
    }
    print(json.dumps(facts, indent=2, sort_keys=True))


def debian_versions(*patterns: str) -> dict[str, str]:
    """Return the versions of the installed Debian packages that match."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package} ${Version}\n", *patterns]
    answer = subprocess.run(query, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    rows = (line.split() for line in answer.stdout.splitlines())
    return {row[1]: row[2] for row in rows if row[0] == "installed"}


main()
