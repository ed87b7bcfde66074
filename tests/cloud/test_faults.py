"""Every AWS call of a launch and of `down` fails in every way; then `gc` sees what exists, and the next try converges.

A scenario: one call of the flow, one kind of failure. `make torture` tries them all and prints the table that
docs/notes/launcher_faults.md shows; `make test` tries every nineteenth.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import secrets
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import botocore.client
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from tests.cloud.fake_aws import ROOT, Account
from training import layout
from training.cloud.aws import inventory
from training.cloud.aws.project import read_project, tag
from training.cloud.cleanup import bucket_removal, leaks, teardown
from training.cloud.context import CommandContext
from training.cloud.launch import basis, launch, setup
from training.cloud.launch_record import read_launch_record
from training.config import Config
from training.errors import TrainingError, UsageError
from training.store.open import open_store
from training.store.retry import RetryingStorage, RetryPolicy

CODES = {
    "throttling": ("Throttling", 400),
    "unauthorized": ("UnauthorizedOperation", 403),
    "capacity": ("InsufficientInstanceCapacity", 500),
    "quota": ("VcpuLimitExceeded", 400),
    "limit exceeded": ("LimitExceeded", 409),
}
KINDS = (*CODES, "timeout", "lost reply", "Ctrl-C before", "Ctrl-C after")
ONCE = {"throttling", "timeout", "lost reply", "Ctrl-C before", "Ctrl-C after"}
MOST_CALLS = 120
SAMPLED = 19  # prime to the number of kinds, so that the sample meets all of them
RESET_EVERY = 40  # scenarios: moto keeps what is terminated, and slows down with it
RUN = "race"
CLIENTS: dict[str, dict[str, Any]] = {}  # by endpoint
send: Callable[..., Any] = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack the code once: it is the same in every scenario."""
    monkeypatch.setattr(basis, "make_bundle", functools.lru_cache(basis.make_bundle))


class Faults:
    """Fail the n-th AWS call of this process; what is no passing trouble fails for that operation from then on."""

    def __init__(self, number: int, kind: str) -> None:
        self.number, self.kind, self.count, self.operation = number, kind, 0, ""

    def __call__(self, client: Any, operation: str, request: dict[str, Any]) -> Any:
        self.count += 1
        if self.count - 1 == self.number:
            self.operation = operation
        elif self.kind in ONCE or operation != self.operation:
            return send(client, operation, request)
        return self.fail(client, operation, request)

    def fail(self, client: Any, operation: str, request: dict[str, Any]) -> Any:
        if self.kind in CODES:
            code, status = CODES[self.kind]
            reply = {
                "Error": {"Code": code, "Message": "planted"},
                "ResponseMetadata": {"HTTPStatusCode": status},
            }
            raise ClientError(reply, operation)  # type: ignore[arg-type]
        if self.kind == "Ctrl-C before":
            raise KeyboardInterrupt
        if self.kind == "timeout":
            raise ReadTimeoutError(endpoint_url="planted")
        send(client, operation, request)
        if self.kind == "Ctrl-C after":
            raise KeyboardInterrupt
        raise ConnectionClosedError(endpoint_url="planted")


@contextlib.contextmanager
def planted(faults: Faults) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # A function, because only a function becomes a method.
        patch.setattr(botocore.client.BaseClient, "_make_api_call", lambda *args: faults(*args))
        yield


