"""Find what exists: images, subnets, fleets, machines of the project. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import layout
from ...errors import UsageError
from .aws_errors import CloudError, ResourceNotFound
from .client import Cloud
from .ownership import as_mapping, is_of_a_run
from .project import Project, tag

Found = dict[str, Any]
LIVE_FLEETS = {"submitted", "active", "modifying"}
LIVE_MACHINES = ("pending", "running", "stopping", "stopped", "shutting-down")


def fleets(cloud: Cloud, project: Project) -> list[Found]:
    """Return the project's fleets that can still cost money; AWS filters fleets by no tag, so we do."""
    found = cloud.pages("ec2", "describe_fleets", "Fleets")
    return [
        fleet
        for fleet in found
        if fleet["FleetState"] in LIVE_FLEETS and is_of_a_run(project, as_mapping(fleet.get("Tags")))
    ]


def fleet_of(cloud: Cloud, project: Project, run: str) -> Found | None:
    """Return the run's live fleet, the newest if there were several."""
    found = [fleet for fleet in fleets(cloud, project) if tag(fleet, layout.TAG_RUN) == run]
    return max(found, key=lambda fleet: str(fleet.get("CreateTime", "")), default=None)


def machines(cloud: Cloud, project: Project, run: str | None = None) -> list[Found]:
    """Return the machines of the project's runs, or of one run, that are not terminated."""
    filters = [*project.filters, {"Name": "instance-state-name", "Values": list(LIVE_MACHINES)}]
    if run is not None:
        filters.append({"Name": f"tag:{layout.TAG_RUN}", "Values": [run]})
    reservations = cloud.pages("ec2", "describe_instances", "Reservations", Filters=filters)
    return [
        machine
        for reservation in reservations
        for machine in reservation["Instances"]
        if is_of_a_run(project, as_mapping(machine.get("Tags")))
    ]


def volumes(cloud: Cloud, project: Project) -> list[Found]:
    """Return the volumes of the project's runs that are attached to nothing."""
    filters = [*project.filters, {"Name": "status", "Values": ["available"]}]
    found = cloud.pages("ec2", "describe_volumes", "Volumes", Filters=filters)
    return [volume for volume in found if is_of_a_run(project, as_mapping(volume.get("Tags")))]


def run_templates(cloud: Cloud, project: Project) -> list[Found]:
    """Return the launch templates of the project's runs."""
    found = cloud.pages("ec2", "describe_launch_templates", "LaunchTemplates", Filters=project.filters)
    return [template for template in found if is_of_a_run(project, as_mapping(template.get("Tags")))]


def images(cloud: Cloud, project: Project) -> list[Found]:
    """Return the images that `make ami` baked for the project, newest first: each says for which requirements."""
    baked = [*project.filters, {"Name": "tag-key", "Values": [layout.TAG_REQUIREMENTS]}]
    reply = cloud.call("ec2", "describe_images", Owners=["self"], Filters=baked)
    return sorted(reply["Images"], key=lambda image: str(image.get("CreationDate", "")), reverse=True)


def image_for(cloud: Cloud, project: Project, requirements_sha256: str) -> Found:
    """Return the newest image for these requirements and this code that can be started; a deprecated one comes last.

    Raises CloudError if there is none.
    """
    found = images(cloud, project)
    known = [image for image in found if tag(image, layout.TAG_INTERFACE) == str(layout.IMAGE_INTERFACE)]
    fitting = [image for image in known if tag(image, layout.TAG_REQUIREMENTS) == requirements_sha256]
    ready = [image for image in fitting if image["State"] == "available"]
    if ready:
        return min(ready, key=lambda image: is_deprecated(cloud, image))
    if fitting:
        raise _not_ready(fitting[0])
    if not found:
        raise CloudError(
            f"no image of project {project.name} in {project.region}",
            next_step="Bake one, about 15 minutes: make ami",
        )
    if not known:
        seen = tag(found[0], layout.TAG_INTERFACE) or "none"
        raise CloudError(
            f"the newest image, {found[0]['ImageId']}, has interface {seen}, this code needs {layout.IMAGE_INTERFACE}",
            next_step="Bake again, about 15 minutes: make ami",
        )
    seen, wanted = tag(known[0], layout.TAG_REQUIREMENTS)[:12] or "none", requirements_sha256[:12]
    raise CloudError(
        f"the newest image, {known[0]['ImageId']}, has requirements {seen}, this code has {wanted}",
        next_step="Bake an image with these requirements: make ami",
    )


