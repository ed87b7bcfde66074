"""Any terminal will do: one that knows ASCII alone, one of 40 columns, none at all."""

from __future__ import annotations

import codecs
import contextlib
import io
import shutil
import sys
import unicodedata
from typing import TextIO

# Replacements for characters that the terminal cannot show. Letters lose their accents.
ASCII = {
    "…": "...", "→": "->", "←": "<-", "×": "x", "·": "*", "•": "*", "−": "-", "–": "-", "—": "-", "─": "-", "│": "|",
    "├": "|", "└": "`", "°": " degrees", "µ": "u", "≥": ">=", "≤": "<=", "≈": "~", "±": "+-", "“": '"', "”": '"',
    "ß": "ss", "π": "pi", "√": "sqrt ", "÷": "/", "½": "1/2", "²": "^2", "³": "^3",
}  # fmt: skip


def adapt_output() -> None:
    """Let no sign that the terminal cannot show, and no byte that it sends, be an error."""
    codecs.register_error("f1tenth.ascii", _replace)
    for stream, errors in (
        (sys.stdout, "f1tenth.ascii"),
        (sys.stderr, "f1tenth.ascii"),
        (sys.stdin, "replace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(
                io.UnsupportedOperation
            ):  # a caller of ours has read standard input already
                stream.reconfigure(errors=errors)


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person is at the other end; a stream that was closed by the shell is None."""
    return stream is not None and not stream.closed and stream.isatty()


def columns() -> int:
    """Return how wide the terminal is; COLUMNS counts."""
    return shutil.get_terminal_size().columns


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_plain(sign) for sign in error.object[error.start : error.end]), error.end


def _plain(sign: str) -> str:
    if sign in ASCII:
        return ASCII[sign]
    is_letter = unicodedata.category(sign).startswith("L")
    return (is_letter and unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()) or "?"
