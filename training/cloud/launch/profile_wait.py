"""Wait until EC2 knows a new instance profile: some seconds as a rule, two minutes at times.

Until then EC2 answers "Invalid IAM Instance Profile name", and a fleet only notes it in its history. Packer's plugin
does the same: it asks for one machine with DryRun until EC2 knows the profile
(https://github.com/hashicorp/packer-plugin-amazon/blob/v1.8.2/common/step_iam_instance_profile.go).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..aws.aws_errors import CloudError, speaks_of_profile
from ..aws.client import Cloud
from ..aws.launch_requests import Launch
from ..console.wait_notices import WaitReporter

KNOWN_WITHIN_S = 180.0
POLL_S = 3.0
WAITING = "  waiting for EC2 to know the run's new instance profile: seconds as a rule, two minutes at times"


def is_unknown_profile(error: CloudError) -> bool:
    """Tell whether EC2 does not know an instance profile yet, or not at all."""
    return error.code.startswith("InvalidParameter") and speaks_of_profile(error.message)


def wait_for_profile(cloud: Cloud, launch: Launch, template_id: str, version: int) -> None:
    """Wait until EC2 accepts the instance profile of a launch template.

    Raises CloudError if EC2 does not know the profile after three minutes.
    """
    kind, subnet = launch.pools[0]
    request: dict[str, Any] = {
        "DryRun": True,
        "MinCount": 1,
        "MaxCount": 1,
        "LaunchTemplate": {"LaunchTemplateId": template_id, "Version": str(version)},
        "InstanceType": kind,
        "SubnetId": subnet,
    }
    until_known(cloud, lambda: _ask(cloud, request))


def until_known(cloud: Cloud, ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - what is asked for
    """Ask until EC2 knows the profile, three minutes at most, and return the answer."""
    reporter = WaitReporter(cloud)
    while True:
        try:
            return ask()
        except CloudError as error:
            if not is_unknown_profile(error):
                raise
            if reporter.waited_s >= KNOWN_WITHIN_S:
                error.next_step = (
                    f"EC2 does not know the instance profile after {KNOWN_WITHIN_S / 60:.0f} minutes: try again; "
                    "what this launch has made, the next one uses."
                )
                raise
        reporter.explain(WAITING)
        cloud.clock.sleep(POLL_S)


def _ask(cloud: Cloud, request: dict[str, Any]) -> None:
    """Ask for a machine with DryRun. "Yes" is an error too, DryRunOperation; CreateFleet reports any other refusal."""
    try:
        cloud.call("ec2", "run_instances", **request)
    except CloudError as error:
        if is_unknown_profile(error):
            raise