def is_deprecated(cloud: Cloud, image: Found) -> bool:
    """Tell whether an image's date of deprecation has come; EC2 starts it all the same."""
    return str(image.get("DeprecationTime") or "9999") <= f"{cloud.clock.now():%Y-%m-%dT%H:%M:%S}"


def _not_ready(image: Found) -> CloudError:
    what = f"the image {image['ImageId']} is {image['State']}"
    if image["State"] in {"pending", "transient"}:
        return CloudError(
            f"{what}: EC2 is still making it", next_step="Wait some minutes, then the same again."
        )
    why = image.get("StateReason", {}).get("Message", "")
    return CloudError(
        f"{what}: {why}".removesuffix(": "), next_step="Bake another, about 15 minutes: make ami"
    )


def vpc_id(cloud: Cloud) -> str:
    """Return the network of the settings, that of their subnets, or the default one."""
    if cloud.aws.vpc_id:
        return cloud.aws.vpc_id
    if cloud.aws.subnet_ids:
        return str(_named_subnets(cloud)[0]["VpcId"])
    found = cloud.call("ec2", "describe_vpcs", Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not found:
        raise CloudError(
            f"{cloud.aws.region} has no default VPC",
            next_step="Make one with `aws ec2 create-default-vpc`, or set aws.vpc_id and aws.subnet_ids.",
        )
    return str(found[0]["VpcId"])


def subnets(cloud: Cloud, vpc: str) -> list[Found]:
    """Return the subnets of a network, or those of the settings."""
    aws = cloud.aws
    if aws.subnet_ids:
        named = _named_subnets(cloud)
        strange = [one["SubnetId"] for one in named if one["VpcId"] != vpc]
        if strange:
            raise UsageError(
                f"aws.subnet_ids: {', '.join(strange)} not in {vpc}",
                next_step="A run's subnets must be in one network: correct aws.subnet_ids, or leave aws.vpc_id out.",
            )
        return named
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    found = list(cloud.pages("ec2", "describe_subnets", "Subnets", Filters=filters))
    if not found:
        what = f"{vpc} has no subnet, or there is no such network in {aws.region}"
        next_step = (
            "Set aws.subnet_ids, or another aws.vpc_id; `aws ec2 describe-subnets` lists what there is."
        )
        raise (UsageError if aws.vpc_id else CloudError)(what, next_step=next_step)
    return found


def _named_subnets(cloud: Cloud) -> list[Found]:
    try:
        return list(cloud.pages("ec2", "describe_subnets", "Subnets", SubnetIds=list(cloud.aws.subnet_ids)))
    except ResourceNotFound as error:
        raise UsageError(
            f"aws.subnet_ids: {error.message}", next_step="`aws ec2 describe-subnets` lists what there is."
        ) from error


def offered(cloud: Cloud, kinds: Sequence[str], zones: Sequence[str]) -> list[tuple[str, str]]:
    """Return the (type, zone) that AWS offers, of those asked about."""
    filters = [{"Name": "instance-type", "Values": list(kinds)}, {"Name": "location", "Values": list(zones)}]
    rows = cloud.pages(
        "ec2",
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=filters,
    )
    have = {(row["InstanceType"], row["Location"]) for row in rows}
    return [(kind, zone) for kind in kinds for zone in zones if (kind, zone) in have]


def security_group(cloud: Cloud, project: Project, vpc: str) -> Found | None:
    """Return the project's security group in a network."""
    filters = [
        {"Name": "group-name", "Values": [layout.security_group_name(project.name)]},
        {"Name": "vpc-id", "Values": [vpc]},
    ]
    found = cloud.call("ec2", "describe_security_groups", Filters=filters)["SecurityGroups"]
    return found[0] if found else None


def instance_policy(cloud: Cloud, project: Project) -> Found | None:
    """Return the policy that has the name of the machines' policy, with its tags; None where there is none."""
    try:
        return dict(cloud.call("iam", "get_policy", PolicyArn=project.policy_arn)["Policy"])
    except ResourceNotFound:
        return None


def instance_profile(cloud: Cloud, name: str) -> Found | None:
    """Return an instance profile with its tags, which no list contains; None where there is none."""
    try:
        return dict(cloud.call("iam", "get_instance_profile", InstanceProfileName=name)["InstanceProfile"])
    except ResourceNotFound:
        return None


def role(cloud: Cloud, name: str) -> Found | None:
    """Return a role with its tags, which no list contains; None where there is none."""
    try:
        return dict(cloud.call("iam", "get_role", RoleName=name)["Role"])
    except ResourceNotFound:
        return None


def log_group(cloud: Cloud, project: Project) -> Found | None:
    """Return the log group that has the project's name, None where there is none."""
    name = layout.log_group_name(project.name)
    rows = cloud.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=name)
    return next((row for row in rows if row["logGroupName"] == name), None)


