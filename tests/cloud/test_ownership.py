"""What has our name but not our tags is neither used, changed nor deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cloud.fake_aws import Account
from tests.cloud.golden import LAUNCH
from training import layout
from training.cloud.aws import inventory
from training.cloud.aws.iam_policies import instance_trust
from training.cloud.aws.launch_requests import launch_template
from training.cloud.aws.ownership import as_mapping, is_owned, require_owned
from training.cloud.cleanup import leaks
from training.cloud.launch import provision, setup
from training.errors import UsageError

pytestmark = pytest.mark.slow  # each test is a command of the launcher

RUN = "lap-record"
STRANGERS = {
    "no tags": {},
    "another project": {"Project": "other", "Run": RUN},
    "another run": {"Run": "other"},
}


def pairs(account: Account, tags: dict[str, str]) -> list[dict[str, str]]:
    """Tags of somebody else: `Project` is ours unless it is named."""
    full = {"Project": account.project, **tags} if tags else {}
    return [{"Key": key, "Value": value} for key, value in full.items()]


def make_strangers(account: Account, tags: dict[str, str]) -> dict[str, Any]:
    """Make a role, a profile and a template that have the names of our run, and return them as they are described."""
    iam, ec2 = account.cloud.client("iam"), account.cloud.client("ec2")
    path, name = account.scope.iam_path, layout.run_role_name(account.project, account.scope.region, RUN)
    iam.create_role(
        RoleName=name,
        Path=path,
        AssumeRolePolicyDocument=json.dumps(instance_trust()),
        Tags=pairs(account, tags),
    )
    iam.create_instance_profile(InstanceProfileName=name, Path=path, Tags=pairs(account, tags))
    specifications = [{"ResourceType": "launch-template", "Tags": pairs(account, tags)}] if tags else []
    ec2.create_launch_template(
        LaunchTemplateName=layout.template_name(account.project, RUN, 1),
        LaunchTemplateData={"ImageId": "ami-0123456789abcdef0"},
        TagSpecifications=specifications,
    )
    return described(account)


def described(account: Account) -> dict[str, Any]:
    iam = account.cloud.client("iam")
    name = layout.run_role_name(account.project, account.scope.region, RUN)
    role = iam.get_role(RoleName=name)["Role"]
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    (template,) = inventory.templates(account.cloud, layout.template_name(account.project, RUN, 1))
    return {"role": role, "attached": attached, "profile": profile, "template": template}


@pytest.mark.parametrize("tags", STRANGERS.values(), ids=STRANGERS)
def test_a_role_a_profile_or_a_template_of_our_name_without_our_tags_is_not_used(
    account: Account, tags: dict[str, str]
) -> None:
    before = make_strangers(account, tags)
    cloud, scope = account.cloud, account.scope
    with pytest.raises(UsageError, match=r"role .* exists and is not ours: it lacks the tag") as caught:
        provision.create_role(cloud, scope, RUN)
    assert "aws.project_name" in caught.value.next_step
    with pytest.raises(UsageError, match=r"launch template .* exists and is not ours"):
        provision.create_template(cloud, scope, LAUNCH._replace(run=RUN))
    assert described(account) == before


@pytest.mark.slow
@pytest.mark.parametrize("tags", STRANGERS.values(), ids=STRANGERS)
def test_a_launch_is_refused_before_anything_is_written_with_all_that_stands_in_its_way(
    account: Account, tags: dict[str, str]
) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    account.bake()
    account.write_config()
    before = make_strangers(account, tags)
    done = account.launch_here("train", "--name", RUN, "--yes")
    assert done.returncode == 2
    for what in ("launch template", "role", "instance profile"):
        assert f"{what} {account.project}." in done.stderr
    assert done.stderr.count("exists and is not ours") == 3
    assert described(account) == before
    assert inventory.run_names(account.cloud, account.scope) == [], "no intent is left half-made"


@pytest.mark.parametrize("tags", STRANGERS.values(), ids=STRANGERS)
def test_our_role_is_not_put_into_a_profile_of_somebody_else(account: Account, tags: dict[str, str]) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    name = make_strangers(account, tags)["role"]["RoleName"]
    account.cloud.call("iam", "delete_role", RoleName=name)
    with pytest.raises(UsageError, match=r"instance profile .* exists and is not ours"):
        provision.create_role(account.cloud, account.scope, RUN)
    assert described(account)["profile"]["Roles"] == []


@pytest.mark.parametrize("tags", STRANGERS.values(), ids=STRANGERS)
def test_neither_stop_nor_gc_nor_down_removes_them(account: Account, tags: dict[str, str]) -> None:
    before = make_strangers(account, tags)
    cloud, scope = account.cloud, account.scope
    leaks.delete_run_resources(cloud, scope, RUN)
    assert described(account) == before
    strange_project = tags.get("Project", account.project) != account.project or not tags
    for leak in leaks.find_leaks(cloud, scope, None):
        assert not strange_project, f"{leak.line}: of another project"
        assert leak.run == "other", "what is ours by its tags is listed with the run of its tags"


def test_ours_from_an_interrupted_start_is_used_again_and_removed(account: Account) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    cloud, scope = account.cloud, account.scope
    launch = LAUNCH._replace(run=RUN)
    assert provision.create_role(cloud, scope, RUN)
    assert not provision.create_role(cloud, scope, RUN), "there already"
    first, _ = provision.create_template(cloud, scope, launch)
    again, _ = provision.create_template(cloud, scope, launch)
    assert again != first, "replaced: it may carry an older end date"
    assert {(leak.kind, leak.run) for leak in leaks.find_leaks(cloud, scope, account.storage)} == {
        ("launch template", RUN), ("role", RUN), ("instance profile", RUN),
    }  # fmt: skip
    leaks.delete_run_resources(cloud, scope, RUN)
    assert leaks.find_leaks(cloud, scope, account.storage) == []


def test_what_is_sent_carries_the_tags_that_are_asked_for_later(account: Account) -> None:
    request = launch_template(account.scope, account.aws, LAUNCH)
    (specification,) = request["TagSpecifications"]
    assert is_owned(account.scope, as_mapping(specification["Tags"]), LAUNCH.run)


def test_a_refusal_names_the_tag_that_is_there_instead(account: Account) -> None:
    with pytest.raises(UsageError, match=f"lacks the tag Project={account.project} .it has Project=other"):
        require_owned(account.scope, "bucket x", {"Project": "other", "Run": "race"})
    require_owned(account.scope, "bucket x", {"Project": account.project})


@pytest.mark.slow
def test_a_security_group_of_our_name_without_our_tag_is_not_put_on_machines(account: Account) -> None:
    setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
    account.bake()
    ec2 = account.cloud.client("ec2")
    group = inventory.security_group(account.cloud, account.scope, inventory.vpc_id(account.cloud))
    assert group is not None
    ec2.delete_tags(Resources=[group["GroupId"]], Tags=[{"Key": "Project"}])
    done = account.launch("train", "--name", "race", "--yes", "--detach")
    assert done.returncode == 2, done.stderr
    assert f"security group {account.project}-training exists and is not ours" in done.stderr
    assert inventory.fleets(account.cloud, account.scope) == []
