"""The command `down`: show what is removed and what stays, ask, remove. Things that stay show what they cost."""

from __future__ import annotations

from typing import NamedTuple

from ..aws import inventory
from ..console.output import OutputOptions, answer, ask, say, show
from ..context import CommandContext
from . import bucket_removal, images, teardown
from .bucket_removal import Removal
from .images import StoredImage

COMMAND = "./launch.py down --images"


class DownPlan(NamedTuple):
    """The resources that `down` finds."""

    going: list[str]
    left: list[str]  # of the project's names, but not its tags
    stored: list[StoredImage]
    used: dict[str, list[str]]  # image → what uses it
    removal: Removal | None  # None where there is no bucket
    images: bool  # whether the user has asked for the images to go

    @property
    def unused(self) -> list[StoredImage]:
        """Return what nothing uses."""
        return [one for one in self.stored if one.id not in self.used]

    @property
    def does_something(self) -> bool:
        """Tell whether anything would be removed."""
        objects = self.removal is not None and self.removal.deletes_objects
        return bool(self.going or objects or (self.images and self.unused))


def down(context: CommandContext, output: OutputOptions, *, data: bool, images: bool) -> None:
    """Remove everything, after showing it and asking; data and images only on request."""
    project = context.project
    plan = _plan(context, data=data, images_too=images)
    fate: dict[str, object] = {"project": project.name, "account": project.account, "region": project.region}
    fate |= (
        plan.removal.to_json_dict(project) if plan.removal else {"deleted_bucket": None, "kept_bucket": None}
    )
    if output.dry_run:
        stays = [one for one in plan.stored if not images or one.id in plan.used]
        lists = {"remove": plan.going, "left": plan.left, "images": _rows(plan.unused if images else [])}
        show({**fate, **lists, "kept_images": _rows(stays)})
        return
    for line in _lines(context, plan):
        say(line)
    stays = plan.stored
    if plan.does_something:
        ask(f"Remove project {project.name} from {project.region}?", output)
        stays = _carry_out(context, plan)
    if output.json:
        show({**fate, "kept_images": _rows(stays)})
        return
    answer(f"down: nothing of the project is left{_but(context, plan.removal, stays)}")


def _plan(context: CommandContext, *, data: bool, images_too: bool) -> DownPlan:
    cloud, project = context.cloud, context.project
    removal = (
        bucket_removal.plan(cloud, project, data=data) if inventory.bucket_exists(cloud, project) else None
    )
    if removal and removal.deletes_objects:
        teardown.check_data_unused(cloud, project, context.storage)
    stored = images.find(cloud, project)
    return DownPlan(
        teardown.what_goes(cloud, project),
        teardown.what_is_not_ours(cloud, project),
        stored,
        images.users(cloud, project, stored, our_runs_too=False) if images_too else {},
        removal,
        images_too,
    )


def _lines(context: CommandContext, plan: DownPlan) -> list[str]:
    """Return the plan for people."""
    lines = [
        *(f"  remove  {what}" for what in plan.going),
        *(f"  left    {what}: it is not tagged as the project's" for what in plan.left),
    ]
    for one in plan.stored:
        if one.id in plan.used:
            lines.append(f"  stays   {one.line}; {', '.join(plan.used[one.id])} of your account uses it")
        else:
            lines.append(f"  {'remove' if plan.images else 'stays':7} {one.line}")
    return lines + (
        bucket_removal.describe(context.cloud, context.project, plan.removal) if plan.removal else []
    )


def _carry_out(context: CommandContext, plan: DownPlan) -> list[StoredImage]:
    """Remove what the plan says; return the images and snapshots that stay."""
    cloud, project = context.cloud, context.project
    teardown.down(cloud, project, context.storage if plan.removal else None, plan.removal, say)
    if not plan.images:
        return plan.stored
    used = images.users(
        cloud, project, plan.stored, our_runs_too=False
    )  # minutes may have passed since the plan
    return images.remove(cloud, plan.stored, used, say)


def _but(context: CommandContext, removal: Removal | None, stays: list[StoredImage]) -> str:
    """Return what stays: the bucket, the images."""
    ours = removal is not None and removal.use == "created" and not removal.deletes_bucket
    kept = [f"its bucket {context.project.bucket}"] if ours else []
    if stays:
        kept.append(f"{images.summary(stays)}: {COMMAND}")
    return f" but {' and '.join(kept)}" if kept else ""


def _rows(stored: list[StoredImage]) -> list[dict[str, object]]:
    return [one.to_json_dict() for one in stored]
