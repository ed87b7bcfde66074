"""The market that the builder is asked for; run by `make ami-rehearsal`. The bakes of the others ask for spot."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import image_builder

if TYPE_CHECKING:
    from pathlib import Path


def test_on_demand_by_variable_asks_for_no_spot_machine(tmp_path: Path) -> None:
    """Stopped early, by a builder that does not answer (192.0.2.0/24 is nobody's): the request is what counts."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    nobody = image_builder.Builder("nobody", "192.0.2.7", key)
    with image_builder.emulator(tmp_path) as address:
        built = image_builder.packer_build(
            nobody, address, tmp_path, "-var=build_capacity=on-demand", "-var=ssh_timeout=3s"
        )
        asked = image_builder.requests(address)
        left = image_builder.leftovers(address)
    assert "Timeout waiting for SSH" in built.output, built.output[-4000:]
    actions = [request["Action"] for request in asked]
    assert actions.count("RunInstances") == 1
    assert not {"CreateFleet", "RequestSpotInstances"} & set(actions)
    (run,) = (request for request in asked if request["Action"] == "RunInstances")
    assert run["InstanceType"] == "c6i.xlarge"
    assert not [name for name in run if name.startswith("InstanceMarketOptions")]
    assert left == {}
