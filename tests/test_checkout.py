"""A checkout has the same bytes on every computer, whatever its git thinks of line ends."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What names an environment, an image and the programs on it by its hash.
HASHED = ("requirements.txt", "tests/requirements.txt", "ansible", "packer", "training/sim")


def git(folder: Path, *words: str) -> bytes:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True).stdout


def hashes(folder: Path) -> dict[str, str]:
    names = git(folder, "ls-files", "-z", *HASHED).decode().split("\0")
    files = [name for name in names if name]
    assert "requirements.txt" in files
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a clone by a git that turns line ends into those of Windows, nothing checked out yet."""
    folder = tmp_path / "clone"
    git(
        tmp_path,
        "clone",
        "--quiet",
        "--no-checkout",
        "--shared",
        "-c",
        "core.autocrlf=true",
        str(ROOT),
        "clone",
    )
    git(folder, "read-tree", "HEAD")
    return folder


def check_out(folder: Path, attributes: bytes) -> None:
    # Git asks the index where the folder has no such file: the committed one leaves both.
    git(folder, "update-index", "--force-remove", ".gitattributes")
    (folder / ".gitattributes").write_bytes(attributes)
    git(folder, "checkout-index", "--all", "--quiet")


def test_a_clone_with_autocrlf_has_the_hashes_of_what_is_committed(clone: Path) -> None:
    check_out(clone, (ROOT / ".gitattributes").read_bytes())
    committed = {
        name: hashlib.sha256(git(clone, "cat-file", "blob", f":{name}")).hexdigest() for name in hashes(clone)
    }
    assert hashes(clone) == committed


def test_without_our_attributes_it_would_not(clone: Path) -> None:
    """So the test above can fail."""
    check_out(clone, b"")
    assert b"\r\n" in (clone / "requirements.txt").read_bytes()


def test_nothing_is_committed_with_carriage_returns() -> None:
    listed = git(ROOT, "ls-files", "--eol").decode().splitlines()
    assert [line for line in listed if line.startswith(("i/crlf", "i/mixed"))] == []


def test_no_text_is_taken_for_bytes_and_no_bytes_for_text() -> None:
    listed = git(ROOT, "ls-files", "--eol").decode().splitlines()
    binary = [line.rpartition("\t")[2] for line in listed if line.startswith("i/-text")]
    assert binary
    checked = git(ROOT, "check-attr", "text", "--", *binary).decode().splitlines()
    assert [line for line in checked if not line.endswith("text: unset")] == []
