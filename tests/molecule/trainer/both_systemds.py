"""Debian 11's systemd 247 and Debian 12's 252 make the same of every unit of the image; run by verify.yml.

Ubuntu 22.04's 249 is between them. What the two agree on, and what test_units.py finds known to 249, holds there too.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import testinfra
from machine import TRAINING, boot, systemd_version
from testinfra.host import Host

REPOSITORY = Path(__file__).parents[3]
TEMPLATES = REPOSITORY / "ansible/roles"
TABLE = REPOSITORY / "tests/image/systemd-directives.txt"
# Units of others that a role changes by a drop-in: compared in what the drop-in says, for their files differ.
FOREIGN = {
    "poweroff.target": ("JobTimeoutUSec", "JobTimeoutAction"),
    "cloud-init-local.service": ("OnFailure",),
    "cloud-init.service": ("OnFailure",),
    "cloud-config.service": ("OnFailure",),
    "cloud-final.service": ("OnFailure",),
}
# What a run leaves behind, not what the unit file says.
STATE = re.compile(
    r".*Timestamp(Monotonic)?|(Main|Control)PID|ExecMain.*|InvocationID|(Active|Sub|UnitFile)State|UnitFilePreset"
    r"|(Condition|Assert)?Result|Status(Text|Errno)|NRestarts|Job|ControlGroup(Id)?|NeedDaemonReload|CanClean|[UG]ID"
    r"|CPUUsageNSec|TasksCurrent|Memory(Current|Available)|IP(In|E)gress.*|IO(Read|Write)(Bytes|Operations)"
    r"|Effective.*|NFileDescriptorStore|(Last|Next)(Elapse|Trigger)?USec(Realtime|Monotonic)"
)
# Differences between 247 and 252 that are none for this image.
ACCEPTED = {
    "IOSchedulingClass": "unset either way: 252 shows the kernel's own 2 (best effort)",
    "IOSchedulingPriority": "unset either way: 252 shows the kernel's own 4",
    "SystemCallFilter": "252 knows more system calls; what training needs is tried inside the unit",
    "After": "252 orders by /tmp's mount unit where 247 does, and by what it pulls in",
    "Wants": "PrivateTmp= pulls in /tmp's mount unit from 250 on",
    "RequiresMountsFor": "247 requires /tmp's mount unit, 252 only wants it",
    "OnSuccess": "came with 249, so the image has it; tried on 252",
    "OnSuccessOf": "the other side of it",
    "OnFailureOf": "the other side of OnFailure=, shown from 249 on",
}


@pytest.fixture(scope="module")
def machines(request: pytest.FixtureRequest) -> dict[int, Host]:
    """Both machines, just booted, by the version of their systemd."""
    hosts = [testinfra.get_host(name) for name in request.config.getoption("--hosts").split(",")]
    for host in hosts:
        boot(host)
    found = {systemd_version(host): host for host in hosts}
    assert min(found) <= 249 <= max(found), "the two systemds must bracket Ubuntu's 249"
    return found


def units() -> list[str]:
    """Return the image's own units, from the templates of all roles."""
    files = sorted(TEMPLATES.glob("*/templates/etc/systemd/system/*.j2"))
    return [path.name.removesuffix(".j2") for path in files]


def changed_units() -> list[str]:
    """Return the units of others that have a drop-in; unit.d stands for the stages of cloud-init."""
    directories = {path.parent.name for path in TEMPLATES.glob("*/templates/etc/systemd/system/*.d/*.j2")}
    names = sorted(name.removesuffix(".d") for name in directories - {"unit.d"})
    return [name for name in names if name not in units()]


