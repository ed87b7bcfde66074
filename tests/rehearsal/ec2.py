"""What moto's EC2 leaves out: machines that boot, fleets that replace them, ends that are kept.

moto makes instances on paper. A tick, every half second, makes them real and keeps both in step, as AWS would:
an instance that runs gets a machine; a machine that powers off terminates its instance; an instance that is terminated
loses its machine; a fleet of type maintain replaces what it lost; ValidUntil ends a fleet with its machines.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from tests.cloud.fake_aws import REGION
from tests.rehearsal.fleet_history import FleetHistory
from tests.rehearsal.machine import Machine
from tests.rehearsal.metadata import Instance
from tests.rehearsal.network import Network
from training import layout

TICK_S = 0.5
# AWS gives a machine that is terminated some time to power off before it is gone.
POWER_OFF_S = 30.0


class Ec2:
    """Machines for moto's instances. `machines` has every one that ever was, by instance id, in order."""

    def __init__(
        self, net: Network, folder: Path, *, image: str, public_key: str, say: Callable[[str], None]
    ) -> None:
        self.machines: dict[str, Machine] = {}
        # What the machines of a chaos case shall meet at once when they begin: called before anything runs in them.
        self.on_boot: Callable[[Machine], None] = lambda _: None
        self._backend: Any = ec2_backends[DEFAULT_ACCOUNT_ID][REGION]
        self._net, self._folder, self._image, self._key, self._say = net, folder, image, public_key, say
        self._to_kill: dict[str, float] = {}  # instance id → when its power goes, monotonic clock, s
        self._pressed: set[str] = set()
        self._lost: set[str] = set()
        self._removed: set[str] = set()
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ec2-tick", daemon=True)
        self.fault: str | None = None  # the traceback of a tick that failed
        self.history = FleetHistory()

    # --- what a script does ---
    def __enter__(self) -> Ec2:  # noqa: PYI034 - Self came with Python 3.11
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(60)
        for name, machine in self.machines.items():
            if name not in self._removed:
                machine.remove()

    def interrupt(self, machine: Machine, notice_s: float) -> datetime:
        """Give a machine its notice; its power goes so many seconds later."""
        with self._lock:
            self._to_kill[machine.instance.id] = time.monotonic() + notice_s
        return machine.notice(notice_s)

    def take_away(self, machine: Machine) -> None:
        """Take a machine away without a word."""
        with self._lock:
            self._to_kill[machine.instance.id] = time.monotonic()

    def lose(self, machine: Machine) -> None:
        """Count a machine as terminated and leave its power on: its fleet replaces what may come back."""
        with self._lock:
            self._lost.add(machine.instance.id)
            self._terminate(machine.instance.id)

    def reboot(self, machine: Machine) -> None:
        """Let a machine boot again, as `aws ec2 reboot-instances` does: it stays what it is, on its disk."""
        with self._lock:
            machine.reboot()

    @property
    def living(self) -> list[Machine]:
        """Return the machines that are on."""
        return [machine for machine in self.machines.values() if machine.is_on]

    def fleet_states(self) -> dict[str, str]:
        """Return fleet id → state."""
        return {fleet.id: fleet.state for fleet in self._backend.fleets.values()}

    def expire(self, fleet_id: str) -> None:
        """Let a fleet's ValidUntil be now."""
        self._backend.fleets[fleet_id].valid_until = datetime.now(timezone.utc)

    # --- the tick ---
    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            try:
                with self._lock:
                    self.tick()
            except Exception:  # noqa: BLE001 - told by whoever waits
                self.fault = traceback.format_exc()
                return

    def tick(self) -> None:
        """Bring paper and machines into step once."""
        for fleet in list(self._backend.fleets.values()):
            if fleet.state == "active" and _expired(fleet) and fleet.terminate_instances_with_expiration:
                self._say(f"EC2: {fleet.id} has reached its ValidUntil")
                fleet.state, fleet.target_capacity = "deleted_terminating", 0
            self._end_deleted(fleet)
            self._replace_lost(fleet)
            for instance in _instances(fleet):
                if instance.id not in self.machines and instance.state == "running":
                    self._boot(fleet, instance)
        for name, machine in self.machines.items():
            if name not in self._removed:
                self._follow(name, machine)

    def _end_deleted(self, fleet: Any) -> None:
        if not fleet.state.startswith("deleted"):
            return
        for instance in _instances(fleet):
            self._terminate(instance.id)
        if not any(self.machines[i.id].is_on for i in _instances(fleet) if i.id in self.machines):
            fleet.state = "deleted"

    def _replace_lost(self, fleet: Any) -> None:
        # moto takes what is terminated out of a fleet by itself, and leaves it at that.
        missing = int(fleet.target_capacity - fleet.fulfilled_capacity)
        if missing < 1 or fleet.state != "active" or fleet.fleet_type != "maintain":
            return
        if fleet.target_capacity_specification.get("DefaultTargetCapacityType") == "spot":
            fleet.create_spot_requests(missing)
        else:
            fleet.create_on_demand_requests(missing)

    def _boot(self, fleet: Any, instance: Any) -> None:
        tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
        data = _template_data(self._backend, fleet)
        profile = (data.get("IamInstanceProfile") or {}).get("Name", "")
        spot = fleet.target_capacity_specification.get("DefaultTargetCapacityType") == "spot"
        number = len(self.machines) + 1
        described = Instance(
            id=instance.id,
            type=instance.instance_type,
            zone=instance.availability_zone,
            image=instance.image_id,
            address="",
            purchase="spot" if spot else "on-demand",
            role=profile,
            tags={**tags, layout.TAG_FLEET_ID: fleet.id},
            user_data=data["UserData"].decode(),
            public_key=self._key,
        )
        machine = Machine(self._net, number, self._folder / f"machine-{number}", described, self._image)
        self.machines[instance.id] = machine
        self.history.add(fleet.id, instance.id, "launched")
        self.on_boot(machine)
        self._say(f"EC2: {instance.id} boots as machine {number} at {machine.address}")

    def _follow(self, name: str, machine: Machine) -> None:
        now = time.monotonic()
        if machine.is_on and now >= self._to_kill.get(name, now + 1):
            self._say(f"EC2: {name} is taken away")
            machine.kill()
        elif machine.is_on and name in self._lost:
            return
        elif machine.is_on and self._backend.get_instance(name).state == "terminated":
            if name not in self._pressed:
                self._pressed.add(name)
                self._to_kill.setdefault(name, now + POWER_OFF_S)
                machine.press_power()
        elif not machine.is_on:
            machine.moments()
            self._terminate(name)
            self._removed.add(name)
            machine.remove()
            self._say(f"EC2: {name} is off and terminated")

    def _terminate(self, name: str) -> None:
        self.history.ended(name)
        if self._backend.get_instance(name).state != "terminated":
            self._backend.terminate_instances([name])


def _requests(fleet: Any) -> list[Any]:
    return [*fleet.spot_requests, *fleet.on_demand_instances]


def _of(request: Any) -> Any:
    return request["instance"] if isinstance(request, dict) else request.instance


def _instances(fleet: Any) -> list[Any]:
    return [_of(request) for request in _requests(fleet)]


def _expired(fleet: Any) -> bool:
    until = fleet.valid_until
    if until is None:
        return False
    if isinstance(until, str):
        until = datetime.fromisoformat(until.replace("Z", "+00:00"))
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return datetime.now(timezone.utc) >= until


def _template_data(backend: Any, fleet: Any) -> dict[str, Any]:
    spec = fleet.launch_template_configs[0]["LaunchTemplateSpecification"]
    with suppress(KeyError):
        return dict(backend.get_launch_template(spec["LaunchTemplateId"]).get_version(spec["Version"]).data)
    raise RuntimeError(f"{fleet.id} has no launch template {spec}")
