"""What organisations ask for: their tags on everything, a boundary, their own profile, their own key."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import botocore.client
import botocore.session
import pytest

from tests.cloud.fake_aws import ROOT, Account
from tests.cloud.golden import LAUNCH
from training.cloud.aws import iam_policies, key_policy, launch_requests
from training.cloud.aws.project import make_project, read_project
from training.cloud.cleanup import bucket_removal, teardown
from training.cloud.context import CommandContext
from training.cloud.launch import launch, setup
from training.cloud.launch.basis import read_basis
from training.config import AwsSettings, load_config
from training.errors import ConfigurationError

BOUNDARY = "arn:aws:iam::123456789012:policy/limits"
TAGS = {"CostCenter": "lab 7", "Owner": "kim@example.org"}
# Members of a request by which it tags what it makes.
TAGGING = {"Tags", "tags", "TagSpecifications", "Tagging"}


class Recorded(NamedTuple):
    """A request that went to AWS."""

    service: str
    operation: str
    request: dict[str, Any]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Recorded]:
    """Keep every request that botocore sends."""
    calls: list[Recorded] = []
    send = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

    def sent(client: Any, operation: str, request: dict[str, Any]) -> Any:
        calls.append(Recorded(client.meta.service_model.service_name, operation, request))
        return send(client, operation, request)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", sent)
    return calls


def site_of(account: Account, **aws: object) -> CommandContext:
    account.write_config(**aws)
    config = load_config(account.folder / "config.yaml", (), "cloud")
    cloud = account.cloud
    cloud.aws = config.aws
    return CommandContext(config, cloud, read_project(cloud))


def set_up_and_train(site: CommandContext, account: Account) -> None:
    setup.apply(setup.plan(site.cloud, site.project), lambda _: None)
    account.bake()
    basis = read_basis(site, "spot", ROOT)
    plan = launch.make_plan(site, site.storage, launch.Options("race"), basis)
    launch.start(site, site.storage, plan, lambda _: None)


def tags_in(request: object) -> list[dict[str, str]]:
    """Return every list of tags in a request, wherever it stands, as key to value."""
    found = []
    if isinstance(request, dict):
        for key, value in request.items():
            if key == "tags" and isinstance(value, dict):
                found.append(value)
            elif key in {"Tags", "TagSet"}:
                found.append({pair["Key"]: pair["Value"] for pair in value})
            else:
                found += tags_in(value)
    elif isinstance(request, list):
        found += [tags for item in request for tags in tags_in(item)]
    return found


@pytest.mark.slow
def test_all_that_can_be_tagged_carries_the_tags_of_the_settings(
    account: Account, recorded: list[Recorded]
) -> None:
    """Whatever a request makes and could tag is tagged: botocore's model says which requests those are."""
    site = site_of(account, tags=TAGS)
    setup_begins = len(recorded)
    set_up_and_train(site, account)
    model, untagged, tagged = botocore.session.get_session(), [], []
    for call in recorded[setup_begins:]:
        shape = model.get_service_model(call.service).operation_model(call.operation).input_shape
        makes = call.operation.startswith(("Create", "PutBucketTagging"))
        if not makes or shape is None or not TAGGING & set(shape.members) or call.operation == "CreateTags":
            continue
        lists = tags_in(call.request)
        complete = bool(lists) and all(TAGS.items() <= tags.items() for tags in lists)
        (tagged if complete else untagged).append(call.operation)
    # A bucket gets its tags by PutBucketTagging.
    assert set(untagged) <= {"CreateBucket"}
    assert {
        "CreateFleet",
        "CreateLaunchTemplate",
        "CreateRole",
        "CreateInstanceProfile",
        "CreatePolicy",
    } <= set(tagged)
    assert {"CreateSecurityGroup", "CreateLogGroup", "PutBucketTagging"} <= set(tagged)


@pytest.mark.parametrize(
    "tags",
    [
        {"Project": "mine"},
        {"run": "mine"},
        {"aws:team": "x"},
        {"Team": "a", "team": "b"},
        {"Team": "a|b"},
        {"T" * 129: "a"},
        {"Team": "a" * 257},
        {f"key{number}": "a" for number in range(41)},
        {"Team": 7},
    ],
    ids=lambda tags: str(tags)[:30],
)
def test_tags_that_aws_or_the_launcher_could_not_live_with_are_refused_by_name(tags: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"aws.tags = .* is not legal. Legal: map of at most 40"):
        load_config(None, [f"aws.tags={json.dumps(tags)}"])


