"""The options that several commands of the launcher have, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, as `train` and `list` print it.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Settings file (default: config.yaml here, else next to launch.py)."),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Skip confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the exact requests, and do nothing.")]
Print = Annotated[bool, typer.Option("--print", help="Print the command instead of running it.")]
Dump = Annotated[bool, typer.Option("--json", help="Print machine and command as JSON; open nothing.")]
Delete = Annotated[bool, typer.Option("--delete", help="Actually delete (default: dry run).")]
