"""`gc`: find leftovers in the region of the settings, or in every region that the account has enabled."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import NamedTuple

from ...errors import TrainingError, UsageError
from ...store.documents import set_status
from ...store.open import open_store
from ...store.storage import Storage
from ..aws import inventory
from ..aws.client import Cloud
from ..aws.project import Project, make_project
from ..console.output import OutputOptions, answer, ask, say, show
from ..console.wait_notices import store_policy
from ..context import CommandContext
from . import down, images, leaks
from .images import StoredImage
from .leaks import Leak

# Regions that are searched at the same time: each takes some ten short requests.
AT_ONCE = 8


class Looked(NamedTuple):
    """The leftovers found in one region, or why the region could not be searched."""

    region: str
    leaks: list[Leak]
    stored: list[StoredImage]
    problem: str = ""


# --- one region ---
def gc(context: CommandContext, output: OutputOptions, *, delete: bool) -> None:
    """Print what is left over in the region of the settings, and end it where `delete` says so."""
    storage = _storage(context.cloud, context.project)
    found = leaks.find_leaks(context.cloud, context.project, storage)
    stored = images.find(context.cloud, context.project)
    if output.json:
        show([_to_json_dict(leak, context.project.region) for leak in found])
    else:
        for leak in found:
            answer(leak.line)
        answer(
            f"{len(found)} found" + (". End them: ./launch.py gc --delete" if found and not delete else "")
        )
        _tell_stored(stored)
    if not delete or not found:
        return
    if storage is None and any(leak.costs for leak in found):
        say(
            f"There is no bucket {context.project.bucket} here: where runs have another, set aws.s3_bucket_name first"
        )
    ask(f"End these {len(found)}?", output)

    def end_run(run: str) -> None:
        if storage is not None:
            set_status(storage, run, "stopped", only_from={"pending"}, reason="its launch was interrupted")

    for leak in found:
        leaks.delete_leak(context.cloud, context.project, leak, end_run)
        say(f"  gone    {leak.kind} {leak.id}")


def _tell_stored(stored: list[StoredImage], region: str = "") -> None:
    """Print the images and snapshots of `make ami`, which are no leak but cost money."""
    where, there = (f"{region}: ", f" --set aws.region={region}") if region else ("", "")
    for one in stored:
        answer(f"{where}{one.line} (kept)")
    if stored:
        answer(f"{where}{images.summary(stored)}. With all of the project: {down.COMMAND}{there}")


# --- every region ---
def gc_everywhere(context: CommandContext, output: OutputOptions) -> int:
    """Print what is left over in any region, and the command that ends it there; 1 where one could not be looked at.

    It deletes nothing: in another region the runs may have a bucket that these settings do not name.
    """
    regions = enabled_regions(context.cloud)
    looked = list(look_everywhere(context, regions))
    for one in looked:
        if one.problem:
            say(f"{one.region} could not be looked at: {one.problem}")
    found = [(one.region, leak) for one in looked for leak in one.leaks]
    if output.json:
        show([_to_json_dict(leak, region) for region, leak in found])
    else:
        for region, leak in found:
            answer(f"{region}: {leak.line}")
        answer(f"{len(found)} found in {len(regions)} regions")
        for one in looked:
            _tell_stored(one.stored, one.region)
        for region in dict.fromkeys(region for region, _ in found):
            answer(f"End those in {region}: ./launch.py gc --delete --set aws.region={region}")
    return 1 if any(one.problem for one in looked) else 0


def enabled_regions(cloud: Cloud) -> list[str]:
    """Return the regions that the account may use: AWS leaves out those that are not opted in."""
    reply = cloud.call("ec2", "describe_regions")
    return sorted(str(row["RegionName"]) for row in reply["Regions"])


def look_everywhere(context: CommandContext, regions: list[str]) -> Iterator[Looked]:
    """Yield what is left over in each region, in order."""
    home = _storage(context.cloud, context.project) if context.config.aws.s3_bucket_name else None

    def look_at(region: str) -> Looked:
        try:
            return _look_in(context, region, home)
        except TrainingError as error:
            return Looked(region, [], [], error.message)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="region") as pool:
        yield from pool.map(lambda region: copy_context().run(look_at, region), regions)


def _look_in(context: CommandContext, region: str, home: Storage | None) -> Looked:
    """Look at a region; home: the one bucket of the settings, where they name one."""
    aws = context.config.aws.model_copy(update={"region": region})
    cloud = Cloud(aws, context.cloud.say, context.cloud.clock)
    project = make_project(aws, context.project.account, context.project.caller)
    leaks = _leaks_in(cloud, project, home, half_made=region == context.project.region)
    return Looked(region, leaks, images.find(cloud, project))


def _leaks_in(cloud: Cloud, project: Project, home: Storage | None, *, half_made: bool) -> list[Leak]:
    if cloud.aws.s3_bucket_name is not None:
        # A run whose launch never became a fleet is asked for once, where the bucket is.
        return leaks.find_leaks(cloud, project, home, half_made=half_made)
    try:
        storage = _storage(cloud, project)
    except UsageError:
        # Permissions of one region do not reach the bucket of another; resources with our tags are seen all the same.
        why = f"bucket {project.bucket} cannot be read, so it may belong to a living run"
        return [leak._replace(why=why) for leak in leaks.find_leaks(cloud, project, None)]
    return leaks.find_leaks(cloud, project, storage)


def _storage(cloud: Cloud, project: Project) -> Storage | None:
    if not inventory.bucket_exists(cloud, project):
        return None
    return open_store(project.store, cloud.aws, policy=store_policy(cloud))


def _to_json_dict(leak: Leak, region: str) -> dict[str, object]:
    return {**leak._asdict(), "region": region}
