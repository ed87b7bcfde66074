"""Help texts that are quick to come, and readable on a terminal of 40 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

from .terminal import columns

# The narrowest terminal for which the two columns of a help text are laid out as on a wide one.
WIDE = 62
NARROWEST = 20
_Formatter: Any = TyperGroup.context_class.formatter_class


class Narrow(_Formatter):  # type: ignore[misc] # typer has no public name for its base
    """Lay out a help text as wide as the terminal; typer's own is never narrower than 50 columns."""

    def __init__(self, *arguments: Any, max_width: int | None = None, **more: Any) -> None:  # noqa: ANN401 - typer's
        super().__init__(*arguments, **{"max_width": max_width, **more})
        self.width = max(min(columns(), max_width or 80) - 2, NARROWEST)

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write options and what they do; on a narrow terminal long names have a line of their own."""
        super().write_dl(rows, col_max if self.width >= WIDE else self.width // 4, col_spacing)


class UnexpectedEndError(Exception):
    """A file ended where more was expected, and no other error explained it."""


class Commands(TyperGroup):
    """The commands; help for one does not wait for pydantic, which would read a --help that is not given."""

    def get_help_option(self, ctx: Any) -> Any:  # noqa: ANN401 - typer has no public names for the two
        """Return typer's --help, off where it is not given instead of unknown."""
        option: Any = super().get_help_option(ctx)
        option.default = False
        return option

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        """Run a command; the end of a file that ends too early is a fault of the program.

        typer takes every EOFError for Ctrl-D at a question, says `Aborted.` and nothing else.
        """
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise UnexpectedEndError(f"a file ends too early: {error}") from error

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - as above
        """Return a command whose help is as wide as the terminal."""
        command: Any = super().get_command(ctx, cmd_name)
        if command is not None:
            command.context_class = _Context
        return command


_Context: Any = type("_Context", (TyperGroup.context_class,), {"formatter_class": Narrow})
Commands.context_class = _Context
