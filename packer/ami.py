"""`make ami`: validate, say what it costs, bake with Packer, prune old images.

``python packer/ami.py plan|build|prune [--config FILE] [--set KEY=VALUE] [--ubuntu RELEASE] [--on-demand] [--keep N]
[-- packer options]``
Region, project and network are those of the settings, as launch.py reads them.
Exit status: 0 done, 1 failed, 2 wrong usage or settings.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from training import layout
from training.aws_access.address import own_address
from training.aws_access.advice import CERTIFICATES, advice, is_bad_certificate
from training.aws_access.session import client, exported, session
from training.cloud.aws import inventory
from training.cloud.aws.aws_errors import from_reply
from training.cloud.aws.client import Cloud, check_region
from training.cloud.aws.network import choose_subnets
from training.cloud.aws.project import make_project
from training.cloud.cleanup import images
from training.cloud.cleanup.images import SNAPSHOT_USD_PER_GB_MONTH, StoredImage
from training.cloud.console.next_commands import complete, remember
from training.cloud.context import read_settings
from training.config import AwsSettings
from training.errors import ConfigurationError, TrainingError, UsageError
from training.process.terminal import adapt_output

# Receives NAME.json and NAME.manifest.json of every image.
OUTPUT = REPOSITORY / ".cache" / "ami"
# Release of the image without --ubuntu.
UBUNTU = "22.04"
# us-east-1, 2026-11: on-demand price of the builder, in dollars.
FALLBACK_PRICE_USD_PER_H = {"c6i.xlarge": 0.17}
SNAPSHOT_GB = 17
BAKE_H = 0.5
FIRST_RUN = "The cause is above; docs/first-run.md says what it can be"


class AmiError(Exception):
    """A bake that cannot begin or did not end well; the message names the next step."""


class Settings(NamedTuple):
    """The inputs of one bake."""

    aws: AwsSettings
    instance_type: str
    ubuntu: str
    on_demand: bool
    keep: int
    packer_options: Sequence[str]

    @property
    def project(self) -> str:
        """Return the project, the image's tag."""
        return self.aws.project_name

    @property
    def region(self) -> str:
        """Return the region in which the image is made, and from which the launcher starts machines."""
        return self.aws.region


def main(arguments: Sequence[str]) -> int:
    """Run one command and return the exit status."""
    adapt_output()
    try:
        command, settings = parse(arguments)
        session().reads_cache = command != "build"  # credentials that last as long as a bake
        if command == "prune":
            prune(settings)
            return 0
        variables = bake_variables(settings)
        validate(settings, variables)
        print(cost_line(settings))
        if command == "build":
            packer("build", settings, variables)
            prune(settings)
            print(complete(f"The image is in {settings.region}. Next: ./launch.py doctor"))
    except (AmiError, BotoCoreError, ClientError, TrainingError) as error:
        print(complete(f"make ami: {explained(error)}"), file=sys.stderr)
        return 2 if isinstance(error, (UsageError, ConfigurationError)) else 1
    return 0


def explained(error: Exception) -> str:
    """Return what went wrong and the next step."""
    if isinstance(error, ClientError):
        return str(from_reply(error.response, f"ec2:{error.operation_name}", datetime.now(timezone.utc)))
    next_step = CERTIFICATES if is_bad_certificate(error) else advice(error)
    return f"{error}\n{next_step}" if next_step else str(error)


