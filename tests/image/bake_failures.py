"""A bake that cannot succeed stops with its cause and leaves nothing that costs.

Run by `make ami-rehearsal`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import image_builder
import pytest
import rootfs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WITHOUT_GIT = {"python_env_f1tenth_gym_source": "none", "python_env_maps_source": "none"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("failures")


@pytest.fixture(scope="module")
def address(directory: Path) -> Iterator[str]:
    with image_builder.emulator(directory) as served:
        yield served


@pytest.fixture(scope="module")
def machine(directory: Path) -> Iterator[image_builder.Builder]:
    # A disk of 24 MB where the virtual environment goes: python's own files fit, torch does not.
    with image_builder.builder("f1tenth-bake-failures", directory, "--tmpfs=/opt:size=24m,exec") as started:
        yield started


def test_a_region_that_is_none_is_refused_before_any_request(
    machine: image_builder.Builder, address: str, directory: Path
) -> None:
    built = image_builder.packer_build(machine, address, directory, "-var=region=nowhere")
    assert built.status != 0
    assert "must look like us-east-1" in built.output
    assert image_builder.leftovers(address) == {}


def test_a_missing_base_image_stops_the_bake(
    machine: image_builder.Builder, address: str, directory: Path
) -> None:
    built = image_builder.packer_build(machine, address, directory, "-var=source_ami_name=no-such-image-*")
    assert built.status != 0
    assert "No AMI was found" in built.output
    assert image_builder.leftovers(address) == {}


def test_a_builder_that_never_answers_stops_the_bake(
    machine: image_builder.Builder, address: str, directory: Path
) -> None:
    """192.0.2.0/24 is nobody's. Here the key is Packer's own, as on AWS: it is made, and removed."""
    nobody = machine._replace(address="192.0.2.7")
    before = len(image_builder.requests(address))
    own_key = "-var=rehearsal_ssh_private_key_file="
    built = image_builder.packer_build(nobody, address, directory, "-var=ssh_timeout=15s", own_key)
    assert built.status != 0
    assert "Timeout waiting for SSH" in built.output
    assert image_builder.leftovers(address) == {}
    asked = {request["Action"] for request in image_builder.requests(address)[before:]}
    for thing in ("KeyPair", "SecurityGroup", "LaunchTemplate"):
        assert {f"Create{thing}", f"Delete{thing}"} <= asked
    assert "TerminateInstances" in asked


def test_a_package_that_is_not_there_stops_the_bake_before_anything_is_installed(
    machine: image_builder.Builder, address: str, directory: Path
) -> None:
    """The whole site on a machine whose archive has no driver: named, with the next step, in the first role."""
    site = {**WITHOUT_GIT, "nvidia_enabled": True, "base_packages": ["curl", "no-such-package"]}
    built = image_builder.packer_build(machine, address, directory, image_builder.ansible(directory, site))
    assert built.status != 0
    said = " ".join(built.output.split())
    for words in (
        "Unable to locate package no-such-package",
        "nvidia-smi",
        "Next: change nvidia_driver_branch",
    ):
        assert words in said, built.output[-4000:]
    assert "TASK [availability" in built.output
    assert "TASK [base" not in built.output
    assert image_builder.leftovers(address) == {}


def test_a_driver_that_cannot_be_installed_stops_the_bake(
    machine: image_builder.Builder, address: str, directory: Path
) -> None:
    built = image_builder.packer_build(
        machine, address, directory, image_builder.ansible(directory, {"nvidia_enabled": True}, "nvidia")
    )
    assert built.status != 0
    assert "nvidia-smi" in built.output
    assert image_builder.leftovers(address) == {}


def test_requirements_that_do_not_resolve_stop_the_bake(
    machine: image_builder.Builder, address: str, directory: Path
) -> None:
    wanted = directory / "requirements.txt"
    wanted.write_text("numpy==0.0.1\n", encoding="utf-8")
    option = image_builder.ansible(
        directory, {**WITHOUT_GIT, "python_env_requirements": str(wanted)}, "python_env"
    )
    built = image_builder.packer_build(machine, address, directory, option)
    assert built.status != 0
    assert "No matching distribution found for numpy==0.0.1" in built.output
    assert image_builder.leftovers(address) == {}


def test_a_full_disk_stops_the_bake(machine: image_builder.Builder, address: str, directory: Path) -> None:
    built = image_builder.packer_build(
        machine, address, directory, image_builder.ansible(directory, WITHOUT_GIT, "python_env")
    )
    assert built.status != 0
    assert "No space left on device" in built.output
    assert image_builder.leftovers(address) == {}


def test_an_image_that_fails_its_own_checks_stops_the_bake(
    machine: image_builder.Builder, address: str, directory: Path
) -> None:
    """The monitoring role without the trainer's units that it belongs to."""
    built = image_builder.packer_build(
        machine, address, directory, image_builder.ansible(directory, {}, "monitoring")
    )
    assert built.status != 0
    assert "What the training unit gets as credentials is read" in built.output
    assert image_builder.leftovers(address) == {}


def test_a_key_of_the_builder_stops_the_bake(
    machine: image_builder.Builder, address: str, directory: Path
) -> None:
    """The last of these tests: once the machine was cleaned, nobody can log in."""
    left = "mkdir -p /home/ubuntu/.aws && touch /home/ubuntu/.aws/credentials && echo {} >/etc/f1tenth-image.json"
    rootfs.podman("exec", machine.name, "sh", "-c", left)
    built = image_builder.packer_build(
        machine, address, directory, image_builder.ansible(directory, {}, "none")
    )
    assert built.status != 0
    assert "left behind: /home/ubuntu/.aws" in built.output
    assert image_builder.leftovers(address) == {}
