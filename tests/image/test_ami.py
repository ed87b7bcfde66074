"""`make ami` around Packer: refusals before anything is paid for, and which old images go."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType

import boto3
import pytest
from moto import mock_aws

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


@pytest.mark.parametrize(
    "arguments", [["build", "--region", "us-nowhere-9"], ["prune", "--keep", "0"], ["bake"]]
)
def test_wrong_usage_ends_with_2_before_any_request(ami: ModuleType, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        ami.main(arguments)
    assert ended.value.code == 2


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


def test_the_newest_and_the_used_images_stay(ami: ModuleType) -> None:
    images = [
        {"ImageId": f"ami-{day}", "CreationDate": f"2026-11-0{day}T00:00:00Z"} for day in (1, 2, 3, 4, 5)
    ]
    gone = ami.superfluous(images, {"ami-2"}, keep=2)
    assert [image["ImageId"] for image in gone] == ["ami-3", "ami-1"]


@mock_aws
def test_prune_removes_the_snapshot_with_the_image(ami: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two images that were baked the older goes, its snapshot too; what only shares the tag Project stays."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    ec2 = boto3.client("ec2", region_name="us-east-1")
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
