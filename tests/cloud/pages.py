"""docs/permissions.md and docs/commands.md, written from the code: `python -m tests.cloud.pages`."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

from typer.testing import CliRunner

from training.cloud.aws import iam_bucket, iam_policies
from training.cloud.aws.bake_policy import bake_policy
from training.cloud.aws.project import Project

DOCS = Path(__file__).parents[2] / "docs"
# Stand-ins that a reader replaces.
SCOPE = Project("f1tenth", "111122223333", "us-east-2", "f1tenth-111122223333-us-east-2")

PERMISSIONS = """\
# Permissions

Written from `training/cloud/aws/iam_policies.py` and `training/cloud/aws/` by `python -m tests.cloud.pages`;
`./launch.py doctor --policy` prints the policies of people with your own account, region and bucket in them, and, where a
role is logged in, with what differs for roles. Here stand account 111122223333, region us-east-2, project f1tenth, a user.

To give them: `./launch.py doctor --policy --out policies` writes a file each and prints the commands of the AWS CLI that
create a managed policy from it and attach it; or IAM console → Policies → Create policy → JSON, then attach it. (They
are too long for inline policies.) Who only trains needs the first; who runs `up` and `down` the second as well; who runs
`make ami` the third, which needs no other beside it. Where the settings name a KMS key (`aws.kms_key`,
`aws.s3_kms_key_arn`), `doctor --policy` has a policy more, for that key alone.

Machines get a role of their own for each run, made by `train`, tagged with the run's name, under the path
`/f1tenth/us-east-2/`. All these roles carry one policy, the fourth, which speaks of that tag: a machine reaches its own
run and no other's, deletes nothing, starts nothing, and can end only its own fleet.

How they are checked: the tests write down every call that the launcher, `make ami` and the machine's programs make
(`tests/cloud/recorded_calls.json`), and ask a simulator of IAM for each, on every resource type that IAM's service
reference requires. All are allowed, and without any one action of a policy one is denied. The calls of other programs
are taken from their documentation (`tests/cloud/documented_calls.py`): those of the AWS CLI's sessions, of the agents on
the machine, and of Packer's plugin 1.8.2, which is read from its source. That plugin cannot be run here; Debian's Packer
1.6.6 is, and makes the same calls. Nobody has tried the policies on AWS yet.

A Weights & Biases key that you encrypt with a KMS key of your own, instead of SSM's `aws/ssm`, needs `kms:Decrypt` on it
for the machines: add it to the key's policy.
"""
PARTS = {
    "To train, watch, stop and fetch": iam_policies.daily_policy,
    "To set up and take down, beside the first": iam_policies.setup_policy,
    "To bake images": bake_policy,
    "What a machine may do": iam_policies.instance_policy,
    "Who comes to the bucket without TLS is refused": iam_bucket.bucket_policy,
}
COMMANDS = """\
# Commands of the launcher

Written from `launch.py` by `python -m tests.cloud.pages`. Every command may be repeated. Exit codes: 0 done, 1 AWS
error or failed run, 2 usage or configuration error, 130 Ctrl-C. Settings: `config.example.yaml`.
"""


def permissions() -> str:
    """Return the text of docs/permissions.md."""
    parts = [
        f"## {title}\n\n```json\n{json.dumps(policy(SCOPE), indent=2)}\n```\n"
        for title, policy in PARTS.items()
    ]
    return "\n".join([PERMISSIONS, *parts])


def commands() -> str:
    """Return the text of docs/commands.md: every command's own help."""
    launch = importlib.import_module("launch")
    runner = CliRunner()
    names = [command.name or command.callback.__name__ for command in launch.app.registered_commands]
    os.environ.update(COLUMNS="110", TERMINAL_WIDTH="110", NO_COLOR="1", TERM="dumb")
    parts = []
    for name in names:
        text = runner.invoke(launch.app, [name, "--help"], prog_name="./launch.py").output
        body = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
        parts.append(f"## {name}\n\n```\n{body}\n```\n")
    return "\n".join([COMMANDS, *parts])


PAGES = {"permissions.md": permissions, "commands.md": commands}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (DOCS / page).write_text(text(), encoding="utf-8")
