"""The whole bake without AWS: packer, real SSH, the whole site; run by `make ami-rehearsal`.

The container stands in for the builder, with the GPU off and neither f1tenth_gym nor maps (both come from
GitHub). The root it leaves is kept for the whole-cloud rehearsal: .cache/image/baked.tar.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import image_builder
import pytest
import rootfs
import testinfra

if TYPE_CHECKING:
    from collections.abc import Iterator

BAKED_ROOT = image_builder.CACHE / "baked.tar"
BAKED_IMAGE = rootfs.BAKED_IMAGE
SITE = {
    "nvidia_enabled": False,
    "python_env_f1tenth_gym_source": "none",
    "python_env_maps_source": "none",
    "base_nofile_limit": 4096,
}
BOOT_LIMIT_S = 15.0


class Bake(NamedTuple):
    """What a bake left: packer's end, the requests it made, the files it wrote."""

    built: image_builder.Built
    requests: list[dict[str, Any]]
    leftovers: dict[str, list[str]]
    facts: dict[str, Any]
    manifest: dict[str, Any]


@pytest.fixture(scope="module")
def bake(tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """Bake once, keep the container's root, import it as an image to boot."""
    directory = tmp_path_factory.mktemp("bake")
    image_builder.download_wheels()
    with (
        image_builder.emulator(directory) as address,
        image_builder.builder("f1tenth-bake", directory) as machine,
    ):
        begun = time.monotonic()
        built = image_builder.packer_build(
            machine, address, directory, image_builder.ansible(directory, SITE)
        )
        print(f"bake: {time.monotonic() - begun:.0f} s", file=sys.stderr)
        assert built.status == 0, built.output[-4000:]
        requests, leftovers = image_builder.requests(address), image_builder.leftovers(address)
        left = rootfs.podman("exec", machine.name, "ls", "/tmp").stdout  # noqa: S108 - the container's
        keep_root(machine.name)
    assert "script_" not in left, "Packer's copy of the last check removes itself"
    manifest = next(built.directory.glob("*.manifest.json"))
    facts = manifest.with_name(manifest.name.replace(".manifest", ""))
    return Bake(built, requests, leftovers, json.loads(facts.read_text()), json.loads(manifest.read_text()))


@pytest.fixture(scope="module")
def machine(bake: Bake) -> Iterator[testinfra.host.Host]:
    """Boot the baked root, as an instance of the image would, with a stand-in for user data's run."""
    assert bake.built.status == 0
    name = "f1tenth-baked"
    rootfs.podman("rm", "--force", "--time", "0", name, check=False)
    rootfs.podman(
        "run", "--detach", "--name", name, "--systemd=always", "--cap-add=SYS_ADMIN",
        "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined",
        f"--volume={image_builder.CA_BUNDLE}:{image_builder.CA_BUNDLE}:ro", BAKED_IMAGE, "/sbin/init",
    )  # fmt: skip
    # As systemd makes it outside of containers: a unit's credentials are mounted through it.
    rootfs.podman("exec", name, "mount", "--make-rshared", "/")
    yield testinfra.get_host(f"podman://{name}")
    rootfs.podman("rm", "--force", "--time", "0", name)


def keep_root(container: str) -> None:
    """Export the stopped container's root for later, and keep its layers as an image."""
    rootfs.podman("stop", "--time", "5", container)
    rootfs.podman("export", "--output", str(BAKED_ROOT), container)
    label = f"LABEL {rootfs.TREE_LABEL}={rootfs.tree_hash()}"
    rootfs.podman("commit", "--quiet", "--change", label, container, BAKED_IMAGE)


def asked(bake: Bake, action: str) -> list[dict[str, Any]]:
    """Return the requests of one action."""
    return [request for request in bake.requests if request["Action"] == action]


def test_the_builder_is_a_spot_machine_of_the_base_image(bake: Bake) -> None:
    text = json.dumps(asked(bake, "CreateLaunchTemplate"))
    assert "ami-0123456789abcdef0" in text
    assert "c6i.xlarge" in text
    assert "spot" in json.dumps(asked(bake, "CreateFleet"))


def test_the_disk_is_encrypted_gp3_and_goes_with_the_builder(bake: Bake) -> None:
    template = " ".join(f"{k}={v}" for k, v in asked(bake, "CreateLaunchTemplate")[0].items())
    for wanted in (
        "Ebs.Encrypted=true",
        "Ebs.VolumeType=gp3",
        "Ebs.DeleteOnTermination=true",
        "Ebs.VolumeSize=40",
    ):
        assert wanted in template, template


def test_the_builder_is_open_to_one_address_only(bake: Bake) -> None:
    rules = asked(bake, "AuthorizeSecurityGroupIngress")
    sources = {value for rule in rules for key, value in rule.items() if key.endswith("CidrIp")}
    assert sources == {"192.0.2.1/32"}


def test_the_image_is_private(bake: Bake) -> None:
    """Nobody is given a launch permission, neither an account nor a group."""
    shared = [r for r in asked(bake, "ModifyImageAttribute") if any("LaunchPermission" in key for key in r)]
    assert shared == []


def test_the_image_is_tagged_with_what_it_is_made_of(bake: Bake) -> None:
    tags = {
        request[key]: request[key.replace("Key", "Value")]
        for request in asked(bake, "CreateTags")
        for key in request
        if key.startswith("Tag.") and key.endswith(".Key")
    }
    sha256 = hashlib.sha256((rootfs.REPOSITORY / "requirements.txt").read_bytes()).hexdigest()
    assert tags["RequirementsSha256"] == sha256
    assert tags["GitSha"] == "0123456789abcdef"
    assert tags["SourceAmi"] == "ami-0123456789abcdef0"
    assert {"Project", "TorchVersion", "DriverBranch"} <= tags.keys()


def test_nothing_but_the_image_is_left(bake: Bake) -> None:
    assert list(bake.leftovers) == ["images"]
    assert len(bake.leftovers["images"]) == 1


def test_the_manifest_names_the_image(bake: Bake) -> None:
    (build,) = bake.manifest["builds"]
    assert build["artifact_id"] == f"{image_builder.REGION}:{bake.leftovers['images'][0]}"


def test_the_versions_came_back(bake: Bake) -> None:
    requirements = (rootfs.REPOSITORY / "requirements.txt").read_text(encoding="utf-8")
    torch = bake.facts["packages"]["torch"].split("+")[0]
    assert torch == image_builder.pinned(requirements, "torch")
    assert bake.facts["requirements_sha256"] == hashlib.sha256(requirements.encode()).hexdigest()


def test_what_was_left_out_was_said_aloud(bake: Bake) -> None:
    for words in ("no NVIDIA driver", "has no f1tenth_gym", "has no race tracks"):
        assert words in " ".join(bake.built.output.split()), words


def test_the_last_check_ran_last_and_found_nothing(bake: Bake) -> None:
    said = bake.built.output
    assert said.index("nothing of the builder is left") > said.rindex("PLAY RECAP")


def test_the_kept_root_holds_no_key_and_no_id(bake: Bake) -> None:
    """Read from the tar file, without booting: what an instance's disk would hold."""
    assert bake.built.status == 0
    names = subprocess.run(
        ["tar", "-tf", str(BAKED_ROOT)], check=True, text=True, capture_output=True
    ).stdout.split()
    for trace in (
        "/.ssh/authorized_keys",
        "etc/ssh/ssh_host_",
        "/.bash_history",
        "var/lib/dbus/machine-id",
        "/.ansible/",
    ):
        assert [name for name in names if trace in name] == []
    read = ["tar", "-xOf", str(BAKED_ROOT), "etc/machine-id"]
    assert subprocess.run(read, check=True, capture_output=True).stdout == b""


def test_a_second_bake_changes_nothing(machine: testinfra.host.Host, tmp_path: Path) -> None:
    """The site applied again to the booted image: every role finds what it left, after its first boot too."""
    assert machine.service("f1tenth-deadman.timer").is_enabled
    again = play("site.yml", tmp_path)
    assert "changed=0" in again
    assert "failed=0" in again


def test_check_mode_has_nothing_to_change_and_nothing_to_show(
    machine: testinfra.host.Host, tmp_path: Path
) -> None:
    """What someone who debugs an instance sees first: `--check --diff` of the whole site."""
    assert machine.file("/etc/f1tenth-image.json").exists
    again = play("site.yml", tmp_path, "--check", "--diff")
    assert "changed=0" in again
    assert "failed=0" in again


def test_the_verify_play_passes_on_the_booted_image(machine: testinfra.host.Host, tmp_path: Path) -> None:
    assert machine.file("/etc/f1tenth-image.json").exists
    assert "failed=0" in play("verify.yml", tmp_path)


def test_a_boot_reaches_the_active_unit_in_time(machine: testinfra.host.Host) -> None:
    """A real boot, from systemd's first moment to READY=1 of a stand-in that imports torch."""
    app = "/opt/f1tenth/app/training"
    machine.check_output(f"mkdir -p {app} && rm -rf {app}/* && touch {app}/__init__.py")
    machine.check_output(f"printf %%s %s > {app}/__main__.py", READY)
    machine.check_output("printf %%s %s > /etc/systemd/system/user-data.service", USER_DATA)
    machine.check_output("systemctl enable --quiet user-data.service")
    rootfs.podman("restart", "--time", "0", "f1tenth-baked")
    deadline = time.monotonic() + 120
    while machine.run("systemctl is-active f1tenth-training.service").rc != 0:
        assert time.monotonic() < deadline, machine.run("systemctl status f1tenth-training.service").stdout
        time.sleep(0.5)
    boot = machine.check_output("systemctl show --value --property=UserspaceTimestampMonotonic")
    active = machine.check_output(
        "systemctl show --value --property=ActiveEnterTimestampMonotonic f1tenth-training"
    )
    machine.check_output(
        "systemctl disable --quiet user-data.service && rm /etc/systemd/system/user-data.service"
    )
    machine.check_output("systemctl stop f1tenth-training.service")
    prefetch = machine.check_output(
        "systemctl show --property=ExecMainStatus --property=ActiveState f1tenth-prefetch.service"
    )
    print(f"boot to active: {(int(active) - int(boot)) / 1e6:.1f} s", file=sys.stderr)
    assert (int(active) - int(boot)) / 1e6 < BOOT_LIMIT_S
    assert "ExecMainStatus=0" in prefetch, "torch is read ahead without a fault"
    started = machine.check_output(
        "systemctl show --value --property=ExecMainStartTimestampMonotonic f1tenth-prefetch.service"
    )
    assert int(started) > 0, "it ran in this boot"


# As cloud-init's last stage would: write run.env, start the training, at the end of the boot.
USER_DATA = """
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/mount --make-rshared /
ExecStart=/bin/sh -c 'printf "F1TENTH_CONFIG=c\\nF1TENTH_STORE=s\\n" >/run/f1tenth/run.env'
ExecStart=/bin/systemctl --no-block start f1tenth-training.service
[Install]
WantedBy=multi-user.target
"""

READY = """
import os, signal, socket, sys, time, torch
from pathlib import Path
def stop(*_):
    Path("/run/f1tenth/stay-up").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
to_systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
to_systemd.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1))
while True:
    time.sleep(5)
    to_systemd.sendto(b"WATCHDOG=1", os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1))
"""


def play(playbook: str, directory: Path, *options: str) -> str:
    """Run a playbook of the product against the booted image and return its recap."""
    inventory = directory / "inventory"
    inventory.write_text("f1tenth-baked ansible_connection=containers.podman.podman\n", encoding="utf-8")
    command = [
        Path(sys.executable).with_name("ansible-playbook"), "--inventory", inventory,
        "--extra-vars", json.dumps(SITE), *options, rootfs.REPOSITORY / "ansible" / playbook,
    ]  # fmt: skip
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(rootfs.REPOSITORY / "ansible" / "ansible.cfg"),
        "CONTAINERS_CONF": str(rootfs.HERE / "containers.conf"),
    }
    ended = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stdout[-4000:]
    return ended.stdout.partition("PLAY RECAP")[2]
