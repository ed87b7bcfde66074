"""The home of a user with profiles: ~/.aws/config, and a credential_process that counts its runs."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

ROLE = "arn:aws:iam::123456789012:role/trainer"
DEVICE = "arn:aws:iam::123456789012:mfa/kim"
KEYS = {
    "Version": 1,
    "AccessKeyId": "AKIAEXAMPLE",
    "SecretAccessKey": "not-to-be-shown",  # pragma: allowlist secret
}


class Home(NamedTuple):
    """A folder that is HOME."""

    folder: Path

    @property
    def cache(self) -> Path:
        return self.folder / ".aws" / "cli" / "cache"

    @property
    def environment(self) -> dict[str, str]:
        """Return what a shell of this user has; keys of another are empty."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
        certificates = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
        none = dict.fromkeys((*names, *certificates), "")
        return {**none, "HOME": str(self.folder), "AWS_EC2_METADATA_DISABLED": "true"}

    def write(self, text: str) -> None:
        """Write ~/.aws/config."""
        path = self.folder / ".aws" / "config"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def with_process(self, body: str, then: str = "") -> None:
        """Write a default profile whose credential_process is a program with this body."""
        program = self.folder / "credentials.py"
        count = f"open({str(self.folder / 'runs')!r}, 'a').write('x')\n"
        program.write_text(f"import sys, time\n{count}{body}\n", encoding="utf-8")
        self.write(f"[default]\ncredential_process = {sys.executable} -I -S {program}\n{then}")

    @property
    def runs(self) -> int:
        """Return how often the credential_process has run."""
        path = self.folder / "runs"
        return len(path.read_text()) if path.exists() else 0

    def with_role(self) -> None:
        """Write a default profile that assumes a role with an MFA code."""
        self.write(
            "[profile keys]\naws_access_key_id = test\naws_secret_access_key = test\n"
            f"[default]\nrole_arn = {ROLE}\nmfa_serial = {DEVICE}\nsource_profile = keys\n"
        )


def printing(**fields: Any) -> str:
    """Return a program that prints credentials, changed in some fields; None leaves one out."""
    found = {key: value for key, value in {**KEYS, **fields}.items() if value is not None}
    return f"print({json.dumps(found)!r})"


def after(s: float) -> str:
    """Return the time so many seconds from now, as Expiration says it."""
    return (datetime.now(timezone.utc) + timedelta(seconds=s)).strftime("%Y-%m-%dT%H:%M:%SZ")
