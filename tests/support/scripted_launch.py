"""A project's cloud whose services answer from a script, and an image as EC2 describes it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from tests.cloud.service_model import TruthfulStubber
from training.cloud.aws.client import Clock, Cloud
from training.config import AwsSettings

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=timezone.utc)

UBUNTU = {
    "ImageId": "ami-1",
    "State": "available",
    "Architecture": "x86_64",
    "BootMode": "uefi-preferred",
    "VirtualizationType": "hvm",
    "EnaSupport": True,
    "RootDeviceName": "/dev/sda1",
    "RootDeviceType": "ebs",
    "BlockDeviceMappings": [
        {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 40, "Encrypted": False}}
    ],
}


class Stage:
    """A cloud of the project whose services answer from a script."""

    def __init__(self, **aws: Any) -> None:
        self.cloud = Cloud(AwsSettings(**aws), lambda _: None, Clock(now=lambda: NOW, sleep=lambda _: None))
        self.stubbers: dict[str, TruthfulStubber] = {}

    def script(self, service: str) -> TruthfulStubber:
        if service not in self.stubbers:
            self.stubbers[service] = TruthfulStubber(self.cloud.client(service))
            self.stubbers[service].activate()
        return self.stubbers[service]

    def close(self) -> None:
        for stubber in self.stubbers.values():
            stubber.assert_no_pending_responses()
