"""`train`: read everything that a launch depends on, then start it so that nothing is half-made unseen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from ... import layout
from ...config import AwsSettings, Config
from ...config.memory import check_fits
from ...config.resume import SettingsFile
from ...config.speed import estimate
from ...store.documents import read_control, request, set_status
from ...store.storage import IF_ABSENT, Corrupt, PreconditionFailed, Storage
from ...stored_runs.policy_sources import copy_into_run
from ...stored_runs.read import write_config
from ..aws import inventory, launch_requests, project_resources
from ..aws.aws_errors import CloudError
from ..aws.client import Cloud
from ..aws.disk_key import root_disk
from ..aws.launch_requests import Launch
from ..aws.ownership import as_mapping, require_owned
from ..aws.prices import Pool, Price
from ..aws.project import Project
from ..console.wait_notices import heartbeat
from ..context import CommandContext
from ..launch_record import (
    LAUNCHING,
    LaunchRecord,
    is_under_way,
    name_fleet,
    owner,
    write_launch_record,
)
from . import setup
from .arguments import Options
from .basis import Basis
from .code_bundle import Bundle
from .earlier_failure import EarlierFailure, earlier_failure, fingerprint_of
from .expected_time import ExpectedTime, expected_time, progress_of
from .own_maps import OwnMap, check_carried, taken_by, upload
from .profile_wait import wait_for_profile
from .provision import check_names, create_fleet, create_role, create_template
from .run_checks import check_origin, next_launch, no_run, own_settings, sources_of
from .settings_checks import check_sources, free_memory

# gp3 per GB and hour in us-east-1, the part of the bill that no price limit covers.
VOLUME_USD_PER_GB_HOUR = 0.08 / 730
# Of the snapshot, for aws.volume_initialization_mib_s: us-east-1 in 2025, https://aws.amazon.com/ebs/pricing/
VOLUME_FILL_USD_PER_GB = 0.0036


class LaunchPlan(NamedTuple):
    """A launch, ready to be confirmed."""

    launch: Launch
    config: Config  # of the run: a run that is continued brings its own
    basis: Basis
    expected: Price
    time: ExpectedTime
    aws: AwsSettings
    note: str = ""  # the settings of the user's file that do not apply
    failure: EarlierFailure | None = None  # of the run's last launch
    sources: str = ""  # what it takes over from other runs, to be copied into it
    maps: Mapping[str, OwnMap] = {}  # of this computer, to be uploaded with it

    @property
    def cap_usd(self) -> float:
        """Return what the machines cannot exceed."""
        return self.launch.hours * self.launch.price_cap_usd_per_hour

    @property
    def expected_usd(self) -> float:
        """Return what the run is likely to cost, without an interruption."""
        return min(self.time.total_h, self.launch.hours) * self.expected.usd_per_hour


def check_run(context: CommandContext, options: Options) -> None:
    """Raise UsageError for a run that exists, does not exist, or is running, as far as there is a store to ask."""
    config, cloud, project = context
    if inventory.bucket_exists(cloud, project):
        storage = context.storage
        next_launch(cloud, project, storage, options)
        run_config = own_settings(storage, options) or config
        training_type = run_config.training.training_type
        check_origin(storage, options, training_type)
        check_carried(storage, options.run, run_config.all_tracks, options.maps)
        sources_of(storage, options.run, training_type, run_config.policy_sources)
    elif options.resume:
        raise no_run(project, options.run)
    else:
        check_sources(None, config.policy_sources, options.run)


def make_plan(context: CommandContext, storage: Storage, options: Options, basis: Basis) -> LaunchPlan:
    """Return the launch, ready to be confirmed; UsageError for a run that exists, does not exist, or is running."""
    config, cloud, project = context
    aws, kinds = config.aws, basis.kinds
    lacking = setup.is_up(cloud, project)
    if lacking:
        raise CloudError(
            f"the set-up is not complete; {'; '.join(lacking)}",
            next_step="Complete it, free of charge: ./launch.py up",
        )
    number = next_launch(cloud, project, storage, options)
    run_config = own_settings(storage, options) or config
    training_type = run_config.training.training_type
    check_origin(storage, options, training_type)
    check_carried(storage, options.run, run_config.all_tracks, options.maps)
    maps = taken_by(run_config.all_tracks, options.maps)
    room, where = free_memory(basis.memory_mib, kinds, sum(one.cells for one in maps.values()))
    check_fits(run_config, room, where)
    check_names(cloud, project, options.run, number)
    group = inventory.security_group(cloud, project, basis.vpc_id)
    if group is not None:
        what = f"security group {layout.security_group_name(project.name)}"
        require_owned(project, what, as_mapping(group.get("Tags")))
    launch = Launch(
        run=options.run,
        number=number,
        owner=owner(),
        image_id=basis.image["ImageId"],
        root_device=basis.image.get("RootDeviceName", "/dev/sda1"),
        security_group_id=group["GroupId"] if group else "",
        bundle_sha256=basis.bundle.sha256,
        training_type=training_type,
        instance_types=kinds,
        pools=tuple(basis.pools),
        valid_until=(cloud.now() + timedelta(hours=basis.hours)).replace(microsecond=0),
        hours=basis.hours,
        price_cap_usd_per_hour=basis.prices.cap(kinds),
        market=options.market,
        relaunch=options.relaunch,
        keep_on_failure_s=options.keep_on_failure_s,
        at_step=options.at_step,
        from_partial=options.from_partial,
    )
    pools = [Pool(kind, basis.zones[subnet]) for kind, subnet in basis.pools]
    expected = basis.prices.expected(pools, options.market)
    file = options.settings_file if options.resume else None
    note = "" if file is None else SettingsFile.read(file).left_aside(config, run_config)
    failure = earlier_failure(storage, options.run, fingerprint_of(launch, run_config))
    sources = sources_of(storage, options.run, training_type, run_config.policy_sources)
    done = progress_of(storage, options.run, options.at_step)
    time = expected_time(run_config.training, estimate(run_config, basis.cores), done)
    return LaunchPlan(launch, run_config, basis, expected, time, aws, note, failure, sources, maps)


def describe(plan: LaunchPlan) -> list[str]:
    """Return the plan for people: where, on what, at which price, until when, at most how much."""
    launch = plan.launch
    end = "replaced when interrupted" if launch.relaunch else "not replaced"
    return [
        f"run        {launch.run}" + (f", launch {launch.number}" if launch.number > 1 else ""),
        f"machine    one of {', '.join(launch.instance_types)} ({launch.market}, {end})",
        f"zones      {', '.join(sorted(set(plan.basis.zones.values())))}: {len(launch.pools)} pools to choose from",
        f"image      {launch.image_id}, code {launch.bundle_sha256[:12]}",
        f"price      about {plan.expected}",
        f"takes      {plan.time.describe()}",
        f"costs      about ${plan.expected_usd:.2f} at that time and price",
        f"           {plan.time.speed.describe_price(plan.expected.usd_per_hour)}",
        f"ends       by {launch.valid_until:%Y-%m-%d %H:%M} UTC ({launch.hours:.2f} h), whatever happens",
        f"cannot cost more than ${plan.cap_usd:.2f}, plus storage ({_disk_cost(plan)})",
        f"quota      {', '.join(map(str, plan.basis.quotas)) or 'could not be read'}",
        *([f"takes over {plan.sources}"] if plan.sources else []),
        *(
            f"map        {given}: uploaded as {one.name}, lap {one.length_m:.1f} m"
            for given, one in plan.maps.items()
        ),
        *(f"note       {note}" for note in plan.basis.notes),
        *_too_short(plan),
        *([plan.failure.line] if plan.failure else []),
        *([plan.note] if plan.note else []),
    ]


def _disk_cost(plan: LaunchPlan) -> str:
    """Return what the disk costs: no price limit covers it."""
    usd = plan.launch.hours * VOLUME_USD_PER_GB_HOUR * plan.aws.volume_size_gb
    if plan.aws.volume_initialization_mib_s is None:
        return f"about ${usd:.2f} for the disk"
    filled_usd = VOLUME_FILL_USD_PER_GB * root_disk(plan.basis.image).get("VolumeSize", 0)
    return f"about ${usd:.2f} for the disk, and at most ${filled_usd:.2f} at each boot for filling it"


def _too_short(plan: LaunchPlan) -> list[str]:
    """Return a warning where the run is likely to need more time than the fleet has."""
    if plan.time.total_h <= plan.launch.hours:
        return []
    needs, ends = f"{plan.time.total_h:.1f} h", f"{plan.launch.hours:.1f} h with its last checkpoint"
    what = f"too short  the run is likely to need {needs}, and ends after {ends}"
    return [f"{what}: raise aws.max_hours and aws.max_cost_usd"]


def requests(context: CommandContext, plan: LaunchPlan) -> dict[str, Any]:
    """Return the exact requests of a launch, for --dry-run."""
    _, cloud, project = context
    template = launch_requests.launch_template(project, cloud.aws, plan.launch)
    del template["LaunchTemplateData"]["UserData"]  # shown as lines below
    return {
        "create_role": project_resources.create_role(project, plan.launch.run),
        "create_instance_profile": project_resources.create_instance_profile(project, plan.launch.run),
        "create_launch_template": template,
        "user_data": launch_requests.user_data(project, cloud.aws, plan.launch).splitlines(),
        "create_fleet": launch_requests.fleet_request(project, plan.launch, "lt-…", 1),
    }


def start(context: CommandContext, storage: Storage, plan: LaunchPlan, say: Callable[[str], None]) -> str:
    """Create everything and return the fleet's id. The next start or `gc` finds the leftovers of an interrupted one."""
    _, cloud, project = context
    launch = plan.launch
    intent = write_launch_record(
        storage,
        _intent(cloud, project, plan),
        lambda current: _may_replace(cloud, project, storage, current),
    )
    say("  done    the run is ours: its intent is written")
    size = f"{len(plan.basis.bundle.data) / 1e6:.1f} MB"
    with heartbeat(say, f"  still uploading the code, {size}"):
        upload_bundle(storage, plan.basis.bundle)
    say(f"  done    code uploaded, {size}")
    if plan.maps:
        with heartbeat(say, "  still uploading the maps"):
            upload(storage, launch.run, plan.maps)
        say(f"  done    maps uploaded: {', '.join(one.name for one in plan.maps.values())}")
    write_config(storage, launch.run, plan.config)
    _set_pending(storage, launch)
    if plan.sources:
        with heartbeat(say, "  still copying what the run takes over from others"):
            copy_into_run(storage, launch.run, plan.config.policy_sources)
        say(f"  done    copied into the run: {plan.sources}")
    create_role(cloud, project, launch.run)
    say("  done    role of the run")
    template_id, version = create_template(cloud, project, launch)
    say("  done    launch template")
    wait_for_profile(cloud, launch, template_id, version)
    fleet_id = create_fleet(cloud, project, launch, template_id, version)
    name_fleet(storage, intent, fleet_id)
    say(f"  done    fleet {fleet_id}")
    return fleet_id