def log_group_tags(cloud: Cloud, group: Found) -> dict[str, str]:
    """Return the tags of a log group, which no list contains."""
    # `arn` ends with :*, and tags are asked for without it.
    arn = group.get("logGroupArn") or str(group["arn"]).removesuffix(":*")
    return dict(cloud.call("logs", "list_tags_for_resource", resourceArn=arn)["tags"])


def templates(cloud: Cloud, name: str) -> list[Found]:
    """Return the launch template of a name, in a list: empty where there is none."""
    filters = [{"Name": "launch-template-name", "Values": [name]}]
    return list(cloud.pages("ec2", "describe_launch_templates", "LaunchTemplates", Filters=filters))


def bucket_exists(cloud: Cloud, project: Project) -> bool:
    """Tell whether the bucket exists, is ours and in our region. UsageError if it is someone else's or elsewhere.

    botocore follows S3 to the bucket's own region silently, so the region is read from the reply. A store that is
    not Amazon's may name any region.
    """
    try:
        reply = cloud.call("s3", "head_bucket", Bucket=project.bucket, ExpectedBucketOwner=project.account)
    except ResourceNotFound:
        return False
    except CloudError as error:
        if error.code in {"403", "Forbidden", "AccessDenied"}:
            raise UsageError(
                f"bucket {project.bucket} belongs to another account, or you may not use it",
                next_step="Choose another aws.s3_bucket_name; bucket names are shared by the whole world.",
            ) from error
        if error.code in {"301", "PermanentRedirect"}:
            raise _bucket_elsewhere(project, "") from error
        raise
    region = str(reply.get("BucketRegion", project.region))
    if region != project.region and cloud.aws.endpoints.s3 is None:
        raise _bucket_elsewhere(project, region)
    return True


def _bucket_elsewhere(project: Project, region: str) -> UsageError:
    return UsageError(
        f"bucket {project.bucket} is in {region or 'another region'}, aws.region = {project.region}",
        next_step=f"Say where it is: --set aws.region={region or 'REGION'}, or correct aws.region in your settings. "
        "A project in a second region needs a bucket of its own: leave aws.s3_bucket_name out.",
    )


def run_names(cloud: Cloud, project: Project) -> list[str]:
    """Return the runs in the bucket, oldest first where named by time; empty where there is no bucket.

    A folder below runs/ whose name no run can have is not ours, and is left out.
    """
    if not bucket_exists(cloud, project):
        return []
    token: dict[str, Any] = {}
    names: list[str] = []
    while True:
        reply = cloud.call(
            "s3", "list_objects_v2", Bucket=project.bucket, Prefix=f"{layout.RUNS}/", Delimiter="/", **token
        )
        prefixes = [row["Prefix"] for row in reply.get("CommonPrefixes", ())]
        names += [layout.parse_run(prefix) for prefix in prefixes if layout.is_run_prefix(prefix)]
        if not reply.get("IsTruncated"):
            return sorted(names)
        token = {"ContinuationToken": reply["NextContinuationToken"]}
