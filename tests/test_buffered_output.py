"""Output that goes nowhere, in processes of their own: whoever writes there, nothing fails."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.process.buffered_output import MAX_WAITING, LastingOutput

ROOT = Path(__file__).parents[1]
FULL = Path("/dev/full")

# All that writes in a run: each of them raised, or was the cause of an exit code of 120.
WRITERS = """
import logging, sys, traceback, warnings
sys.path.insert(0, {root!r})
from tests.support.progress import BEGIN
from training.process.buffered_output import outlast_output
from training.process.terminal import adapt_output
outlast_output()
adapt_output()
from rich.console import Console
from training.run.progress_display import Display
with Display(Console(force_terminal=True, force_interactive=True)) as display:
    display.say("said")
    display.update(BEGIN)
print("printed", flush=True)
print("to standard error", file=sys.stderr)
warnings.warn("a warning")
logging.getLogger("somebody").error("logged")
try:
    raise RuntimeError("a traceback")
except RuntimeError:
    traceback.print_exc()
sys.stdout.write("left to the flush at the interpreter's end")
"""


def writers() -> list[str]:
    return [sys.executable, "-c", WRITERS.format(root=str(ROOT))]


def run(words: list[str], **streams: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=ROOT, text=True, timeout=120, check=False, **streams)  # type: ignore[call-overload]


# --- where everything fails ---
def test_nothing_that_writes_fails_where_the_device_is_full() -> None:
    with FULL.open("w") as full:
        assert run(writers(), stdout=full, stderr=full).returncode == 0


def test_nothing_that_writes_fails_where_the_reader_has_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run(writers(), stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 0
    assert "BrokenPipe" not in done.stderr
    assert "a traceback" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_nothing_that_writes_fails_where_the_caller_closed_the_stream(closed: str, tmp_path: Path) -> None:
    """And no file of the program gets the number of a stream: C libraries print there by number."""
    last = "import os; file = open(os.environ['FOUND'], 'w'); file.write(str(file.fileno()))"
    words = [*writers()[:2], f"{writers()[2]}\n{last}"]
    found = tmp_path / "number"
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *words]
    done = run(shell, env={**os.environ, "FOUND": str(found)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert int(found.read_text()) > 2


def test_all_that_is_written_arrives_where_nothing_fails() -> None:
    done = run(writers(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0
    for text in ("said", "printed", "left to the flush at the interpreter's end"):
        assert text in done.stdout
    for text in ("to standard error", "a warning", "logged", "RuntimeError: a traceback"):
        assert text in done.stderr


# --- what waits ---
def full_pipe() -> tuple[int, LastingOutput]:
    """Return the reader of a pipe that takes nothing more until it is read, and an output to it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    return reader, LastingOutput(writer, "a pipe")


def drained(reader: int) -> bytes:
    os.set_blocking(reader, False)
    text = b""
    try:
        while part := os.read(reader, 1 << 20):
            text += part
    except BlockingIOError:
        return text
    return text


def test_what_could_not_be_written_is_said_when_the_output_is_back() -> None:
    reader, output = full_pipe()
    assert output.write(b"first\n") == 6
    assert isinstance(output.error, BlockingIOError)
    drained(reader)
    output.write(b"second\n")
    assert drained(reader) == b"first\nsecond\n"
    assert output.error is None


def test_of_more_than_can_wait_the_newest_stays_and_the_gap_is_told() -> None:
    reader, output = full_pipe()
    output.write(b"lost\n")
    output.write(b"y" * MAX_WAITING)
    drained(reader)
    output.write_waiting()
    text = drained(reader) + (output.write_waiting() or b"") + drained(reader)
    assert text.startswith(b"(5 bytes of output are missing here: Resource temporarily unavailable)\ny")
    assert text.count(b"y") - text.partition(b"\n")[0].count(b"y") == MAX_WAITING


# --- commands ---
HELP = [sys.executable, "-m", "training", "--help"]


def test_a_command_whose_result_is_its_output_says_that_it_could_not_be_written() -> None:
    with FULL.open("w") as full:
        done = run(HELP, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (
        1,
        "error: the output could not be written: No space left on device\n",
    )


def test_a_reader_that_has_seen_enough_makes_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run(HELP, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
