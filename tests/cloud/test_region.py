"""One place says region and project: what the launcher does where a region, an account or a policy is another one."""

from __future__ import annotations

import json

from tests.cloud.amazon import ROOT, Account
from training.cloud import doctor, look, setup


# --- IAM is global: the document counts, not that there is one ---
def replace_policy(account: Account) -> None:
    """Make the machines' policy what an earlier version of the code sent."""
    older = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::another-bucket/*"}],
    }
    arn, iam = account.scope.policy_arn, account.cloud.client("iam")
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(older), SetAsDefault=True)


def test_a_policy_of_another_version_is_reported_and_mended_by_up(account: Account) -> None:
    cloud, scope = account.cloud, account.scope
    setup.apply(setup.plan(cloud, scope), lambda _: None)
    account.bake()
    assert setup.is_up(cloud, scope) == []
    replace_policy(account)
    said = f"not as this code needs it: policy {scope.project}.us-east-1.instance"
    (found,) = [one for one in doctor.examine(cloud, ROOT) if one.what == "set-up"]
    assert (found.detail, found.next_step) == (said, "./launch.py up")
    refused = account.launch("train", "--name", "race", "--yes", "--detach")
    assert refused.returncode == 1
    assert said in refused.stderr
    assert "./launch.py up" in refused.stderr
    assert look.fleets(cloud, scope) == []
    started = account.launch("train", "--up", "--name", "race", "--yes", "--detach")
    assert started.returncode == 0, started.stderr
    assert f"update  policy {scope.project}.us-east-1.instance" in started.stderr
    assert setup.is_up(cloud, scope) == []
