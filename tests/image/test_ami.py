"""`make ami` around Packer: refusals before anything is paid for, and which old images go."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import boto3
import pytest
from moto import mock_aws

from tests.aws_access.home import Home
from tests.cloud.fake_aws import Account
from tests.cloud.proxy import Answer, Front
from training.cloud.aws.client import Cloud
from training.cloud.aws.project import make_project
from training.cloud.cleanup import images
from training.cloud.cleanup.images import StoredImage
from training.cloud.context import read_settings
from training.config import AwsSettings

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}  # pragma: allowlist secret
BAKED = {"Key": "RequirementsSha256", "Value": "ab" * 32}
SOURCE = Path(__file__).parents[2] / "packer" / "ami.py"


@pytest.fixture(scope="module")
def ami() -> ModuleType:
    """Load the script as a module; packer/ is no package."""
    spec = importlib.util.spec_from_file_location("ami", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in a folder without settings, with a shell that names a region that no settings name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("F1TENTH_PROJECT", "of-the-shell")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["build", "--set", "aws.region=us-nowhere-9"], "aws.region = 'us-nowhere-9' is no region of AWS"),
        (["build", "--set", "aws.regoin=us-east-2"], "Did you mean aws.region"),
        (["build", "--config", "none.yaml"], "none.yaml cannot be read"),
        (["prune", "--keep", "0"], "at least the image just baked stays"),
        (["bake"], "invalid choice"),
        (["build", "--ubuntu", "20.04"], "--ubuntu is 20.04; the image is made of Ubuntu 22.04 or 24.04"),
        (["build", "--region", "us-east-1"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_ends_with_2_before_any_request(
    ami: ModuleType, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = ami.main(arguments)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert told in capsys.readouterr().err


def test_the_bake_is_described_by_the_repository_itself(
    ami: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ami, "own_address", lambda: "203.0.113.7")
    _, settings = ami.parse(["plan", "--on-demand"])
    variables = ami.bake_variables(settings)
    assert variables["builder_cidr"] == "203.0.113.7/32"
    assert variables["build_capacity"] == "on-demand"
    assert f"torch=={variables['torch_version']}" in (SOURCE.parents[1] / "requirements.txt").read_text()
    assert len(variables["requirements_sha256"]) == 64


@pytest.mark.parametrize(
    ("words", "release"), [([], "22.04"), (["--ubuntu", "22.04"], "22.04"), (["--ubuntu", "24.04"], "24.04")]
)
def test_packer_is_told_the_release(
    ami: ModuleType, monkeypatch: pytest.MonkeyPatch, words: list[str], release: str
) -> None:
    monkeypatch.setattr(ami, "own_address", lambda: "203.0.113.7")
    _, settings = ami.parse(["plan", *words])
    assert ami.bake_variables(settings)["ubuntu_release"] == release


# --- one place says where ---
@pytest.mark.parametrize(
    ("file", "words", "region", "project"),
    [
        (None, [], "us-east-2", "f1tenth"),
        ("config.yaml", [], "us-west-2", "mine"),
        ("other.yaml", ["--config", "other.yaml"], "us-west-2", "mine"),
        ("config.yaml", ["--set", "aws.region=ca-central-1"], "ca-central-1", "mine"),
    ],
)
def test_region_and_project_are_those_of_the_launchers_settings(
    ami: ModuleType, file: str | None, words: list[str], region: str, project: str
) -> None:
    if file is not None:
        Path(file).write_text("aws: {region: us-west-2, project_name: mine}\n", encoding="utf-8")
    _, settings = ami.parse(["plan", *words])
    assert (settings.region, settings.project) == (region, project)
    config, sets = ([*words, None][1], []) if "--config" in words else (None, words[1:])
    launchers = read_settings(Path(config) if config else None, sets).aws
    assert (launchers.region, launchers.project_name) == (region, project)


@pytest.mark.slow
@pytest.mark.usefixtures("credentials")
def test_the_builder_starts_in_the_network_of_the_settings(ami: ModuleType) -> None:
    """In a subnet that gives public addresses: Packer comes to the builder from this computer."""
    with mock_aws():
        ec2 = boto3.client("ec2", region_name="us-east-2")
        vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        mine = [{"Name": "vpc-id", "Values": [vpc]}]
        table = ec2.describe_route_tables(Filters=mine)["RouteTables"][0]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
        closed = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
        without_route = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.associate_route_table(RouteTableId=without_route, SubnetId=closed)
        _, settings = ami.parse(["plan", "--set", f"aws.vpc_id={vpc}"])
        with pytest.raises(Exception, match=r"no public address|would reach AWS"):
            ami.builder_network(settings.aws)
        ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
        for setting in (f"aws.vpc_id={vpc}", f"aws.subnet_ids=[{subnet}]"):
            _, settings = ami.parse(["plan", "--set", setting])
            assert ami.builder_network(settings.aws) == {"subnet_id": subnet}
    _, settings = ami.parse(["plan"])
    assert ami.builder_network(settings.aws) == {}


# Does what Packer does, as far as the launcher can see: an image with the tags of packer/source.pkr.hcl, in the region
# that it is given.
STAND_IN = """#!{python}
import json, sys, boto3
given = dict(word.removeprefix("-var=").split("=", 1) for word in sys.argv[2:] if word.startswith("-var="))
if sys.argv[1] == "build":
    ec2 = boto3.client("ec2", region_name=given["region"])
    image = ec2.register_image(Name=given["project"])["ImageId"]
    tags = {{"Project": given["project"], "RequirementsSha256": given["requirements_sha256"],
            "ImageInterface": given["image_interface"]}}
    ec2.create_tags(Resources=[image], Tags=[{{"Key": key, "Value": value}} for key, value in tags.items()])
