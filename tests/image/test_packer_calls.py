"""What Packer asks of EC2 with our files: Debian's 1.6.6 run against the emulator, beside what 1.8.2's source says.

Without a machine to log in to: communicator none, no provisioners. packer_calls.json keeps what was asked;
`make record-calls ARGS=tests/image/test_packer_calls.py` writes it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud import documented_calls
from tests.cloud.call_shapes import KINDS
from tests.cloud.recording import SEEN
from tests.support.servers import CREDENTIALS, free_port, running

PACKER = Path(__file__).parents[2] / "packer"
RECORDED = Path(__file__).with_name("packer_calls.json")
NEWER = re.compile(r"^ *# packer>=1\.7 begin\n.*?^ *# packer>=1\.7 end\n", re.MULTILINE | re.DOTALL)
BUILD = 'build {\n  sources = ["source.amazon-ebs.image"]\n}\n'
JAMMY = {
    "ami_id": "ami-0123456789abcdef0",
    "name": "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20261101",
    "description": "Ubuntu 22.04",
    "owner_id": "099720109477",
    "public": True,
    "virtualization_type": "hvm",
    "architecture": "x86_64",
    "state": "available",
    "platform": None,
    "image_type": "machine",
    "hypervisor": "xen",
    "root_device_name": "/dev/sda1",
    "root_device_type": "ebs",
    "sriov": "simple",
    "creation_date": "2026-11-01T00:00:00.000Z",
}
NOBLE = {
    **JAMMY,
    "ami_id": "ami-0fedcba9876543210",
    "name": "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261105",
    "description": "Ubuntu 24.04",
    "creation_date": "2026-11-05T00:00:00.000Z",
}
# What only the newer plugin, or only a bake on AWS or one that fails, asks for.
NOT_HERE = {
    "DescribeRegions": "skip_region_validation is set against the emulator",
    "DescribeSubnets": "no subnet_id is set",
    "DeleteVolume": "no volume of the base image is left over",
    "DeregisterImage": "the bake does not fail after it has made the image",
    "DeleteSnapshot": "the bake does not fail after it has made the image",
    "CreateServiceLinkedRole": "EC2 makes it itself",
}

pytestmark = [
    pytest.mark.slow,  # Packer waits a second or two for each state
    pytest.mark.skipif(shutil.which("packer") is None, reason="packer is not installed"),
]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Serve EC2 with a base image of each Ubuntu; give its address and the file of its requests."""
    folder = tmp_path_factory.mktemp("packer-calls")
    amis, record, port = folder / "amis.json", folder / "requests.jsonl", free_port()
    amis.write_text(json.dumps([JAMMY, NOBLE]), encoding="utf-8")
    env = {**CREDENTIALS, "MOTO_AMIS_PATH": str(amis), "MOTO_RECORDER_FILEPATH": str(record)}
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with running(command, f"http://127.0.0.1:{port}", folder, env) as url:
        start = urllib.request.Request(f"{url}/moto-api/recorder/start-recording", method="POST")  # noqa: S310
        urllib.request.urlopen(start, timeout=30).close()  # noqa: S310
        yield url, record


