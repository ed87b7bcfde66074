"""What the rehearsals of a bake share: an EC2 emulator, a container as the builder, packer over real SSH."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import rootfs
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = rootfs.CACHE
REGION = "us-east-1"
BASE_IMAGE = "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20261101"
CANONICAL = "099720109477"
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
NEWER_PACKER = re.compile(r"^ *# packer>=1\.7 begin\n.*?^ *# packer>=1\.7 end\n", re.MULTILINE | re.DOTALL)
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",  # pragma: allowlist secret
    "AWS_DEFAULT_REGION": REGION,
}


class Builder(NamedTuple):
    """A container that stands in for the instance Packer starts."""

    name: str
    address: str
    key: Path


class Built(NamedTuple):
    """How a `packer build` ended."""

    status: int
    output: str
    directory: Path


@contextlib.contextmanager
def emulator(directory: Path) -> Iterator[str]:
    """Serve EC2 with one base image of Canonical, recording every request; yield its address."""
    image = {
        "ami_id": "ami-0123456789abcdef0",
        "name": BASE_IMAGE,
        "description": "Ubuntu 22.04",
        "owner_id": CANONICAL,
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
    amis, record = directory / "amis.json", directory / "requests.jsonl"
    amis.write_text(json.dumps([image]), encoding="utf-8")
    environment = {
        **os.environ,
        **CREDENTIALS,
        "MOTO_AMIS_PATH": str(amis),
        "MOTO_RECORDER_FILEPATH": str(record),
    }
    port = free_port()
    server = subprocess.Popen(
        [Path(sys.executable).with_name("moto_server"), "--host", "127.0.0.1", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for_http(f"{address}/moto-api/data.json")
        call(f"{address}/moto-api/recorder/start-recording", method="POST")
        yield address
    finally:
        server.kill()  # it has nothing to save, and takes its time over a polite word
        server.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    probe = ThreadedMotoServer(port=0, verbose=False)
    probe.start()
    _, port = probe.get_host_and_port()
    probe.stop()
    return int(port)


def wait_for_http(url: str, patience_s: float = 120.0) -> None:
    """Return when the address answers."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            call(url)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def call(url: str, method: str = "GET") -> str:
    """Return the body of an answer."""
    request = urllib.request.Request(url, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return answer.read().decode()


def requests(address: str) -> list[dict[str, Any]]:
    """Return the recorded requests to EC2, each as its parameters."""
    lines = call(f"{address}/moto-api/recorder/download-recording").splitlines()
    bodies = (base64.b64decode(json.loads(line).get("body") or "").decode() for line in lines)
    return [dict(urllib.parse.parse_qsl(body)) for body in bodies if "Action=" in body]


def leftovers(address: str) -> dict[str, list[str]]:
    """Return what a failed bake must not leave: instances, volumes, keys, security groups, images."""
    ec2 = client(address)
    reservations = ec2.describe_instances()["Reservations"]
    instances = [i for r in reservations for i in r["Instances"] if i["State"]["Name"] != "terminated"]
    groups = [g for g in ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"] != "default"]
    found = {
        "instances": [i["InstanceId"] for i in instances],
        "volumes": [v["VolumeId"] for v in ec2.describe_volumes()["Volumes"]],
        "key pairs": [k["KeyName"] for k in ec2.describe_key_pairs()["KeyPairs"]],
        "security groups": [g["GroupId"] for g in groups],
        "images": [i["ImageId"] for i in ec2.describe_images(Owners=["self"])["Images"]],
        "launch templates": [
            t["LaunchTemplateName"] for t in ec2.describe_launch_templates()["LaunchTemplates"]
        ],
    }
    return {kind: names for kind, names in found.items() if names}


def client(address: str, region: str = REGION) -> Any:
    """Return an EC2 client of the emulator."""
    return boto3.client(
        "ec2",
        endpoint_url=address,
        region_name=region,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106 # pragma: allowlist secret
    )


@contextlib.contextmanager
def builder(name: str, directory: Path, *podman_options: str) -> Iterator[Builder]:
    """Run a container like a fresh Ubuntu instance, with sshd, ubuntu and one key; remove it after."""
    key = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    pip_settings = directory / "pip.conf"
    wheels = CACHE / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    pip_settings.write_text(f"[global]\nfind-links = /wheels\ncert = {CA_BUNDLE}\n", encoding="utf-8")
    mounts = [f"{CA_BUNDLE}:{CA_BUNDLE}:ro", f"{pip_settings}:/etc/pip.conf:ro", f"{wheels}:/wheels:ro"]
    rootfs.podman("rm", "--force", "--time", "0", name, check=False)
    rootfs.podman(
        "run", "--detach", "--name", name, "--systemd=always", "--cap-add=SYS_ADMIN",
        "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined",
        *(f"--volume={mount}" for mount in mounts), *podman_options, rootfs.ensure_image(), "/sbin/init",
    )  # fmt: skip
    try:
        public = key.with_suffix(".pub").read_text(encoding="utf-8").strip()
        rootfs.podman("exec", name, "sh", "-c", FIRST_BOOT.format(key=public))
        address = rootfs.podman("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name).stdout.strip()
        yield Builder(name, address, key)
    finally:
        rootfs.podman("rm", "--force", "--time", "0", name)


# What cloud-init does on an instance before Packer logs in. Systemd answers only once its bus is there, and
# until it has booted it empties /tmp, where apt checks signatures.
FIRST_BOOT = """
for attempt in $(seq 120); do
    case $(systemctl is-system-running --wait 2>/dev/null) in running|degraded) break ;; *) sleep 1 ;; esac
done
useradd --create-home --shell /bin/bash ubuntu
echo 'ubuntu ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/90-cloud-init-users
install -d -o ubuntu -g ubuntu -m 700 /home/ubuntu/.ssh
echo '{key}' >/home/ubuntu/.ssh/authorized_keys
chown ubuntu: /home/ubuntu/.ssh/authorized_keys
apt-get -q update >/dev/null
"""


def packer_build(machine: Builder, address: str, directory: Path, *options: str) -> Built:
    """Run the product's Packer files, less what Debian's old packer does not know, and its Ansible."""
    work = directory / f"bake-{time.monotonic_ns()}"
    work.mkdir()
    stage(work)
    requirements = (rootfs.REPOSITORY / "requirements.txt").read_bytes()
    variables = {
        "project": "f1tenth",
        "region": REGION,
        "git_sha": "0123456789abcdef",
        "requirements_sha256": hashlib.sha256(requirements).hexdigest(),
        "image_interface": interface(),
        "torch_version": pinned(requirements.decode(), "torch"),
        "driver_branch": "none",
        "builder_cidr": "192.0.2.1/32",
        "output_directory": str(work),
        "rehearsal_endpoint": address,
        "rehearsal_ssh_host": machine.address,
        "rehearsal_ssh_private_key_file": str(machine.key),
    }
    command = [
        "packer",
        "build",
        "-color=false",
        *(f"-var={k}={v}" for k, v in variables.items()),
        *options,
        ".",
    ]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    settings = {
        "PATH": path,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CHECKPOINT_DISABLE": "1",
        # The emulator is done at once; AWS is asked every 2 to 15 seconds.
        "AWS_POLL_DELAY_SECONDS": "1",
        "AWS_MAX_ATTEMPTS": "300",
        "HOME": str(work),
    }
    # The path of a socket has 108 characters at most, and a test's directory is long.
    with tempfile.TemporaryDirectory(prefix="bake-") as sockets:
        settings["ANSIBLE_SSH_CONTROL_PATH_DIR"] = sockets
        ended = subprocess.run(
            command,
            cwd=work / "packer",
            env={**os.environ, **CREDENTIALS, **settings},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    (directory / "packer.log").write_text(ended.stdout, encoding="utf-8")
    return Built(ended.returncode, ended.stdout, work)


def ansible(directory: Path, variables: dict[str, Any], tag: str = "all") -> str:
    """Return the packer option that hands variables, with their types, and a tag to ansible-playbook."""
    given = directory / f"variables-{time.monotonic_ns()}.json"
    given.write_text(json.dumps(variables), encoding="utf-8")
    return f'-var=ansible_arguments=["--tags={tag}", "--extra-vars=@{given}"]'


def stage(work: Path) -> None:
    """Copy the product's files; only the marked parts of newer Packers are left out."""
    (work / "packer").mkdir()
    for source in sorted((rootfs.REPOSITORY / "packer").glob("*.pkr.hcl")):
        text = NEWER_PACKER.sub("", source.read_text(encoding="utf-8"))
        (work / "packer" / source.name).write_text(text, encoding="utf-8")
    shutil.copytree(rootfs.REPOSITORY / "ansible", work / "ansible")
    shutil.copytree(
        rootfs.REPOSITORY / "training", work / "training", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(rootfs.REPOSITORY / "requirements.txt", work)


def interface() -> str:
    """Return the number of the interface between image and code."""
    text = (rootfs.REPOSITORY / "training" / "layout.py").read_text(encoding="utf-8")
    return re.findall(r"^IMAGE_INTERFACE = (\d+)$", text, re.MULTILINE)[0]


def pinned(requirements: str, package: str) -> str:
    """Return the version that requirements.txt pins."""
    found = re.search(rf"^{package}==(\S+)", requirements, re.MULTILINE)
    assert found, f"{package} has no pin"
    return found.group(1)


def download_wheels() -> None:
    """Keep the wheels of requirements.txt, with torch's small one, so that a bake need not load them."""
    requirements = rootfs.REPOSITORY / "requirements.txt"
    stamp = CACHE / "wheels" / hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists():
        return
    # The folder itself stays: it may be mounted in the builder of another test.
    stamp.parent.mkdir(parents=True, exist_ok=True)
    for old in stamp.parent.iterdir():
        old.unlink()
    target = ["--dest", str(stamp.parent), "--python-version", "3.11", "--only-binary=:all:"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    torch = f"torch=={pinned(requirements.read_text(encoding='utf-8'), 'torch')}"
    index = [
        "--no-deps",
        "--index-url",
        "https://download.pytorch.org/whl/cpu",
        "--retries",
        "0",
        "--timeout",
        "8",
    ]
    # Where that index does not answer, torch comes from wherever pip is set to look.
    subprocess.run([*pip, *target, *index, torch], check=False, capture_output=True)
    links = ["--find-links", str(stamp.parent)]
    subprocess.run([*pip, *target, *links, "--requirement", str(requirements)], check=True)
    stamp.touch()
