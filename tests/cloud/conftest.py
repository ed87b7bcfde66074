"""An AWS account for each test."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.cloud.fake_aws import Account
from tests.cloud.iam_simulator import iam

__all__ = ["account", "iam"]


@pytest.fixture
def account(moto_server: str, credentials: None, tmp_path: Path) -> Account:
    """Give a project of its own on moto, with a config.yaml that points there."""
    account = Account(moto_server, f"p{secrets.token_hex(4)}", tmp_path)
    account.write_config()
    return account