def test_a_boundary_limits_every_role_and_the_rights_to_make_one(account: Account) -> None:
    site = site_of(account, permissions_boundary=BOUNDARY)
    set_up_and_train(site, account)
    name = f"{account.project}.us-east-1.race"
    role = account.cloud.client("iam").get_role(RoleName=name)["Role"]
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == BOUNDARY
    rights = {one["Sid"]: one for one in iam_policies.daily_policy(site.project)["Statement"]}
    assert rights["CreateRunRole"]["Action"] == ["iam:CreateRole"]
    assert rights["CreateRunRole"]["Condition"]["StringEquals"]["iam:PermissionsBoundary"] == BOUNDARY
    assert "iam:CreateRole" not in rights["CreateRunProfile"]["Action"]


def test_an_existing_profile_is_used_and_outlives_run_and_project(account: Account) -> None:
    iam = account.cloud.client("iam")
    name = f"{account.project}-lab"
    trust = json.dumps(iam_policies.instance_trust())
    role = iam.create_role(RoleName=name, Path="/lab/", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    site = site_of(account, instance_profile=name)
    set_up_and_train(site, account)
    assert setup.is_up(site.cloud, site.project) == []
    ec2 = account.cloud.client("ec2")
    versions = ec2.describe_launch_template_versions(
        LaunchTemplateName=f"{account.project}.race.1", Versions=["1"]
    )["LaunchTemplateVersions"]
    assert versions[0]["LaunchTemplateData"]["IamInstanceProfile"] == {"Name": name}
    removal = bucket_removal.plan(site.cloud, site.project, data=True)
    teardown.down(site.cloud, site.project, site.storage, removal, lambda _: None)
    assert iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"][0]["Arn"] == role
    for kind, rows in (("roles", "Roles"), ("instance_profiles", "InstanceProfiles")):
        found = getattr(iam, f"list_{kind}")()[rows]  # moto filters no profiles by path
        assert [row for row in found if row["Path"] == site.project.iam_path] == []

    rights = iam_policies.daily_policy(site.project)["Statement"]
    passing = [one for one in rights if "iam:PassRole" in one["Action"]]
    assert [one["Resource"] for one in passing] == [role]
    making = {"iam:CreateRole", "iam:AttachRolePolicy", "iam:CreatePolicy", "iam:CreateInstanceProfile"}
    everything = [*rights, *iam_policies.setup_policy(site.project)["Statement"]]
    assert not [one for one in everything if making & set(one["Action"])]
    assert "PrincipalTag" not in json.dumps(iam_policies.instance_policy(site.project))


def test_a_profile_that_is_not_there_is_named_before_anything_is_made(account: Account) -> None:
    account.write_config(instance_profile="absent")
    done = account.launch("up", "--yes")
    assert done.returncode == 2
    assert "aws.instance_profile = absent is no instance profile with a role" in done.stderr


@pytest.mark.parametrize(
    ("key", "resource", "alias"),
    [
        ("alias/lab", "key/*", "alias/lab"),
        ("arn:aws:kms:us-east-2:111122223333:alias/lab", "key/*", "alias/lab"),
        ("1234abcd-12ab-34cd-56ef-1234567890ab", "key/1234abcd-12ab-34cd-56ef-1234567890ab", None),
        ("arn:aws:kms:us-east-2:999:key/1", "arn:aws:kms:us-east-2:999:key/1", None),
    ],
)
def test_a_key_encrypts_the_disk_and_people_may_use_it_for_that_alone(
    key: str, resource: str, alias: str | None
) -> None:
    scope = make_project(AwsSettings(), "111122223333")._replace(kms_key=key)
    template = launch_requests.launch_template(
        scope, AwsSettings().model_copy(update={"kms_key": key}), LAUNCH
    )
    (disk,) = template["LaunchTemplateData"]["BlockDeviceMappings"]
    assert (disk["Ebs"]["Encrypted"], disk["Ebs"]["KmsKeyId"]) == (True, key)
    (right,) = [one for one in key_policy.key_policy(scope)["Statement"] if one["Sid"] == "UseDiskKey"]
    assert right["Resource"].endswith(resource)
    assert right["Condition"]["StringEquals"] == {"kms:ViaService": "ec2.us-east-2.amazonaws.com"}
    assert right["Condition"].get("ForAnyValue:StringEquals", {}).get("kms:ResourceAliases") == alias
