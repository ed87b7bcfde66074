"""Output that ends no run: text that standard output and error do not accept waits in memory, and training continues.

A pipe whose reader has gone, a full disk, a terminal that was closed: each makes every write fail. Writes come from
everywhere (print, rich, warnings, logging, tracebacks, the flush at the interpreter's end), but all of them go through
two streams, and these are replaced here, once, at the start of the command line.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys

from . import program

# Of what could not be written the newest stays, and is written as soon as the output takes something again.
MAX_WAITING = 1 << 16
STREAMS = ("stdin", "stdout", "stderr")


class LastingOutput(io.RawIOBase):
    """Write bytes to a file descriptor; never raises what the descriptor answers, and never closes it."""

    mode = "wb"

    def __init__(self, fd: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.error: OSError | None = None  # of the last attempt to write
        self._fd = fd
        self._waiting = bytearray()
        self._lost = 0  # bytes given up before those that wait

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Tell whether the descriptor is a terminal that answers."""
        return os.isatty(self._fd)

    def write(self, data: object) -> int:
        """Take all of the bytes; write them now, or when the descriptor takes some again."""
        new = bytes(data)  # type: ignore[call-overload]  # a buffer
        self._waiting += new
        self.write_waiting()
        return len(new)

    def write_waiting(self) -> None:
        """Write what waits, as far as the descriptor takes it; the oldest of the rest is given up beyond a bound."""
        try:
            while self._waiting:
                gap = self._gap()
                written = os.write(self._fd, gap + self._waiting)
                if written >= len(gap):  # a gap that was reported only in part is reported again
                    self._lost = 0
                    del self._waiting[: written - len(gap)]
            self.error = None
        except OSError as error:
            self.error = error
            excess = max(0, len(self._waiting) - MAX_WAITING)
            self._lost += excess
            del self._waiting[:excess]

    def _gap(self) -> bytes:
        if not self._lost:
            return b""
        why = "no reason" if self.error is None else self.error.strerror
        return f"({self._lost:,} bytes of output are missing here: {why})\n".encode()


class _AsTyped(io.TextIOWrapper):
    """Write what a wheel's user types where a text names a checkout's command."""

    def write(self, text: str) -> int:
        """Write the text; return the length of what was given."""
        super().write(program.as_typed(text))
        return len(text)


def outlast_output() -> None:
    """Let standard output and error fail without an error, and stand for each stream that the caller has closed.

    Streams that are no longer the process's own, as under pytest, stay as they are. Call before anything is written.
    """
    for name in STREAMS:
        stream = getattr(sys, name)
        if stream is None:
            # Else the next file that is opened would get the number 1, and with it all that C libraries print.
            null = open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115, PTH123 - stays open
            setattr(sys, name, null)
        elif name != "stdin" and type(stream) is io.TextIOWrapper:
            _replace(name, stream)


def write_error() -> OSError | None:
    """Try once more to write what waits; return what standard output answers, None where all is written."""
    for name in ("stdout", "stderr"):
        if (raw := _lasting(name)) is not None:
            getattr(sys, name).flush()
            raw.write_waiting()
    raw = _lasting("stdout")
    return None if raw is None else raw.error


def _replace(name: str, stream: io.TextIOWrapper) -> None:
    raw = getattr(stream.buffer, "raw", stream.buffer)  # python -u has no buffer in between
    if not isinstance(raw, io.FileIO):
        return
    with contextlib.suppress(OSError):
        stream.flush()
    lasting = LastingOutput(stream.fileno(), stream.name)
    buffer = lasting if raw is stream.buffer else io.BufferedWriter(lasting)
    replacement = (_AsTyped if program.INSTALLED else io.TextIOWrapper)(
        buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    setattr(sys, name, replacement)


def _lasting(name: str) -> LastingOutput | None:
    buffer = getattr(getattr(sys, name), "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw if isinstance(raw, LastingOutput) else None