def parse(arguments: Sequence[str]) -> tuple[str, Settings]:
    """Return the command and its settings; the options after -- are Packer's.

    Raises UsageError or ConfigurationError for settings that cannot be.
    """
    parser = argparse.ArgumentParser(prog="ami.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=["plan", "build", "prune"])
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings, as of launch.py")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="KEY=VALUE")
    parser.add_argument("--instance-type", default="c6i.xlarge")
    parser.add_argument(
        "--ubuntu", default=UBUNTU, metavar="RELEASE", help=f"Ubuntu's release; {UBUNTU} by default"
    )
    parser.add_argument("--on-demand", action="store_true", help="where spot capacity does not come")
    parser.add_argument("--keep", type=int, default=2, help="newest images that prune leaves")
    parser.add_argument("packer_options", nargs="*")
    chosen = parser.parse_args(arguments)
    if chosen.keep < 1:
        parser.error(f"--keep is {chosen.keep}; at least the image just baked stays")
    if chosen.ubuntu not in (releases := ubuntu_releases()):
        parser.error(f"--ubuntu is {chosen.ubuntu}; the image is made of Ubuntu {' or '.join(releases)}")
    remember(chosen.config, tuple(chosen.sets), REPOSITORY)
    aws = read_settings(chosen.config, chosen.sets).aws
    check_region(aws.region)
    builder = (chosen.instance_type, chosen.ubuntu, chosen.on_demand, chosen.keep, chosen.packer_options)
    return chosen.command, Settings(aws, *builder)


def bake_variables(settings: Settings) -> dict[str, str]:
    """Return the Packer variables that are read from the repository and this computer."""
    requirements = (REPOSITORY / "requirements.txt").read_bytes()
    return {
        "project": settings.project,
        "region": settings.region,
        "instance_type": settings.instance_type,
        "ubuntu_release": settings.ubuntu,
        "build_capacity": "on-demand" if settings.on_demand else "spot",
        "git_sha": git_sha(),
        "requirements_sha256": hashlib.sha256(requirements).hexdigest(),
        "image_interface": str(layout.IMAGE_INTERFACE),
        "torch_version": found(r"^torch==([^\s;]+)", requirements.decode(), "torch in requirements.txt"),
        "driver_branch": driver_branch(),
        "builder_cidr": f"{own_address()}/32",
        "output_directory": str(OUTPUT),
        **builder_network(settings.aws),
    }


def ubuntu_releases() -> list[str]:
    """Return the releases of Ubuntu that the Packer files have a base image of."""
    text = (REPOSITORY / "packer" / "source.pkr.hcl").read_text(encoding="utf-8")
    return re.findall(r'^ +"([0-9]{2}[.][0-9]{2})" += "ubuntu/', text, re.MULTILINE)


def builder_network(aws: AwsSettings) -> dict[str, str]:
    """Return the variable with the builder's subnet; empty for the default network, where Packer finds one itself."""
    if not aws.vpc_id and not aws.subnet_ids:
        return {}
    cloud = Cloud(aws)
    vpc = inventory.vpc_id(cloud)
    used = choose_subnets(cloud, vpc, inventory.subnets(cloud, vpc)).used
    public = [one["SubnetId"] for one in used if one.get("MapPublicIpOnLaunch")]
    if not public:
        names = ", ".join(one["SubnetId"] for one in used)
        raise AmiError(
            f"{names} in {vpc} give no public address, so Packer could not reach the builder.\n"
            "Name one that does in aws.subnet_ids; for the bake alone: --set aws.subnet_ids=[subnet-…]"
        )
    return {"subnet_id": public[0]}


def git_sha() -> str:
    """Return the commit, with -dirty when files differ from it."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def driver_branch() -> str:
    """Return the driver branch that the site installs."""
    text = (REPOSITORY / "ansible" / "group_vars" / "all.yml").read_text(encoding="utf-8")
    return found(r'^nvidia_driver_branch: "(\d+)"', text, "nvidia_driver_branch in group_vars/all.yml")


def found(pattern: str, text: str, what: str) -> str:
    """Return the first group of a pattern; AmiError names what is missing."""
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise AmiError(f"{what} is missing or not pinned: write it there")
    return match.group(1)


def validate(settings: Settings, variables: dict[str, str]) -> None:
    """Let Packer look at everything before anything is paid for."""
    for tool in ("packer", "ansible-playbook"):
        if shutil.which(tool) is None:
            raise AmiError(f"{tool} is not installed: see docs/image.md")
    refuse_old_packer()
    ended = subprocess.run(["packer", "init", str(REPOSITORY / "packer")], check=False)
    if ended.returncode != 0:
        raise AmiError(
            f"packer init ended with {ended.returncode}: the plugins are not installed. {FIRST_RUN}"
        )
    packer("validate", settings, variables)


def refuse_old_packer() -> None:
    """Refuse a Packer that cannot install the pinned plugins; it would only say that it finds no release of them."""
    said = subprocess.run(["packer", "version"], check=False, text=True, stdout=subprocess.PIPE).stdout
    pattern = r"([0-9]+)[.]([0-9]+)[.]([0-9]+)"
    plugins = (REPOSITORY / "packer" / "plugins.pkr.hcl").read_text(encoding="utf-8")
    oldest = re.search(rf'required_version = ">= {pattern}"', plugins)
    installed = re.search(rf"Packer v{pattern}", said)
    if oldest and installed and [int(n) for n in installed.groups()] < [int(n) for n in oldest.groups()]:
        wanted = ".".join(oldest.groups())
        raise AmiError(
            f"packer is {'.'.join(installed.groups())}: its plugins need {wanted} or newer. Install one from "
            "https://developer.hashicorp.com/packer/install and run this again"
        )


def packer(command: str, settings: Settings, variables: dict[str, str]) -> None:
    """Run a Packer command on the project's files; AmiError when it fails."""
    options = [f"-var={name}={value}" for name, value in variables.items()]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    ended = subprocess.run(
        ["packer", command, *options, *settings.packer_options, "."],
        cwd=REPOSITORY / "packer",
        env=environment(settings),
        check=False,
    )
    if ended.returncode != 0:
        raise AmiError(
            f"packer {command} ended with {ended.returncode}: the cause is above, the builder is gone"
        )


def environment(settings: Settings) -> dict[str, str]:
    """Return Packer's environment: with the credentials of a role that asks for an MFA code, as Packer cannot."""
    keys = exported(settings.region)
    kept = {name: value for name, value in os.environ.items() if not keys or name != "AWS_PROFILE"}
    return {**kept, **keys}


def cost_line(settings: Settings) -> str:
    """Return what the bake and the image will cost, with the source of the price."""
    price_usd, source = builder_price(settings)
    month_usd = SNAPSHOT_GB * SNAPSHOT_USD_PER_GB_MONTH
    return (
        f"The bake in {settings.region} costs about ${price_usd * BAKE_H:.2f} "
        f"({settings.instance_type} at ${price_usd:.3f}/h for about {BAKE_H * 60:.0f} minutes, {source}); "
        f"each image kept about ${month_usd:.2f} a month."
    )


def builder_price(settings: Settings) -> tuple[float, str]:
    """Return the builder's price per hour and where it is from."""
    fallback = FALLBACK_PRICE_USD_PER_H.get(settings.instance_type, 0.2)
    if settings.on_demand:
        return fallback, "on-demand, us-east-1, November 2026"
    ec2 = client("ec2", settings.region, settings.aws.endpoints.ec2)
    history = ec2.describe_spot_price_history(
        InstanceTypes=[settings.instance_type], ProductDescriptions=["Linux/UNIX"], MaxResults=20
    )["SpotPriceHistory"]
    if not history:
        return fallback, "no spot price known: the on-demand one"
    return max(float(row["SpotPrice"]) for row in history), "dearest zone's spot price now"


def prune(settings: Settings) -> None:
    """Remove the project's images but the newest and those in use, with their snapshots."""
    cloud = Cloud(settings.aws)
    project = make_project(settings.aws, account="")
    old = superfluous(images.find(cloud, project), settings.keep)
    used = images.users(cloud, project, old, our_runs_too=True)
    images.remove(cloud, old, used, print)


def superfluous(stored: Sequence[StoredImage], keep: int) -> list[StoredImage]:
    """Return what may go of what `images.find` found: images but the newest `keep`, and snapshots without one."""
    newest_first = [one for one in stored if one.kind == "image"]
    return [*newest_first[keep:], *(one for one in stored if one.kind == "snapshot")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
