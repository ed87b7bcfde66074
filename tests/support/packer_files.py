"""The Packer files in the form that Debian's Packer reads, and legal values of their variables."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

PACKER = Path(__file__).parents[2] / "packer"

NEWER = re.compile(r"^ *# packer>=1\.7 begin\n.*?^ *# packer>=1\.7 end\n", re.MULTILINE | re.DOTALL)

GOOD = {
    "git_sha": "0123456789abcdef",
    "requirements_sha256": "0" * 64,
    "image_interface": "2",
    "torch_version": "2.13.0",
    "driver_branch": "580",
    "builder_cidr": "192.0.2.1/32",
    "project": "f1tenth",
    "region": "us-east-2",
}


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files less what Debian's Packer does not know."""
    if shutil.which("packer") is None:
        pytest.skip("packer is not installed")
    folder = tmp_path_factory.mktemp("packer")
    for path in PACKER.glob("*.pkr.hcl"):
        (folder / path.name).write_text(NEWER.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
    return folder
