"""The launcher's steps on a simulated account, without its command line."""

from __future__ import annotations

from typing import Any

from tests.cloud.fake_aws import ROOT, Account
from training.cloud.context import CommandContext
from training.cloud.launch import launch, setup
from training.cloud.launch.basis import read_basis
from training.config import Config

RUN = "race"


def up(account: Account) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)


def train(account: Account, **aws: Any) -> str:
    """Launch a run with some settings of `aws`, and return its fleet's id."""
    cloud = account.cloud
    cloud.aws = account.aws.model_copy(update=aws)
    site = CommandContext(Config(aws=cloud.aws), cloud, account.scope)
    basis = read_basis(site, "spot", ROOT)
    plan = launch.make_plan(site, account.storage, launch.Options(RUN), basis)
    return launch.start(site, account.storage, plan, lambda _: None)