# --- the steps ---
def upload_bundle(storage: Storage, bundle: Bundle) -> None:
    """Upload the code, unless it is there; other bytes under its name, which machines would refuse, are replaced."""
    key = layout.script_bundle_key(bundle.sha256)
    try:
        storage.put(key, bundle.data, condition=IF_ABSENT, sha256=bundle.sha256)
    except PreconditionFailed:
        if not _holds(storage, key, bundle.data):
            storage.put(key, bundle.data, sha256=bundle.sha256)


def _holds(storage: Storage, key: str, data: bytes) -> bool:
    try:
        return storage.get(key, max_bytes=len(data)).data == data
    except Corrupt:
        return False


def _intent(cloud: Cloud, project: Project, plan: LaunchPlan) -> LaunchRecord:
    launch = plan.launch
    prices = {
        f"{pool.kind} {pool.zone}": price.usd_per_hour for pool, price in plan.basis.prices.spot.items()
    }
    if launch.market == "on-demand" or not prices:
        prices = {kind: price.usd_per_hour for kind, price in plan.basis.prices.on_demand.items()}
    return LaunchRecord(
        run=launch.run,
        launch=launch.number,
        by=owner(),
        region=project.region,
        account=project.account,
        created_at=cloud.clock.now(),
        valid_until=launch.valid_until,
        market=launch.market,
        relaunch=launch.relaunch,
        price_cap_usd_per_hour=launch.price_cap_usd_per_hour,
        cap_usd=plan.cap_usd,
        bundle_sha256=launch.bundle_sha256,
        image_id=launch.image_id,
        at_step=launch.at_step,
        prices_usd_per_hour=prices,
        price_source=plan.expected.source,
        fingerprint=fingerprint_of(launch, plan.config),
    )


def _may_replace(cloud: Cloud, project: Project, storage: Storage, current: LaunchRecord) -> bool:
    """Tell whether an earlier launch of the run has ended, or will never become a fleet."""
    if inventory.fleet_of(cloud, project, current.run) is not None:
        return False
    return bool(current.fleet_id) or not is_under_way(cloud, storage, current, owner())


def _set_pending(storage: Storage, launch: Launch) -> None:
    """Write the run's status: an ended one becomes pending again, with nothing left of its end."""
    control = read_control(storage, launch.run)
    if control is not None and control.launch == launch.number:  # of a start that never became a fleet
        request(storage, launch.run, "none", by=owner(), launch=launch.number)
    set_status(storage, launch.run, "pending", phase=LAUNCHING, reason="", exit_code=None, repeats=None)