def properties(host: Host, unit: str) -> dict[str, str]:
    """Return what systemd made of a unit; lists sorted, the state of running commands left out."""
    shown = host.check_output(f"systemctl show --all {unit}")
    pairs = (line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return {
        name: " ".join(sorted(re.sub(r"; (start_time|next_elapse)=.*?}", "}", value).split()))
        for name, value in pairs
        if not STATE.fullmatch(name)
    }


def differences(machines: dict[int, Host], defaults: dict[int, dict[str, str]], unit: str) -> list[str]:
    """Return the properties that the two systemds see otherwise; of those that one has alone, what is no default."""
    (old, older), (new, newer) = sorted((v, properties(host, unit)) for v, host in machines.items())
    assert (older["LoadState"], newer["LoadState"]) == ("loaded", "loaded"), unit
    shared = [
        f"{unit}: {name} is {older[name]!r} on {old}, {newer[name]!r} on {new}"
        for name in sorted(older.keys() & newer.keys())
        if older[name] != newer[name] and name not in ACCEPTED
    ]
    alone = [
        f"{unit}: {name} is {seen[name]!r}, and only {version} has it"
        for version, seen, other in ((old, older, newer), (new, newer, older))
        for name in sorted(seen.keys() - other.keys())
        if seen[name] != defaults[version].get(name, seen[name]) and name not in ACCEPTED
    ]
    return shared + alone


@pytest.fixture(scope="module")
def defaults(machines: dict[int, Host]) -> dict[int, dict[str, str]]:
    """What each makes of a unit that says nothing."""
    unit = "printf '[Service]\nExecStart=/bin/true\n' >/run/systemd/system/bare.service"
    for host in machines.values():
        host.check_output(f"mkdir -p /run/systemd/system && {unit} && systemctl daemon-reload")
    return {version: properties(host, "bare.service") for version, host in machines.items()}


@pytest.mark.parametrize("unit", [*units(), *(name for name in changed_units() if name not in FOREIGN)])
def test_both_make_the_same_of(
    unit: str, machines: dict[int, Host], defaults: dict[int, dict[str, str]]
) -> None:
    """Every property that both have, and the defaults of those that one has alone."""
    assert differences(machines, defaults, unit) == []


@pytest.mark.parametrize("unit", FOREIGN)
def test_both_make_the_same_of_a_drop_in_for(unit: str, machines: dict[int, Host]) -> None:
    """Only what the drop-in says: the rest is Debian 11's and Debian 12's own."""
    seen = [[properties(host, unit)[name] for name in FOREIGN[unit]] for host in machines.values()]
    assert seen[0] == seen[1]
    assert all(value and value != "infinity" for value in seen[0])


def test_both_systemds_accept_every_unit_without_a_word(machines: dict[int, Host]) -> None:
    """Of the directives, 247 may not know OnSuccess= alone."""
    for version, host in machines.items():
        answer = host.run(f"systemd-analyze verify --man=no {' '.join([*units(), *changed_units()])}")
        words = [line for line in answer.stderr.splitlines() if version >= 249 or "'OnSuccess'" not in line]
        assert (answer.rc, words) == (0, []), f"systemd {version}"


def test_every_drop_in_is_compared(machines: dict[int, Host]) -> None:
    """A unit of others that a role begins to change is compared as a whole, or has its place in FOREIGN."""
    assert machines
    assert set(changed_units()) == {"nvidia-persistenced.service", "poweroff.target"}


@pytest.mark.parametrize(
    "unit",
    [TRAINING, "f1tenth-prefetch.service", "f1tenth-nvidia-devices.service", "nvidia-persistenced.service"],
)
def test_no_unit_that_uses_the_gpu_is_cut_off_from_devices(unit: str, machines: dict[int, Host]) -> None:
    """One DeviceAllow= would deny /dev/nvidia* whatever it allows."""
    for version, host in machines.items():
        seen = properties(host, unit)
        told = {name: seen.get(name, "") for name in ("DevicePolicy", "DeviceAllow", "PrivateDevices")}
        assert told == {"DevicePolicy": "auto", "DeviceAllow": "", "PrivateDevices": "no"}, (
            f"systemd {version}"
        )


def test_the_table_of_directives_is_what_both_systemds_say(machines: dict[int, Host]) -> None:
    """Unknown to each are exactly those that the table has as younger; a unit for each, for some values are errors."""
    for version, host in machines.items():
        for section, names in directives().items():
            kind = "timer" if section == "Timer" else "service"
            make = f"for name in {' '.join(names)}; do echo [{section}] $name= | tr ' ' '\\n' >unit-$name.{kind}; done"
            ask = "systemd-analyze verify --man=no /tmp/units/*"
            said = host.run(f"rm -rf /tmp/units && mkdir /tmp/units && cd /tmp/units && {make}; {ask}").stderr
            unknown = set(re.findall(r"Unknown key(?: name)? '(\w+)'", said))
            younger = {name for name, since in names.items() if since > version}
            assert unknown == younger, f"[{section}], systemd {version}"


def directives() -> dict[str, dict[str, int]]:
    """Return the first systemd with each directive of the sections that services and timers have."""
    table: dict[str, dict[str, int]] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            names = table.setdefault(line.strip("[]"), {})
        elif not line.startswith("#"):
            since, *words = line.split()
            names.update(dict.fromkeys(words, int(since)))
    return {section: table[section] for section in ("Unit", "Service", "Timer", "Install")}
