"""An account on moto that knows a project's image, and the launcher run against it as a user runs it."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import yaml

from tests.support.servers import CREDENTIALS
from training import layout
from training.cloud.aws.client import Clock, Cloud
from training.cloud.aws.project import Project, read_project
from training.config import AwsSettings, EndpointSettings
from training.store import documents
from training.store.manifest import fresh_nonce
from training.store.open import open_store
from training.store.retry import RetryingStorage

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"
SERVICES = tuple(EndpointSettings.model_fields)


class Done(NamedTuple):
    """How a command of the launcher ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Account(NamedTuple):
    """An AWS account for one test: a project of its own in moto, a folder to type commands in."""

    endpoint: str
    project: str
    folder: Path
    s3: str = ""  # where objects lie, if elsewhere

    @property
    def aws(self) -> AwsSettings:
        return AwsSettings.model_validate(self.settings["aws"])

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "aws": {
                "region": REGION,
                "project_name": self.project,
                "availability_zones": ["us-east-1a", "us-east-1b"],
                "instance_types": ["g4dn.xlarge", "g5.xlarge"],
                "endpoints": {**dict.fromkeys(SERVICES, self.endpoint), "s3": self.s3 or self.endpoint},
            }
        }

    @property
    def cloud(self) -> Cloud:
        return Cloud(self.aws, lambda _: None, Clock(sleep=lambda _: None))

    @property
    def scope(self) -> Project:
        return read_project(self.cloud)

    @property
    def storage(self) -> RetryingStorage:
        return open_store(self.scope.store, self.aws)

    def write_config(self, **aws: object) -> Path:
        settings = self.settings
        settings["aws"].update(aws)
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return path

    def launch(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run ./launch.py with these arguments, as a user in the project's folder would."""
        command = [sys.executable, str(ROOT / "launch.py"), *arguments]
        return subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            env={**self.environment, **(env or {})},
            timeout=300,
        )

    def launch_here(self, *arguments: str, env: dict[str, str] | None = None) -> Done:
        """Run ./launch.py in this process: what it prints, without the second that a process takes to start."""
        launch = importlib.import_module("launch")
        out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
        surroundings = mock.patch.dict(os.environ, {**self.environment, **(env or {})}, clear=True)
        with surroundings, redirect_stdout(out), redirect_stderr(err):
            os.chdir(self.folder)
            try:
                code = launch.main(list(arguments))
            finally:
                os.chdir(before)
        return Done(code, out.getvalue(), err.getvalue())

    @property
    def environment(self) -> dict[str, str]:
        """Return what a user's shell would give the launcher."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **CREDENTIALS,
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "F1TENTH_LAUNCHER": "1",
            "COLUMNS": "120",
        }

    def launch_json(self, *arguments: str) -> Any:
        done = self.launch(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def bake(self, requirements: bytes | None = None, cloud: Cloud | None = None) -> str:
        """Do what `make ami` does as far as the launcher can see: an image and its snapshot, with their tags."""
        content = (ROOT / "requirements.txt").read_bytes() if requirements is None else requirements
        cloud = cloud or self.cloud
        baked = {"RequirementsSha256": hashlib.sha256(content).hexdigest()}
        tags = read_project(cloud).tags({**baked, "ImageInterface": str(layout.IMAGE_INTERFACE)})
        image = cloud.call("ec2", "register_image", Name=f"{self.project}-{len(tags)}-{content[:4].hex()}")[
            "ImageId"
        ]
        made = cloud.call("ec2", "describe_images", ImageIds=[image])["Images"][0]["BlockDeviceMappings"]
        disks = [disk["Ebs"]["SnapshotId"] for disk in made if "Ebs" in disk]
        cloud.call("ec2", "create_tags", Resources=[image, *disks], Tags=tags)
        return str(image)


def boot(account: Account, run: str, *, steps: int, state: documents.State = "running") -> None:
    """Do what the trainer on a machine does, as far as the launcher can see."""
    store, now = account.storage, datetime.now(timezone.utc)
    row = documents.Attempt(
        number=1,
        boot_id=fresh_nonce(),
        instance_type="g4dn.xlarge",
        availability_zone="us-east-1a",
        purchase="spot",
        price_usd_per_hour=0.2,
        started_at=now - timedelta(minutes=30),
    )
    documents.begin_attempt(store, run, row)
    documents.change_attempt(store, run, row.boot_id, last_step=steps, ended_at=now, cause="done")
    documents.set_status(store, run, state, step=steps)
    store.put(layout.log_chunk_key(run, 1, 1), b"first line\n")
    store.put(layout.log_chunk_key(run, 1, 2), b"second line\n")
    store.put(layout.model_key(run, "sac", steps), b"model")
    store.put(f"{layout.report_prefix(run)}/index.html", b"report")
