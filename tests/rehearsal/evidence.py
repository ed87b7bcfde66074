"""After a failure: everything that every part said, in one folder, and which part said what last."""

from __future__ import annotations

from pathlib import Path

from tests.rehearsal.small_cloud import SmallCloud

WORDS = ("error", "failed", "failure", "traceback", "exception", "refused", "denied", "no space", "timed out")
SHOWN = 6


def gather(cloud: SmallCloud) -> list[str]:
    """Write the journals as text and return, part by part, the last lines that sound like trouble."""
    lines = []
    for number, machine in enumerate(cloud.ec2.machines.values(), 1):
        (machine.folder / "journal.txt").write_text(machine.journal(), encoding="utf-8")
        state = "on" if machine.is_on else "off"
        lines += _part(
            f"machine {number} ({machine.instance.id}, {state}), journal", machine.folder / "journal.txt"
        )
        lines += _part(
            f"machine {number}, metadata service", machine.folder / "metadata.log", wanted=(" 5", " 401")
        )
    lines += _part("S3", cloud.folder / "s3.log", wanted=(" 5", " 403 ", "---"))
    lines += _part("launcher", cloud.folder / "launcher.log")
    lines += _part("uninterrupted run", cloud.folder / "reference" / "reference.log")
    return lines


def _part(name: str, path: Path, wanted: tuple[str, ...] = WORDS) -> list[str]:
    """Return a part's last troubled lines, below its name and file; its last line where none is."""
    if not path.exists():
        return []
    said = path.read_text(encoding="utf-8", errors="replace").splitlines()
    troubled = [line for line in said if any(word in line.lower() for word in wanted)][-SHOWN:]
    return [f"{name}: {path}", *(f"    {line[:200]}" for line in troubled or said[-1:])]