def bake(url: str, record: Path, market: str, folder: Path, **more: str) -> list[dict[str, str]]:
    """Bake an image of the base image as it is, and return Packer's requests, each as its parameters."""
    for path in PACKER.glob("*.pkr.hcl"):
        text = NEWER.sub("", path.read_text(encoding="utf-8")).replace('= "ssh"', '= "none"')
        (folder / path.name).write_text(BUILD if path.name == "build.pkr.hcl" else text, encoding="utf-8")
    variables = {
        "project": "f1tenth",
        "region": "us-east-1",
        "git_sha": "0123456789abcdef0123456789abcdef01234567",
        "requirements_sha256": "a" * 64,
        "image_interface": "2",
        "torch_version": "2.13.0",
        "driver_branch": "none",
        "builder_cidr": "192.0.2.1/32",
        "output_directory": str(folder),
        "rehearsal_endpoint": url,
        "build_capacity": market,
        **more,
    }
    settings = {"AWS_EC2_METADATA_DISABLED": "true", "CHECKPOINT_DISABLE": "1", "AWS_POLL_DELAY_SECONDS": "1"}
    before = len(record.read_text().splitlines()) if record.exists() else 0
    done = subprocess.run(
        [
            "packer",
            "build",
            "-color=false",
            *(f"-var={key}={value}" for key, value in variables.items()),
            ".",
        ],
        cwd=folder,
        env={**os.environ, **CREDENTIALS, **settings, "AWS_MAX_ATTEMPTS": "60", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    lines = record.read_text(encoding="utf-8").splitlines()[before:]
    bodies = (base64.b64decode(json.loads(line).get("body") or "").decode() for line in lines)
    return [dict(urllib.parse.parse_qsl(body)) for body in bodies if "Action=" in body]


def kinds(market: str, requests: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return each kind of request once."""
    shapes = (_shape(market, request) for request in requests)
    return [json.loads(text) for text in sorted({json.dumps(one, sort_keys=True) for one in shapes})]


def _shape(market: str, request: dict[str, str]) -> dict[str, Any]:
    """Return the operation, what it tags as it makes it, and what it tags afterwards."""
    specified = {value for key, value in request.items() if key.endswith("ResourceType")}
    later = {KINDS[v.partition("-")[0]] for k, v in request.items() if k.startswith("ResourceId.")}
    return {
        "market": market,
        "operation": request["Action"],
        **({"tags_at_creation": sorted(specified)} if specified else {}),
        **({"tags_later": sorted(later)} if later else {}),
    }


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_debians_packer_asks_what_was_recorded(
    emulator: tuple[str, Path], market: str, tmp_path: Path
) -> None:
    asked = kinds(market, bake(*emulator, market, tmp_path))
    known = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else []
    if SEEN in os.environ:
        rows = [*(row for row in known if row["market"] != market), *asked]
        texts = sorted(json.dumps(row, sort_keys=True) for row in rows)
        RECORDED.write_text("[\n" + ",\n".join(texts) + "\n]\n", encoding="utf-8")
        return
    assert asked == [row for row in known if row["market"] == market], "make record-calls ARGS=tests/image/"


@pytest.mark.parametrize(("release", "image"), [("22.04", JAMMY), ("24.04", NOBLE)])
def test_a_release_starts_from_its_own_base_image(
    emulator: tuple[str, Path], release: str, image: dict[str, Any], tmp_path: Path
) -> None:
    asked = bake(
        *emulator, "on-demand", tmp_path, ubuntu_release=release, git_sha=release.replace(".", "") * 10
    )
    started = [request["ImageId"] for request in asked if request["Action"] == "RunInstances"]
    assert started == [image["ami_id"]]


def test_what_it_asks_is_what_was_read_from_the_newer_plugin() -> None:
    """The same operations; tags at creation come with the newer plugin, so that a policy can go by them."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    asked = {row["operation"] for row in recorded}
    read = {one.call.operation for one in documented_calls.packer()}
    assert asked <= read
    assert read - asked == set(NOT_HERE)
    later = {kind for row in recorded for kind in row.get("tags_later", ())}
    tagged = {
        kind
        for one in documented_calls.packer()
        for details in (one.call.details, one.call.details.get("LaunchTemplateData", {}))
        for kind in details.get("TagSpecifications", {})
    }
    assert later <= tagged


def test_all_that_packer_makes_is_told_to_carry_the_projects_tags() -> None:
    text = re.sub(r" +", " ", (PACKER / "source.pkr.hcl").read_text(encoding="utf-8"))
    for argument in ("run_tags", "run_volume_tags"):
        assert f"{argument} = local.tags" in text
    for argument in ("fleet_tags", "spot_tags"):
        assert f'{argument} = var.build_capacity == "spot" ? local.tags : null' in text
