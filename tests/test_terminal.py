"""Output for every terminal: ASCII alone, 40 columns, closed."""

from __future__ import annotations

import importlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from training.cloud.console import output
from training.cloud.console.output import OutputOptions, ask
from training.errors import UsageError
from training.process import terminal

ROOT = Path(__file__).parent.parent
SOURCES = [ROOT / "launch.py", *(ROOT / "training").rglob("*.py"), *(ROOT / "packer").glob("*.py")]


class Screen:
    """A terminal of one encoding."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
        self._bytes, self._encoding = io.BytesIO(), encoding
        stream = io.TextIOWrapper(self._bytes, encoding=encoding, write_through=True)
        monkeypatch.setattr("sys.stdout", stream)
        terminal.adapt_output()

    @property
    def text(self) -> str:
        return self._bytes.getvalue().decode(self._encoding)


# --- ASCII ---
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_no_sign_of_the_project_is_an_error_or_lost(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    signs = sorted({sign for path in SOURCES for sign in path.read_text(encoding="utf-8") if ord(sign) > 127})
    assert {"…", "→"} <= set(signs)
    screen = Screen(monkeypatch, encoding)
    sys.stdout.write("".join(signs))
    assert "?" not in screen.text


def test_standard_input_that_a_caller_has_read_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    read = io.TextIOWrapper(io.BytesIO(b"one\ntwo\n"), encoding="utf-8")
    assert read.readline() == "one\n"
    monkeypatch.setattr("sys.stdin", read)
    terminal.adapt_output()
    assert read.readline() == "two\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("stop → done … 2 × 3", "stop -> done ... 2 x 3"), ("Müller ß", "Muller ss"), ("名 \udc80", "? ?")],
)
def test_signs_become_what_ascii_has_for_them(monkeypatch: pytest.MonkeyPatch, text: str, shown: str) -> None:
    screen = Screen(monkeypatch, "ascii")
    sys.stdout.write(text)
    assert screen.text == shown


def test_utf_8_is_left_as_it_is_but_for_what_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="utf-8", write_through=True))
    terminal.adapt_output()
    sys.stdout.write("a → b \udc80")
    assert raw.getvalue().decode() == "a → b ?"


def test_bytes_that_are_no_text_are_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="ascii")
    monkeypatch.setattr("sys.stdin", stream)
    terminal.adapt_output()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    with pytest.raises(UsageError, match="nothing was done"):
        ask("Do this?", OutputOptions())


# --- closed, narrow ---
@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_closed_input_is_nobody_at_the_terminal(
    monkeypatch: pytest.MonkeyPatch, stream: str | None
) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stdin", closed if stream else None)
    with pytest.raises(UsageError, match="There is no terminal to answer on"):
        ask("Do this?", OutputOptions())


HEADS = ["run", "state", "steps", "attempts", "cost", "time left"]
ROWS = [
    ["2026-11-30-054140-abcd", "running", "1,000,000", "12", "$12.34", "5.5 h"],
    ["x", "done", "5", "1", "$0", ""],
]


@pytest.mark.parametrize("wide", [30, 40, 60, 200])
def test_no_cell_of_a_table_is_cut_on_a_terminal_of_any_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wide: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(wide))
    monkeypatch.setattr(output, "is_terminal", lambda _: True)
    output.table("2 runs", HEADS, ROWS)
    shown = capsys.readouterr().out
    assert all(cell in shown for row in ROWS for cell in row)
    assert all(head in shown for head in HEADS)
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= wide


def test_a_program_reads_whole_lines_whatever_the_terminal_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    output.table("1 run", HEADS, [["r" * 200, *ROWS[0][1:]]])
    line = capsys.readouterr().out.splitlines()[2]
    assert line.split()[:2] == ["r" * 200, "running"]


def test_help_is_as_wide_as_the_terminal_for_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    launch = importlib.import_module("launch")
    commands = [[], *([one.name or one.callback.__name__] for one in launch.app.registered_commands)]
    assert len(commands) > 12
    for command in commands:
        assert launch.main([*command, "--help"]) == 0
        shown = capsys.readouterr().out
        wide = [line for line in shown.splitlines() if len(line) > 40]
        assert [line for line in wide if not re.search(r"\S{30}", line)] == [], shown
        assert "--help" in shown


@pytest.mark.slow
@pytest.mark.parametrize("words", [["launch.py", "--help"], ["-m", "training", "--help"]])
def test_help_comes_under_ascii_and_40_columns(words: list[str]) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "40", "F1TENTH_LAUNCHER": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert max(len(line) for line in done.stdout.splitlines()) <= 40
