"""The release of Ubuntu is one variable: every text that names releases names 22.04 and 24.04, and 20.04 is refused."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jinja2.nativetypes
import pytest
import yaml

from tests.support.packer_files import GOOD, PACKER, staged
from tests.support.role_tasks import every_task
from training.cloud.aws import probe

ROOT = Path(__file__).parents[2]
ROLES = ROOT / "ansible" / "roles"
BASE_IMAGES = {
    "22.04": "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*",
    "24.04": "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*",
}
CODENAMES = ["jammy", "noble"]

__all__ = ["staged"]  # a fixture


def base_images() -> dict[str, str]:
    """Return the map of packer/source.pkr.hcl."""
    text = (PACKER / "source.pkr.hcl").read_text(encoding="utf-8")
    return dict(re.findall(r'^ +"([0-9.]+)" += "([^"]+)"$', text, re.MULTILINE))


def test_each_release_has_canonicals_name() -> None:
    assert base_images() == BASE_IMAGES


def test_the_variable_takes_the_releases_of_the_map() -> None:
    text = (PACKER / "variables.pkr.hcl").read_text(encoding="utf-8")
    (listed,) = re.findall(r"contains\(\[(.*)\], var.ubuntu_release\)", text)
    assert re.findall(r'"([^"]+)"', listed) == list(BASE_IMAGES)
    (block,) = re.findall(r'variable "ubuntu_release" \{.*?^\}', text, re.MULTILINE | re.DOTALL)
    assert re.findall(r'default +?= "([^"]+)"', block) == ["22.04"]


def test_the_probe_asks_for_the_default_base_image() -> None:
    assert BASE_IMAGES["22.04"] == probe.UBUNTU


@pytest.mark.parametrize("target", ["ami", "ami-plan"])
@pytest.mark.parametrize("release", ["", *BASE_IMAGES])
def test_make_passes_the_release_on(target: str, release: str) -> None:
    command = ["make", "--dry-run", "--no-print-directory", target, *([f"UBUNTU={release}"] * bool(release))]
    environment = {name: value for name, value in os.environ.items() if name != "UBUNTU"}
    said = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert re.findall(r"--ubuntu '?([^' ]*)'?", said) == ([release] if release else [])


# --- with Packer ---
@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, BASE_IMAGES["22.04"]),
        ({"ubuntu_release": "22.04"}, BASE_IMAGES["22.04"]),
        ({"ubuntu_release": "24.04"}, BASE_IMAGES["24.04"]),
        ({"ubuntu_release": "24.04", "source_ami_name": "my-image-*"}, "my-image-*"),
    ],
)
def test_the_filter_follows_the_release(values: dict[str, str], name: str, staged: Path) -> None:
    command = ["packer", "console", *(f"-var={k}={v}" for k, v in {**GOOD, **values}.items()), "."]
    environment = {**os.environ, "HOME": str(staged), "CHECKPOINT_DISABLE": "1", "AWS_REGION": "x"}
    said = subprocess.run(
        command,
        cwd=staged,
        env=environment,
        input="local.source_ami_name\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert said.stdout.split() == [name]


# --- what the roles say ---
def system_check() -> dict[str, Any]:
    (task,) = yaml.safe_load((ROLES / "availability/tasks/system.yml").read_text(encoding="utf-8"))
    return dict(task["ansible.builtin.assert"])


def rendered(expression: str, version: str, codename: str) -> Any:
    """Return an expression of the check as Ansible evaluates it on a machine with that release."""
    known = yaml.safe_load((ROLES / "availability/vars/main.yml").read_text(encoding="utf-8"))
    facts = {"distribution": "Ubuntu", "distribution_version": version, "distribution_release": codename}
    environment = jinja2.nativetypes.NativeEnvironment(undefined=jinja2.StrictUndefined)
    return environment.from_string(expression).render(ansible_facts=facts, **known)


@pytest.mark.parametrize(
    ("version", "codename", "accepted"),
    [("22.04", "jammy", True), ("24.04", "noble", True), ("20.04", "focal", False), ("26.04", "x", False)],
)
def test_a_machine_of_another_release_is_refused_by_its_name(
    version: str, codename: str, *, accepted: bool
) -> None:
    check = system_check()
    assert rendered("{{ " + check["that"] + " }}", version, codename) is accepted
    assert f"The machine runs Ubuntu {version}; the image is made of" in rendered(
        check["fail_msg"], version, codename
    )
    assert re.findall(r"\d\d[.]\d\d", check["fail_msg"])[:2] == list(BASE_IMAGES)


def test_the_release_is_checked_before_anything_else() -> None:
    tasks = yaml.safe_load((ROLES / "availability/tasks/main.yml").read_text(encoding="utf-8"))
    assert tasks[0]["ansible.builtin.import_tasks"] == "system.yml"


@pytest.mark.parametrize("role", sorted(path.name for path in ROLES.iterdir()))
def test_every_role_names_both_releases(role: str) -> None:
    meta = yaml.safe_load((ROLES / role / "meta/main.yml").read_text(encoding="utf-8"))
    (ubuntu,) = [one for one in meta["galaxy_info"]["platforms"] if one["name"] == "Ubuntu"]
    assert ubuntu["versions"] == CODENAMES


def test_pip_installs_into_the_virtual_environment_only() -> None:
    """Ubuntu 24.04 refuses pip in the system's Python (PEP 668)."""
    pip = re.compile(r"(\S*)\bpip(?=['\", ]+(?:install|uninstall|check|freeze|show)\b)")
    found = [
        (task["name"], prefix)
        for _, task in every_task()
        for module in ("ansible.builtin.command", "ansible.builtin.shell")
        for prefix in pip.findall(str(task.get(module, "")))
    ]
    assert len(found) >= 7
    assert [one for one in found if not re.search(r"(^|/)venv/bin/$", one[1])] == []
