"""What the image and user data ask of cloud-init is known to each release of Ubuntu 22.04 and 24.04, 22.1 to 26.1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cloud.golden import AWS, LAUNCH, SCOPE
from training.cloud.aws import launch_requests
from training.config.aws import EndpointSettings

ROOT = Path(__file__).parents[2]
ROLES = ROOT / "ansible" / "roles"
KNOWN: dict[str, dict[str, Any]] = yaml.safe_load(
    (ROOT / "tests/image/cloud-init.yml").read_text(encoding="utf-8")
)
# Of user data before its base64: EC2's own limit.
EC2_LIMIT_BYTES = 16 * 1024


def taken_for(script: str, release: str) -> str | None:
    """Return the type by which a release of cloud-init runs user data, as its type_from_starts_with does."""
    prefixes = sorted(KNOWN["user_data"][release], key=len, reverse=True)
    begins = [p for p in prefixes if script.lstrip().lower().startswith(p)]
    return KNOWN["user_data"][release][begins[0]] if begins else None


def largest_user_data() -> str:
    """The longest names that the settings accept, and every endpoint."""
    address = "https://" + "e" * 240
    endpoints = EndpointSettings(s3=address, ec2=address, ssm=address)
    aws = AWS.model_copy(update={"endpoints": endpoints, "s3_transfer_acceleration": True})
    scope = SCOPE._replace(name="p" * 31, bucket="b" * 63, region="ap-northeast-1")
    return launch_requests.user_data(
        scope, aws, LAUNCH._replace(run="r" * 64, at_step=10**9, from_partial=True)
    )


@pytest.mark.parametrize("release", KNOWN["user_data"])
def test_user_data_is_run_as_a_script_by_every_release(release: str) -> None:
    assert taken_for(launch_requests.user_data(SCOPE, AWS, LAUNCH), release) == "text/x-shellscript"


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("#cloud-config-archive\n", "text/cloud-config-archive"),
        ("\n#!/bin/sh\n", "text/x-shellscript"),
        ("set -e\n", None),
    ],
)
def test_the_longest_beginning_decides(text: str, taken: str | None) -> None:
    assert taken_for(text, "26.1") == taken


def test_user_data_needs_nothing_that_the_base_image_lacks() -> None:
    """Its interpreter is bash, of every Ubuntu and Debian, and its bytes are UTF-8 without a carriage return."""
    script = launch_requests.user_data(SCOPE, AWS, LAUNCH)
    assert script.splitlines()[0] == "#!/bin/bash"
    assert "\r" not in script
    assert script.isascii()


def test_the_largest_user_data_fits_ec2s_limit() -> None:
    size = len(largest_user_data().encode())
    assert 1024 < size < EC2_LIMIT_BYTES, f"{size} bytes"


@pytest.mark.parametrize("release", KNOWN["stages"])
def test_every_stage_of_every_release_powers_off_when_it_fails(release: str) -> None:
    guarded = yaml.safe_load((ROLES / "trainer/vars/main.yml").read_text(encoding="utf-8"))[
        "trainer_cloud_init_units"
    ]
    assert [stage for stage in KNOWN["stages"][release] if f"{stage}.service" not in guarded] == []


def test_no_stage_is_guarded_that_no_release_has() -> None:
    guarded = yaml.safe_load((ROLES / "trainer/vars/main.yml").read_text(encoding="utf-8"))[
        "trainer_cloud_init_units"
    ]
    known = {f"{stage}.service" for stages in KNOWN["stages"].values() for stage in stages}
    assert set(guarded) - known == set()


def test_the_roles_change_one_line_of_cloud_inits_settings_and_write_no_other() -> None:
    """What else is written has its keys compared with the table first, as the tests below do."""
    writing = re.compile(r"(dest|path|line|src): *\S*etc/cloud\b|cloud\.cfg")
    files = [path for path in ROLES.rglob("*") if path.is_file() and path.suffix != ".md"]
    assert len(files) > 50
    found = {
        str(p.relative_to(ROLES))
        for p in files
        if writing.search(p.read_text(encoding="utf-8")) or "etc/cloud/" in str(p)
    }
    assert found == {"trainer/tasks/cloud_init.yml", "trainer/tasks/verify.yml"}
    assert [task["name"] for task in guard_tasks() if "etc/cloud/" in str(task)] == [
        "User data runs at each boot"
    ]


@pytest.mark.parametrize("release", KNOWN["scripts_user"])
def test_user_data_runs_at_each_boot_of_every_release(release: str) -> None:
    """The role's own expression, on the line as the release has it: changed once, and left alone the second time."""
    (replacing,) = [
        task["ansible.builtin.replace"] for task in guard_tasks() if "ansible.builtin.replace" in task
    ]
    settings = (
        f"cloud_final_modules:\n{KNOWN['scripts_user'][release]}\n{KNOWN['scripts_user'][release]}-later\n"
    )
    once = re.sub(replacing["regexp"], replacing["replace"], settings, flags=re.MULTILINE)
    name = KNOWN["scripts_user"][release].split()[-1]
    assert yaml.safe_load(once) == {"cloud_final_modules": [[name, "always"], f"{name}-later"]}
    assert re.sub(replacing["regexp"], replacing["replace"], once, flags=re.MULTILINE) == once


def guard_tasks() -> list[dict[str, Any]]:
    text = (ROLES / "trainer/tasks/cloud_init.yml").read_text(encoding="utf-8")
    return list(yaml.safe_load(text))


def test_every_key_of_the_rehearsal_s_settings_is_read_by_every_release() -> None:
    text = (ROOT / "tests/rehearsal/machine/99-ec2.cfg").read_text(encoding="utf-8")
    assert set(keys(yaml.safe_load(text))) - set(KNOWN["cloud_cfg"]) == set()


def keys(tree: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in tree.items():
        yield f"{above}{name}"
        if isinstance(value, dict):
            yield from keys(value, f"{above}{name}.")