class World:
    """A fresh account with a project set up and an image baked."""

    def __init__(self, account: Account) -> None:
        self.account = account._replace(project=f"p{secrets.token_hex(4)}")
        cloud = self.account.cloud
        cloud._clients = CLIENTS.setdefault(
            account.endpoint, {}
        )  # they know no project, and take long to make
        self.site = CommandContext(Config(aws=self.account.aws), cloud, read_project(cloud))
        setup.apply(setup.plan(self.site.cloud, self.site.project), lambda _: None)
        self.account.bake(cloud=cloud)

    @functools.cached_property
    def storage(self) -> RetryingStorage:
        return open_store(
            self.site.project.store, self.site.config.aws, policy=RetryPolicy(sleep=lambda _: None)
        )

    def train(self) -> None:
        storage = self.storage
        found = basis.read_basis(self.site, "spot", ROOT)
        plan = launch.make_plan(self.site, storage, launch.Options(RUN), found)
        launch.start(self.site, storage, plan, lambda _: None)

    def down(self) -> None:
        cloud, scope = self.site.cloud, self.site.project
        exists = inventory.bucket_exists(cloud, scope)
        removal = bucket_removal.plan(cloud, scope, data=True) if exists else None
        teardown.down(cloud, scope, self.storage if exists else None, removal, lambda _: None)

    def leaks(self) -> set[tuple[str, str]]:
        cloud, scope = self.site.cloud, self.site.project
        storage = self.storage if inventory.bucket_exists(cloud, scope) else None
        return {(leak.kind, leak.id) for leak in leaks.find_leaks(cloud, scope, storage)}

    def exists(self) -> set[tuple[str, str]]:
        """Return what the run has on AWS, asked past the code under test's own idea of it."""
        ec2, iam = self.site.cloud.client("ec2"), self.site.cloud.client("iam")
        project, path = self.account.project, self.site.project.iam_path
        fleets = [
            one["FleetId"]
            for one in ec2.describe_fleets()["Fleets"]
            if one["FleetState"] == "active" and tag(one, layout.TAG_PROJECT) == project
        ]
        machines = [
            one["InstanceId"]
            for reservation in ec2.describe_instances()["Reservations"]
            for one in reservation["Instances"]
            if one["State"]["Name"] == "running" and tag(one, layout.TAG_PROJECT) == project
        ]
        templates = ec2.describe_launch_templates(Filters=self.site.project.filters)["LaunchTemplates"]
        profiles = iam.list_instance_profiles()["InstanceProfiles"]
        found = {
            *(("fleet", name) for name in fleets),
            *(("machine", name) for name in machines),
            *(("launch template", one["LaunchTemplateName"]) for one in templates),
            *(("role", one["RoleName"]) for one in iam.list_roles(PathPrefix=path)["Roles"]),
            *(("instance profile", one["InstanceProfileName"]) for one in profiles if one["Path"] == path),
        }
        if inventory.bucket_exists(self.site.cloud, self.site.project):
            intent = read_launch_record(self.storage, RUN)
            if intent is not None and not intent.fleet_id and not fleets:
                found.add(("half-made run", RUN))
        return found

    def is_whole(self) -> bool:
        """Tell whether the launch is complete: its fleet lives and is written down."""
        intent = read_launch_record(self.storage, RUN)
        fleet = inventory.fleet_of(self.site.cloud, self.site.project, RUN)
        return intent is not None and fleet is not None and intent.fleet_id == fleet["FleetId"]


def try_train(account: Account, number: int, kind: str) -> str | None:
    """Break one call of a launch, check what must hold, and return the operation; None when there is no such call."""
    world, faults = World(account), Faults(number, kind)
    failed = None
    with planted(faults):
        try:
            world.train()
        except (TrainingError, KeyboardInterrupt) as error:
            failed = error
    if not faults.operation:
        return None
    whole = not failed or world.is_whole()
    assert world.leaks() == (set() if whole else world.exists()), "gc reports exactly what exists"
    with contextlib.suppress(UsageError):  # "it is running": the first try had made it
        world.train()
    fleets = inventory.fleets(world.site.cloud, world.site.project)
    intent = read_launch_record(world.storage, RUN)
    assert intent is not None
    assert [fleet["FleetId"] for fleet in fleets] == [intent.fleet_id], "one run, one fleet, written down"
    assert world.leaks() == set()
    world.down()
    assert world.exists() == set()
    return faults.operation


def try_down(account: Account, number: int, kind: str) -> str | None:
    """Break one call of `down`, then see it converge."""
    world, faults = World(account), Faults(number, kind)
    world.train()
    with planted(faults), contextlib.suppress(TrainingError, KeyboardInterrupt):
        world.down()
    if not faults.operation:
        return None
    alive = bool(inventory.fleets(world.site.cloud, world.site.project))
    if not alive:
        assert world.leaks() == world.exists()
    world.down()
    assert world.exists() == set()
    assert not inventory.bucket_exists(world.site.cloud, world.site.project)
    assert (
        inventory.security_group(world.site.cloud, world.site.project, inventory.vpc_id(world.site.cloud))
        is None
    )
    return faults.operation