"""


@pytest.mark.slow
@pytest.mark.usefixtures("credentials")
def test_what_is_baked_in_readmes_order_is_found_by_doctor(
    ami: ModuleType,
    moto_server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The user has set the region in a file of their own; the shell's region is another."""
    account = Account(moto_server, f"p{secrets.token_hex(4)}", tmp_path)
    account.write_config(region="us-west-2", availability_zones=[]).rename(tmp_path / "mine.yaml")
    before = account.launch_here("doctor", "--config", "mine.yaml").stdout
    assert f"NO  image            no image of project {account.project} in us-west-2" in before
    assert f"make ami CONFIG={tmp_path}/mine.yaml" in before

    for name, text in (
        ("packer", STAND_IN.format(python=sys.executable)),
        ("ansible-playbook", "#!/bin/sh\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    monkeypatch.setattr(ami, "own_address", lambda: "203.0.113.7")
    assert ami.main(["build", "--config", "mine.yaml"]) == 0
    told = capsys.readouterr().out
    assert "The bake in us-west-2 costs about" in told
    assert "The image is in us-west-2. Next: ./launch.py doctor --config mine.yaml" in told

    after = account.launch_here("doctor", "--config", "mine.yaml").stdout
    assert "ok  image            ami-" in after


@pytest.mark.parametrize("with_code", [True, False])
def test_packer_gets_the_credentials_of_a_role_that_asks_for_a_code(
    ami: ModuleType, moto_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, with_code: bool
) -> None:
    home = Home(tmp_path)
    home.with_role()
    if not with_code:
        config = tmp_path / ".aws" / "config"
        config.write_text(re.sub("mfa_serial = .*\n", "", config.read_text()))
    for name, value in {
        **home.environment,
        "AWS_ENDPOINT_URL": moto_server,
        "AWS_PROFILE": "default",
    }.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("training.aws_access.credentials._ask_code", lambda _: "123456")
    monkeypatch.setattr(ami, "own_address", lambda: "203.0.113.7")
    for tool in ("packer", "ansible-playbook"):
        (tmp_path / tool).write_text(f"#!/bin/sh\nenv >{tmp_path}/$1\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert ami.main(["build"]) == 0
    seen = dict(line.split("=", 1) for line in (tmp_path / "build").read_text().splitlines() if "=" in line)
    assert ("AWS_SESSION_TOKEN" in seen) is with_code
    assert ("AWS_PROFILE" in seen) is not with_code


@pytest.mark.usefixtures("credentials")
def test_what_stands_in_the_way_is_said_with_the_next_step(
    ami: ModuleType, moto_server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    with Front(moto_server) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        refused = "<Error><Code>UnauthorizedOperation</Code><Message>No.</Message></Error>"
        answer = Answer(f"<Response><Errors>{refused}</Errors></Response>", 403, "text/xml")
        front.answers["DescribeImages"] = answer
        assert ami.main(["prune"]) == 1
        assert "ec2:DescribeImages: UnauthorizedOperation" in capsys.readouterr().err
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nowhere")
    assert ami.main(["prune"]) == 1
    assert "Log in with `aws configure`" in capsys.readouterr().err


@pytest.mark.parametrize("region", ["cn-north-1", "us-gov-west-1"])
def test_another_partition_is_refused_by_name(
    ami: ModuleType, capsys: pytest.CaptureFixture[str], region: str
) -> None:
    assert ami.main(["build", "--set", f"aws.region={region}"]) == 2
    assert "where this launcher does not work" in capsys.readouterr().err


def test_make_ami_hands_the_settings_file_over() -> None:
    command = ["make", "--dry-run", "ami", "CONFIG=my settings.yaml", "ARGS=--on-demand"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "ARGS"))}
    done = subprocess.run(command, cwd=SOURCE.parents[1], env=env, capture_output=True, text=True, check=True)
    assert "packer/ami.py build --config 'my settings.yaml' --on-demand" in done.stdout


def test_packer_leaves_what_it_tells_of_an_image_where_git_does_not_look(
    ami: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Packer is handed a directory that exists; here Packer only writes down what it is asked."""
    monkeypatch.setattr(ami, "own_address", lambda: "203.0.113.7")
    stub = tmp_path / "packer"
    stub.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    _, settings = ami.parse(["build"])
    ami.packer("build", settings, ami.bake_variables(settings))
    (directory,) = re.findall(r"-var=output_directory=(\S+)", (tmp_path / "asked").read_text())
    assert Path(directory).is_dir()
    ignored = [
        "git",
        "-C",
        str(SOURCE.parents[1]),
        "check-ignore",
        "-q",
        f"{directory}/f1tenth.manifest.json",
    ]
    assert subprocess.run(ignored, check=False).returncode == 0


@pytest.mark.parametrize(
    "case",
    [
        ("Packer v1.6.6", 0, "packer is 1.6.6: its plugins need 1.14.0 or newer"),
        ("Packer v1.13.9", 0, "packer is 1.13.9: its plugins need 1.14.0 or newer"),
        ("Packer v1.14.0", 1, "packer init ended with 1: the plugins are not installed"),
        ("Packer v2.0.0\n\nYour version of Packer is out of date!", 1, "packer init ended with 1"),
    ],
)
def test_a_packer_that_cannot_install_the_plugins_is_refused_by_name(
    ami: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: tuple[str, int, str]
) -> None:
    """Stand-ins for Packer and Ansible: the first says its version and fails `init`; nothing else is run."""
    version, status, told = case
    ends = f'case $1 in version) printf %s "{version}" ;; init) exit {status} ;; *) exit 99 ;; esac'
    for tool, text in (("packer", f"#!/bin/sh\n{ends}\n"), ("ansible-playbook", "#!/bin/sh\n")):
        (tmp_path / tool).write_text(text)
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    _, settings = ami.parse(["plan"])
    with pytest.raises(ami.AmiError, match=re.escape(told)):
        ami.validate(settings, {})


def test_the_newest_images_stay_and_snapshots_without_an_image_go(ami: ModuleType) -> None:
    stored = [StoredImage("image", f"ami-{day}", "", f"2026-11-0{day}", (), 1.0) for day in (5, 4, 3)]
    alone = StoredImage("snapshot", "snap-1", "", "2026-11-06", ("snap-1",), 1.0)
    assert ami.superfluous([*stored, alone], keep=2) == [stored[2], alone]


@pytest.mark.slow
@mock_aws
def test_prune_removes_the_snapshot_with_the_image(ami: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two images that were baked the older goes, its snapshot too; what only shares the tag Project stays."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    ec2 = boto3.client("ec2", region_name="us-east-2")
    launched = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    names = ("old", "new", "foreign", "web server")
    made = [ec2.create_image(InstanceId=launched, Name=name)["ImageId"] for name in names]
    project, baked = {"Key": "Project", "Value": "f1tenth"}, {"Key": "RequirementsSha256", "Value": "ab" * 32}
    ec2.create_tags(Resources=made[:2], Tags=[project, baked])
    ec2.create_tags(Resources=made[3:], Tags=[project])
    before = len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"])
    assert ami.main(["prune", "--keep", "1"]) == 0
    left = {image["Name"] for image in ec2.describe_images(Owners=["self"])["Images"]}
    assert {"foreign", "web server"} <= left
    assert len(left & {"old", "new"}) == 1
    assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == before - 1


@mock_aws
@pytest.mark.parametrize("user", ["template", "machine", "nobody"])
def test_prune_leaves_an_image_that_a_run_uses(
    ami: ModuleType, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    ec2 = boto3.client("ec2", region_name="us-east-2")
    made = [ec2.register_image(Name=name)["ImageId"] for name in ("old", "new")]
    ec2.create_tags(Resources=made, Tags=[{"Key": "Project", "Value": "f1tenth"}, BAKED])
    old = images.find(Cloud(AwsSettings()), make_project(AwsSettings(), ""))[-1].id
    ours = [{"Key": key, "Value": "f1tenth"} for key in ("Project", "Run", "Owner", "ExpiresAt")]
    if user == "template":
        ec2.create_launch_template(
            LaunchTemplateName="f1tenth.us-east-2.race",
            LaunchTemplateData={"ImageId": old},
            TagSpecifications=[{"ResourceType": "launch-template", "Tags": ours}],
        )
    elif user == "machine":
        given = [{"ResourceType": "instance", "Tags": ours}]
        ec2.run_instances(ImageId=old, MinCount=1, MaxCount=1, TagSpecifications=given)
    assert ami.main(["prune", "--keep", "1"]) == 0
    left = {image["ImageId"] for image in ec2.describe_images(Owners=["self"], ImageIds=made)["Images"]}
    assert (old in left) is (user != "nobody")
    assert len(left) == (1 if user == "nobody" else 2)


@mock_aws
def test_the_price_of_a_bake_is_that_of_the_market(ami: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    _, settings = ami.parse(["plan"])
    assert "dearest zone's spot price now" in ami.cost_line(settings)
