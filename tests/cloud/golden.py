"""The documents that are sent to AWS, as texts to look at: `python -m tests.cloud.golden` writes them anew."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from training.cloud.aws import iam_policies, launch_requests, project_resources
from training.cloud.aws.bake_policy import bake_policy
from training.cloud.aws.launch_requests import Launch
from training.cloud.aws.project import Project
from training.config import AwsSettings

FOLDER = Path(__file__).with_name("golden")
SCOPE = Project("f1tenth", "123456789012", "us-east-2", "f1tenth-123456789012-us-east-2")
AWS = AwsSettings(volume_size_gb=60, key_pair_name="laptop")
LAUNCH = Launch(
    run="lap-record",
    number=1,
    owner="kim@laptop",
    image_id="ami-0123456789abcdef0",
    security_group_id="sg-0123456789abcdef0",
    bundle_sha256="ab" * 32,
    training_type="sac",
    instance_types=("g4dn.xlarge", "g5.xlarge"),
    pools=(("g4dn.xlarge", "subnet-a"), ("g4dn.xlarge", "subnet-b"), ("g5.xlarge", "subnet-b")),
    valid_until=datetime(2026, 12, 1, 18, 0, tzinfo=timezone.utc),
    hours=4.97,
    price_cap_usd_per_hour=1.006,
    keep_on_failure_s=1800,
)


class Golden(NamedTuple):
    """A file's name and the text it should hold."""

    name: str
    text: str


def documents_by_name() -> dict[str, Any]:
    """Return every document that the launcher sends for one project and one run."""
    return {
        "instance_trust": iam_policies.instance_trust(),
        "instance_policy": iam_policies.instance_policy(SCOPE),
        "daily_policy": iam_policies.daily_policy(SCOPE),
        "setup_policy": iam_policies.setup_policy(SCOPE),
        "bake_policy": bake_policy(SCOPE),
        "create_bucket": project_resources.create_bucket(SCOPE),
        "bucket_settings": project_resources.bucket_settings(SCOPE, accelerate=True),
        "bucket_settings_shared": project_resources.bucket_settings(SCOPE, accelerate=True, shared=True),
        "create_policy": project_resources.create_policy(SCOPE),
        "create_security_group": project_resources.create_security_group(SCOPE, "vpc-0123456789abcdef0"),
        "ingress": project_resources.ingress("203.0.113.7"),
        "create_log_group": project_resources.create_log_group(SCOPE),
        "create_role": project_resources.create_role(SCOPE, LAUNCH.run),
        "create_instance_profile": project_resources.create_instance_profile(SCOPE, LAUNCH.run),
        "launch_template": launch_requests.launch_template(SCOPE, AWS, LAUNCH),
        "fleet_spot": launch_requests.fleet_request(SCOPE, LAUNCH, "lt-0123456789abcdef0", 1),
        "fleet_on_demand_once": launch_requests.fleet_request(
            SCOPE, LAUNCH._replace(market="on-demand", relaunch=False), "lt-0123456789abcdef0", 1
        ),
    }


def everything() -> list[Golden]:
    """Return the documents as the texts that the folder should hold."""
    texts = [
        Golden(f"{name}.json", json.dumps(data, indent=1, default=str) + "\n")
        for name, data in documents_by_name().items()
    ]
    return [*texts, Golden("user_data.sh", launch_requests.user_data(SCOPE, AWS, LAUNCH))]


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for document in everything():
        (FOLDER / document.name).write_text(document.text, encoding="utf-8")
