"""A network for the machines of a rehearsal: one bridge, and a namespace with an address of its own for each machine.

The namespaces lead nowhere but to this computer, so nothing that runs in a machine can reach the internet.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

# In every name, so that what a killed rehearsal left can be told from what a living one uses: `f1r<pid>-…`.
PREFIX = "f1r"
IMDS_ADDRESS = "169.254.169.254"


class Network(NamedTuple):
    """A bridge on this computer; `address` is where the machines find the services."""

    bridge: str
    subnet: str  # its first three numbers

    @property
    def address(self) -> str:
        return f"{self.subnet}.1"


def ip(*arguments: str, check: bool = True) -> str:
    """Run `ip` and return what it prints."""
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Make a bridge with a free subnet for a `with` block."""
    made = Network(f"{PREFIX}{os.getpid()}", _free_subnet())
    ip("link", "add", made.bridge, "type", "bridge")
    try:
        ip("addr", "add", f"{made.address}/24", "dev", made.bridge)
        ip("link", "set", made.bridge, "up")
        yield made
    finally:
        ip("link", "delete", made.bridge, check=False)


def add_namespace(net: Network, number: int) -> tuple[str, str]:
    """Make a namespace on the bridge; return its name and address. The metadata address is on its loopback."""
    name, outside = f"{net.bridge}-{number}", f"{net.bridge}v{number}"
    address = f"{net.subnet}.{10 + number}"
    ip("netns", "add", name)
    ip("-n", name, "link", "set", "lo", "up")
    ip("-n", name, "addr", "add", f"{IMDS_ADDRESS}/32", "dev", "lo")
    ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("link", "set", outside, "master", net.bridge, "up")
    ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
    ip("-n", name, "link", "set", "eth0", "up")
    return name, address


def delete_namespace(name: str) -> None:
    """Delete a namespace; its end of the cable goes with it, and so the other."""
    ip("netns", "delete", name, check=False)


def namespaces() -> list[str]:
    """Return the namespaces of all rehearsals."""
    rows = json.loads(ip("-json", "netns", "list") or "[]")
    return [row["name"] for row in rows if row["name"].startswith(PREFIX)]


def bridges() -> list[str]:
    """Return the bridges of all rehearsals."""
    rows = json.loads(ip("-json", "link", "show", "type", "bridge") or "[]")
    return [row["ifname"] for row in rows if row.get("ifname", "").startswith(PREFIX)]


def owner_pid(name: str) -> int | None:
    """Return the process that a name says it belongs to."""
    digits = name.removeprefix(PREFIX).partition("-")[0]
    return int(digits) if digits.isdigit() else None


def _free_subnet() -> str:
    routes = ip("-4", "route", "show")
    for _ in range(100):
        subnet = f"10.213.{secrets.randbelow(256)}"
        if f"{subnet}.0/24" not in routes:
            return subnet
    raise RuntimeError("no free 10.213.x.0/24 on this computer")
