"""The Packer files in their full form, which only a newer Packer than Debian's runs, and each variable's refusals."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest

from tests.support.packer_files import GOOD, NEWER, PACKER, staged
from training.config import AwsSettings

__all__ = ["staged"]  # a fixture

BAD = {
    "git_sha": "main",
    "requirements_sha256": "12",
    "image_interface": "two",
    "torch_version": "2",
    "driver_branch": "newest",
    "builder_cidr": "0.0.0.0/0",
    "project": "My Project",
    "region": "nowhere",
    "instance_type": "big",
    "build_capacity": "free",
    "volume_size_gb": "5",
    "ubuntu_release": "20.04",
    "source_ami": "ubuntu",
    "source_ami_name": "*",
    "source_ami_owner": "me",
    "ssh_timeout": "soon",
    "subnet_id": "default",
    "ansible_arguments": '[""]',
    "output_directory": "",
    "rehearsal_endpoint": "localhost",
    "rehearsal_ssh_host": "a host",
    "rehearsal_ssh_port": "0",
    "rehearsal_ssh_private_key_file": "key",  # pragma: allowlist secret
}


@pytest.fixture(scope="module")
def blocks() -> dict[str, list[dict[str, Any]]]:
    """All blocks of all files, by kind, as a parser of HCL reads them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(PACKER.glob("*.pkr.hcl")):
        for kind, those in hcl2.loads(path.read_text(encoding="utf-8")).items():
            found.setdefault(kind.strip('"'), []).extend(those if isinstance(those, list) else [those])
    return found


def variables(blocks: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    return {name.strip('"'): body for block in blocks["variable"] for name, body in block.items()}


def test_every_variable_says_what_it_is_and_what_it_takes(blocks: dict[str, list[dict[str, Any]]]) -> None:
    missing = {
        (name, part)
        for name, body in variables(blocks).items()
        for part in ("description", "type", "validation")
        if not body.get(part)
    }
    assert missing == set()


def test_what_make_ami_reads_elsewhere_has_no_default_here(blocks: dict[str, list[dict[str, Any]]]) -> None:
    """One place says region and project: the settings file."""
    required = {name for name, body in variables(blocks).items() if "default" not in body}
    assert required == set(GOOD)


def test_a_project_and_a_region_are_what_the_settings_take() -> None:
    text = (PACKER / "variables.pkr.hcl").read_text(encoding="utf-8")
    for name, field in (("project", "project_name"), ("region", "region")):
        (pattern,) = re.findall(rf'regex_replace\(var\.{name}, "([^"]+)"', text)
        (legal,) = [
            one.pattern for one in AwsSettings.model_fields[field].metadata if hasattr(one, "pattern")
        ]
        assert pattern == legal


def test_every_variable_has_a_refusal_below(blocks: dict[str, list[dict[str, Any]]]) -> None:
    assert set(variables(blocks)) == set(BAD)


def test_packer_and_its_plugins_are_pinned(blocks: dict[str, list[dict[str, Any]]]) -> None:
    text = (PACKER / "plugins.pkr.hcl").read_text(encoding="utf-8")
    assert len(blocks["packer"]) == 1
    pins = re.findall(r'^ +version = "(.*)"$', text, re.MULTILINE)
    assert len(pins) == 2
    assert [pin for pin in pins if not re.fullmatch(r"= \d+\.\d+\.\d+", pin)] == []


def test_builder_and_image_speak_the_second_metadata_protocol_only(
    blocks: dict[str, list[dict[str, Any]]],
) -> None:
    text = re.sub(r"\s+", " ", str(blocks["source"]))
    assert re.search(r"'http_tokens': '\"?required", text), text
    assert re.search(r"'http_put_response_hop_limit': 1\b", text), text
    assert re.search(r"'imds_support': '\"?v2\.0", text), text


def test_only_marked_parts_are_kept_from_the_rehearsal() -> None:
    """What the rehearsal leaves out is a pair of marks each, and little."""
    for path in PACKER.glob("*.pkr.hcl"):
        text = path.read_text(encoding="utf-8")
        left_out = NEWER.findall(text)
        assert text.count("# packer>=1.7 begin") == text.count("# packer>=1.7 end") == len(left_out)
        assert sum(part.count("\n") for part in left_out) <= 15


@pytest.mark.parametrize("name", BAD)
def test_an_impossible_value_is_refused_by_its_name(name: str, staged: Path) -> None:
    values = {**GOOD, name: BAD[name]}
    command = ["packer", "validate", *(f"-var={k}={v}" for k, v in values.items()), "."]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(staged),
        "CHECKPOINT_DISABLE": "1",
        "AWS_REGION": "x",
    }
    ended = subprocess.run(
        command, cwd=staged, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode != 0
    assert f"The {name} must " in " ".join((ended.stdout + ended.stderr).split())