@pytest.mark.slow
def test_another_project_of_the_account_is_neither_found_nor_ended(account: Account) -> None:
    other, world = World(account), World(account)
    other.train()
    theirs = other.exists()
    assert {kind for kind, _ in theirs} == {"fleet", "machine", "launch template", "role", "instance profile"}
    assert world.leaks() == set()
    world.down()
    assert other.exists() == theirs
    assert inventory.bucket_exists(other.site.cloud, other.site.project)


# Of all faults, so that a part takes some minutes. No divisor of the number of kinds: each part meets all of them.
PARTS = 8
FLOWS = {"train": try_train, "down": try_down}


class Tried(NamedTuple):
    """One scenario: which call of which flow was broken how, and what went wrong afterwards, empty where nothing."""

    flow: str
    operation: str
    kind: str
    wrong: str


def scenarios(flow: str, account: Account, every: int, first: int = 0) -> Iterator[Tried]:
    """Run every n-th scenario of a flow from the first on; a flow has as many calls as break."""
    all_of_them = itertools.product(range(MOST_CALLS), KINDS)
    for index, (number, kind) in enumerate(itertools.islice(all_of_them, first, None, every)):
        if index % RESET_EVERY == 0:
            with urllib.request.urlopen(f"{account.endpoint}/moto-api/reset", data=b""):  # noqa: S310 - our own server
                pass
        try:
            operation = FLOWS[flow](account, number, kind)
        except Exception as error:  # noqa: BLE001 - the table goes on; the test fails at its end
            yield Tried(flow, f"call {number}", kind, f"{type(error).__name__}: {error}"[:400])
            continue
        if operation is None:
            return
        yield Tried(flow, operation, kind, "")


def table(tried: Sequence[Tried]) -> str:
    """Return tried and survived, by flow and kind of failure, as docs/notes/launcher_faults.md shows it."""
    flows = list(dict.fromkeys(one.flow for one in tried))
    lines = ["| failure | " + " | ".join(f"`{flow}`" for flow in flows) + " |", "|---|" + "---|" * len(flows)]
    for kind in KINDS:
        rows = [[one for one in tried if (one.flow, one.kind) == (flow, kind)] for flow in flows]
        cells = [f"{sum(not one.wrong for one in row)} of {len(row)}" for row in rows]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    totals = [[one for one in tried if one.flow == flow] for flow in flows]
    cells = [f"**{sum(not one.wrong for one in row)} of {len(row)}**" for row in totals]
    return "\n".join([*lines, "| **all** | " + " | ".join(cells) + " |"])


@pytest.mark.slow
@pytest.mark.parametrize("flow", FLOWS)
def test_some_faults_leave_nothing_unseen_and_the_next_try_converges(flow: str, account: Account) -> None:
    tried = list(scenarios(flow, account, every=SAMPLED))
    assert [one for one in tried if one.wrong] == []
    assert len(tried) >= 12
    assert {one.kind for one in tried} == set(KINDS)
    assert len({one.operation for one in tried}) >= 8


@pytest.mark.torture
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("flow", FLOWS)
def test_all_faults_leave_nothing_unseen_and_the_next_try_converges(
    flow: str, part: int, account: Account
) -> None:
    """In parts, which processes of their own may run beside each other: -k "train and 0"."""
    tried = list(scenarios(flow, account, every=PARTS, first=part))
    for one in tried:
        if one.wrong:
            print(f"{one.flow}, {one.operation}, {one.kind}: {one.wrong}", flush=True)
    print(f"\n{table(tried)}", flush=True)
    assert [one for one in tried if one.wrong] == []
    assert {"CreateFleet", "CreateLaunchTemplate", "DeleteFleets", "DeleteBucket"} & {
        one.operation for one in tried
    }
