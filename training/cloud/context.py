"""The context of every command: the settings, AWS, our identity there, and the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..config import DEFAULT_FILE, AwsSettings, Config, load_config, settings_file
from ..store.open import open_store
from .aws import inventory
from .aws.aws_errors import CloudError
from .aws.client import Cloud
from .aws.project import Project, read_project
from .console.wait_notices import store_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..store.storage import Storage


PROJECT = Path(__file__).resolve().parents[2]  # the folder that holds launch.py


class CommandContext(NamedTuple):
    """One project in one account, with the settings of the user."""

    config: Config
    cloud: Cloud
    project: Project

    @property
    def storage(self) -> Storage:
        """Open the store; CloudError where there is no bucket yet."""
        if not inventory.bucket_exists(self.cloud, self.project):
            raise CloudError(
                f"there is no bucket {self.project.bucket}",
                next_step="Set up, free of charge: ./launch.py up",
            )
        return open_store(self.project.store, self.config.aws, policy=store_policy(self.cloud))


def settings_path(path: Path | None) -> Path | None:
    """Return the settings file of a command: the one that is named, else config.yaml here or next to launch.py.

    So a command that is typed in another folder looks at the project that its launcher belongs to.
    """
    found, own = settings_file(path), PROJECT / DEFAULT_FILE
    return own if found is None and own.exists() else found


def where(aws: AwsSettings, path: Path | None, account: str = "") -> str:
    """Return where a command looks, for people; path: the settings file that it goes by."""
    source = "no config.yaml, so the defaults" if path is None else str(path)
    place = f"account {account}, {aws.region}" if account else aws.region
    return f"project {aws.project_name} in {place} (settings: {source})"


def read_settings(path: Path | None, overrides: Sequence[str]) -> Config:
    """Read the settings as the trainer does: the same command trains the same run here and in the cloud."""
    return load_config(settings_path(path), overrides)


def open_context(path: Path | None, overrides: Sequence[str], say: Callable[[str], None]) -> CommandContext:
    """Read the settings and find out who we are. NoCredentials where AWS does not know us."""
    config = read_settings(path, overrides)
    cloud = Cloud(config.aws, say)
    return CommandContext(config, cloud, read_project(cloud))
