"""What the metadata service tells an instance: the tree of EC2, with listings, from the few facts that matter here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from tests.support.servers import CREDENTIALS

NOTICE = "meta-data/spot/instance-action"
REBALANCE = "meta-data/events/recommendations/rebalance"


class Instance(NamedTuple):
    """An instance as EC2 knows it."""

    id: str
    type: str
    zone: str
    image: str
    address: str
    purchase: str  # spot | on-demand
    role: str
    tags: Mapping[str, str]
    user_data: str
    public_key: str


def tree(instance: Instance, more: Mapping[str, str]) -> dict[str, str]:
    """Return path below /latest/ → text, directories included; `more` are leaves that a script adds."""
    meta = {
        "ami-id": instance.image,
        "hostname": hostname(instance.address),
        "instance-id": instance.id,
        "instance-life-cycle": instance.purchase,
        "instance-type": instance.type,
        "local-hostname": hostname(instance.address),
        "local-ipv4": instance.address,
        "placement/availability-zone": instance.zone,
        "placement/region": instance.zone[:-1],
        f"iam/security-credentials/{instance.role}": credentials(),
        **{f"tags/instance/{key}": value for key, value in instance.tags.items()},
    }
    identity = {
        "accountId": "123456789012",
        "availabilityZone": instance.zone,
        "imageId": instance.image,
        "instanceId": instance.id,
        "instanceType": instance.type,
        "region": instance.zone[:-1],
    }
    leaves = {
        **{f"meta-data/{name}": text for name, text in meta.items()},
        "dynamic/instance-identity/document": json.dumps(identity),
        **more,
    }
    return {
        **_listings(leaves),
        **leaves,
        # The one listing of another form: "index=name", which cloud-init knows.
        "meta-data/public-keys": "0=rehearsal",
        "meta-data/public-keys/0": "openssh-key",
        "meta-data/public-keys/0/openssh-key": instance.public_key,
        "user-data": instance.user_data,
    }


def hostname(address: str) -> str:
    """Return the name that EC2 gives to a machine with this address."""
    return f"ip-{address.replace('.', '-')}.ec2.internal"


def notice(at: datetime) -> str:
    """Return the interruption notice as EC2 words it."""
    return json.dumps({"action": "terminate", "time": f"{at:%Y-%m-%dT%H:%M:%SZ}"})


def rebalance(at: datetime) -> str:
    """Return the rebalance recommendation as EC2 words it."""
    return json.dumps({"noticeTime": f"{at:%Y-%m-%dT%H:%M:%SZ}"})


def credentials() -> str:
    """Return a role's credentials, as the S3 server checks them.

    A session token it would check as well, against roles of its own that it does not have: so it is empty, which
    botocore does not send.
    """
    until = datetime.now(timezone.utc) + timedelta(hours=6)
    return json.dumps(
        {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": CREDENTIALS["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            "Token": "",
            "LastUpdated": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
            "Expiration": f"{until:%Y-%m-%dT%H:%M:%SZ}",
        }
    )


def _listings(leaves: Mapping[str, str]) -> dict[str, str]:
    children: dict[str, set[str]] = {"meta-data": {"public-keys/"}}
    for path in leaves:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            is_leaf = depth == len(parts) - 1
            children.setdefault("/".join(parts[:depth]), set()).add(parts[depth] + ("" if is_leaf else "/"))
    return {path: "\n".join(sorted(names)) for path, names in children.items()}
