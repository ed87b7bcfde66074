"""No key, token or password is in the repository: detect-secrets over every file that git knows or would add.

A line that only looks like one says so at its end: ``pragma: allowlist secret``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
# Pins are commits and digests in hex, all over the place; keys of AWS, GitHub, W&B's .netrc and others have detectors
# of their own. The recordings are arrays. The golden user data is base64 of a config that stands beside it.
SCAN = (
    Path(sys.executable).with_name("detect-secrets-hook"),
    "--disable-plugin=HexHighEntropyString",
    r"--exclude-files=\.npz$",
    r'--exclude-lines=^  "UserData": "IyEv',
)


def scan(*files: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SCAN, *files], cwd=REPOSITORY, text=True, capture_output=True, check=False)


@pytest.mark.slow  # 17 s of a core
def test_no_file_of_the_repository_holds_a_secret() -> None:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("needs git and the repository: which files belong to it is git's to say")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=REPOSITORY, text=True, capture_output=True, check=True).stdout
    files = [name for name in listed.splitlines() if (REPOSITORY / name).is_file()]
    assert "launch.py" in files
    ended = scan(*files)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "line",
    [
        "aws_access_key_id = " + "AKIA" + "QX7ZJ2M4N5P6R8T3",
        'WANDB_API_KEY = "' + "local-" + 'uJ8kq0zT2vXc5nB7mW1r"',
        "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
        'token = "ghp_' + 'a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"',
    ],
)
def test_a_secret_that_is_put_in_is_found(line: str, tmp_path: Path) -> None:
    """So the test above can fail."""
    planted = tmp_path / "settings.py"
    planted.write_text(line + "\n", encoding="utf-8")
    ended = scan(str(planted))
    assert ended.returncode == 1, ended.stdout + ended.stderr
