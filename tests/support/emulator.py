"""moto with what AWS has and moto lacks, as AWS's documentation says it: `python -m tests.support.emulator -p PORT`.

A default network has an internet gateway and a route to it. An image of Ubuntu is an x86 image with a disk of 40 GB
that boots either way. The key of disks is AWS's own. A fleet's history begins with its request.
"""

from __future__ import annotations

from typing import Any

from moto import server
from moto.core.responses import ActionResult
from moto.ec2.models import EC2Backend
from moto.ec2.models.amis import Ami
from moto.ec2.responses import EC2Response

IMAGE_GB = 40
make_backend, make_image = EC2Backend.__init__, Ami.__init__


def complete() -> None:
    """Give moto what it lacks; more than once is once."""
    EC2Backend.__init__ = _backend  # type: ignore[method-assign]
    Ami.__init__ = _image  # type: ignore[method-assign]
    Ami.block_device_mappings = property(_disks)  # type: ignore[assignment, method-assign]
    EC2Response.get_ebs_default_kms_key_id = _disk_key  # type: ignore[attr-defined]
    EC2Response.describe_fleet_history = _fleet_history  # type: ignore[attr-defined]


def _backend(self: EC2Backend, *arguments: Any, **named: Any) -> None:
    """https://docs.aws.amazon.com/vpc/latest/userguide/default-vpc.html#default-vpc-components"""
    make_backend(self, *arguments, **named)
    gateway = self.create_internet_gateway()
    self.attach_internet_gateway(gateway.id, self.default_vpc.id)
    main = {"vpc-id": [self.default_vpc.id], "association.main": ["true"]}
    (table,) = self.describe_route_tables(filters=main)
    self.create_route(table.id, "0.0.0.0/0", gateway_id=gateway.id)


def _image(self: Ami, *arguments: Any, **named: Any) -> None:
    """https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/, and DescribeImages of one."""
    make_image(self, *arguments, **{"boot_mode": "uefi-preferred", "root_device_type": "ebs", **named})
    self.architecture = self.architecture or "x86_64"
    self.virtualization_type = self.virtualization_type or "hvm"


def _disks(self: Ami) -> list[dict[str, Any]]:
    disk = {"SnapshotId": self.ebs_snapshot.id, "VolumeSize": IMAGE_GB, "VolumeType": "gp3"}
    return [
        {
            "DeviceName": self.root_device_name,
            "Ebs": {**disk, "DeleteOnTermination": True, "Encrypted": False},
        }
    ]


def _disk_key(_: EC2Response) -> ActionResult:
    return ActionResult({"KmsKeyId": "alias/aws/ebs"})


def _fleet_history(self: EC2Response) -> ActionResult:
    name = self._get_param("FleetId")
    (fleet,) = self.ec2_backend.describe_fleets([name])
    submitted = {
        "EventType": "fleet-change",
        "EventInformation": {"EventSubType": "submitted"},
        "Timestamp": fleet.valid_from,
    }
    return ActionResult({"HistoryRecords": [submitted], "FleetId": name})


if __name__ == "__main__":
    complete()
    server.main()
