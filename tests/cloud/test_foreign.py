"""What is not ours stays as it is, through every command that makes, changes or deletes something."""

from __future__ import annotations

import functools

import pytest

from tests.cloud.fake_aws import ROOT, Account
from tests.cloud.foreign import Foreign
from training.cloud.aws import inventory
from training.cloud.cleanup import bucket_removal, leaks, stop, teardown
from training.cloud.context import CommandContext
from training.cloud.launch import launch, setup
from training.cloud.launch.basis import read_basis
from training.config import Config
from training.errors import UsageError
from training.store.documents import set_status
from training.store.open import open_store
from training.store.storage import Storage

RUN = "race"
ADDED_TO = ("bucket_tagging", "bucket_lifecycle_configuration")  # over plain http no policy is set


def say(_: str) -> None:
    """Hear nothing."""


class Play:
    """The launcher's commands without their processes, on one account."""

    def __init__(self, account: Account) -> None:
        self.account, self.foreign = account, Foreign(account)
        self.cloud, self.scope = self.foreign.cloud, self.foreign.scope
        self.site = CommandContext(Config(aws=account.aws), self.cloud, self.scope)

    @functools.cached_property
    def storage(self) -> Storage:
        return open_store(self.scope.store, self.site.config.aws)

    def up(self, *, use_existing_bucket: bool = False) -> None:
        setup.apply(setup.plan(self.cloud, self.scope, use_existing_bucket=use_existing_bucket), say)

    def train(self, run: str = RUN) -> None:
        basis = read_basis(self.site, "spot", ROOT)
        plan = launch.make_plan(self.site, self.storage, launch.Options(run), basis)
        launch.start(self.site, self.storage, plan, say)

    def stop(self, run: str = RUN) -> None:
        stop.end_run(self.cloud, self.scope, self.storage, run)

    def collect(self) -> set[str]:
        """Do what `gc --delete` does until nothing is found; return the kinds that it ended."""
        kinds: set[str] = set()
        while found := leaks.find_leaks(self.cloud, self.scope, self.storage):
            for leak in found:
                leaks.delete_leak(
                    self.cloud,
                    self.scope,
                    leak,
                    lambda run: set_status(self.storage, run, "stopped", reason="gc"),
                )
            kinds |= {leak.kind for leak in found}
        return kinds

    def down(self) -> None:
        exists = inventory.bucket_exists(self.cloud, self.scope)
        removal = bucket_removal.plan(self.cloud, self.scope, data=True) if exists else None
        teardown.down(self.cloud, self.scope, self.storage if exists else None, removal, say)


@pytest.mark.slow
@pytest.mark.parametrize("bucket", ["ours", "shared"])
def test_what_is_not_ours_outlives_the_project_unchanged(account: Account, bucket: str) -> None:
    play = Play(account)
    if bucket == "shared":
        play.foreign.place_bucket()
    else:
        play.foreign.place_neighbours()
    before = play.foreign.snapshot()
    assert len(before) >= (13 if bucket == "shared" else 30)
    added = {f"bucket's {what}" for what in ADDED_TO} if bucket == "shared" else set()

    def changed() -> set[str]:
        now = play.foreign.snapshot()
        return {name for name in before if now[name] != before[name]}

    if bucket == "shared":
        with pytest.raises(UsageError, match="not tagged as this project's"):
            play.up()
        assert changed() == set(), "a refused up"
        assert inventory.security_group(play.cloud, play.scope, inventory.vpc_id(play.cloud)) is None, (
            "nor anything else"
        )
    play.up(use_existing_bucket=bucket == "shared")
    assert changed() == added, "up"
    play.up()
    baked = account.bake(cloud=play.cloud)
    assert [one["ImageId"] for one in inventory.images(play.cloud, play.scope)] == [baked]
    play.train()
    assert changed() == added, "train"
    play.stop()
    assert changed() == added, "stop"
    play.train("second")
    assert len(inventory.fleets(play.cloud, play.scope)) == 1
    set_status(play.storage, "second", "done")
    assert play.collect() >= {"fleet", "role", "instance profile", "launch template"}
    assert inventory.fleets(play.cloud, play.scope) == []
    assert changed() == added, "gc --delete"
    play.down()
    assert inventory.bucket_exists(play.cloud, play.scope) == (bucket == "shared")
    assert changed() == set(), "down --data"
    if bucket == "shared":
        versions = play.cloud.client("s3").list_object_versions(Bucket=play.scope.bucket, Prefix="runs/")
        assert "Versions" not in versions, "of ours nothing is left"


def test_namesakes_are_refused_together_before_anything_is_made(account: Account) -> None:
    play = Play(account)
    play.foreign.place_namesakes()
    before = play.foreign.snapshot()
    with pytest.raises(UsageError) as caught:
        play.up()
    for what in ("security group", "log group", "policy"):
        assert f"{what} " in caught.value.message
    assert caught.value.message.count("not ours") == 3
    assert not inventory.bucket_exists(play.cloud, play.scope)
    play.down()
    assert play.foreign.snapshot() == before


@pytest.mark.slow  # each command is a process of its own
def test_namesakes_are_named_by_each_command_that_meets_them(account: Account) -> None:
    foreign = Foreign(account)
    foreign.place_namesakes()
    before = foreign.snapshot()
    planned = account.launch("up", "--dry-run")
    made = account.launch("up", "--yes")
    for done in (planned, made):
        assert done.returncode == 2
        assert done.stderr.count("not ours") >= 3
        assert "aws.project_name" in done.stderr
        assert "Nothing was changed" in done.stderr
    assert planned.stdout.count('"action": "refuse"') == 3
    left = account.launch("down", "--data", "--yes")
    assert left.returncode == 0, left.stderr
    assert left.stderr.count("  left    ") == 3
    assert foreign.snapshot() == before
