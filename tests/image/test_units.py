"""Each directive of the image's units is known to Ubuntu 22.04's systemd 249, with the meaning that 252 gives it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

IMAGE = 249
ROLES = Path(__file__).parents[2] / "ansible/roles"
TABLE = Path(__file__).with_name("systemd-directives.txt")
FETCH = ROLES / "trainer/files/usr/local/bin/f1tenth-fetch"  # writes drop-ins of its own

# What changed its meaning between 247 and 252, from the NEWS of 248 to 252 and the sources beside them: the first
# version of the new meaning and what it was before. The tests see 247 and 252, the image has 249.
CHANGED = {
    "ProtectClock": (
        252,
        "it adds DeviceAllow=char-rtc r, which denies every other device, /dev/nvidia* too",
    ),
    "ConditionKernelVersion": (252, "= and != compare versions, not strings; nothing is a glob"),
    "ConditionFirstBoot": (252, "it stays true after the first boot has completed"),
    "ConditionMemory": (252, "K, M and G are not understood"),
    "ConditionACPower": (252, "a machine without a battery may count as on battery"),
    "ConditionNeedsUpdate": (249, "units are activated in the initrd too"),
    "ConditionVirtualization": (249, "EC2 is not recognised"),
    "AssertKernelVersion": (252, "as ConditionKernelVersion"),
    "LoadCredential": (
        252,
        "ExecStartPre= sees no credential; before 251 no directories, no credential stores",
    ),
    "SetCredential": (252, "ExecStartPre= sees no credential"),
    "SystemCallFilter": (
        252,
        "@system-service lacks the newest system calls; before 251 @default lacks arch_prctl",
    ),
    "OnFailure": (251, "the unit that it starts gets no MONITOR_ variables"),
    "OnSuccess": (251, "the unit that it starts gets no MONITOR_ variables"),
    "ExecCondition": (251, "with Restart=always a condition that fails is tried for ever"),
    "RestrictNamespaces": (251, "clone3() passes the filter (some later 249.x: as in 251)"),
    "OOMPolicy": (251, "systemd-oomd does not heed it"),
    "StartupCPUWeight": (250, "it does not hold during the shutdown"),
    "StartupIOWeight": (250, "it does not hold during the shutdown"),
    "ProcSubset": (250, "pid fails together with ProtectKernelTunables= or ProtectKernelLogs="),
    "LogLevelMax": (249, "what systemd says about the unit is logged in any case"),
    "NoNewPrivileges": (249, "in a mount namespace, file systems are not mounted nosuid"),
    "MountAPIVFS": (248, "/run is not mounted"),
    "PrivateDevices": (248, "its /dev is mounted noexec"),
    "ConditionControlGroupController": (248, "v1 and v2 are not understood"),
}
# Of these, what the units use all the same.
ACCEPTED = {
    "LoadCredential": "one absolute path, and ExecStartPre= needs no credential",
    "SetCredential": "as LoadCredential=",
    "SystemCallFilter": "@system-service had arch_prctl; glibc 2.35 calls none of what came later (fchmodat2 ...)",
    "OnFailure": "the finish and the power-off unit read no MONITOR_ variable",
    "OnSuccess": "the finish unit reads no MONITOR_ variable",
    "ExecCondition": "the finish unit has no Restart=",
    "RestrictNamespaces": "weaker, not broken: threads need clone3(), which could make a user namespace",
    "NoNewPrivileges": "it takes the effect from set-user-ID files by itself",
    "PrivateDevices": "TensorBoard runs nothing from /dev",
}
# Values that came after their directive: pattern of the line, first version.
NEWER_VALUES = (
    (r"\w+=.*(?<!%)(?:%%)*%[dDqyY]", 251),  # specifiers
    (r"Type=notify-reload", 253),
    (r"CPUWeight=idle", 252),
    (r"(Runtime|State|Cache|Logs)Directory=.*:", 250),  # a symbolic link beside the directory
    (r"SystemCallFilter=.*@sandbox", 254),
    (r"(Condition|Assert)Security=(measured-uki|cvm)", 255),
    (r"PrivateTmp=disconnected", 257),
    (r"Restart=.*:", 260),
)


class Line(NamedTuple):
    """One assignment of a unit file."""

    place: str
    section: str
    directive: str
    text: str


def known() -> dict[str, dict[str, int]]:
    """Return the first systemd with each directive, by section."""
    table: dict[str, dict[str, int]] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = table.setdefault(line.strip("[]"), {})
        elif not line.startswith("#"):
            version, *names = line.split()
            section.update(dict.fromkeys(names, int(version)))
    return table


def texts() -> Iterator[tuple[str, str]]:
    """Yield path and text of all that systemd reads: unit files, drop-ins, journald.conf, drop-ins in programs."""
    for path in sorted(ROLES.glob("*/templates/etc/systemd/**/*.j2")):
        yield str(path.relative_to(ROLES)), path.read_text(encoding="utf-8")
    for number, literal in enumerate(
        re.findall(r'f?"(\[[A-Z]\w+\]\\n[^"]*)"', FETCH.read_text(encoding="utf-8"))
    ):
        yield f"{FETCH.name}, text {number + 1}", literal.replace("\\n", "\n")


def lines_of(place: str, text: str) -> Iterator[Line]:
    """Yield the assignments of one text; a line that is none of what a unit file may hold is an error."""
    section = ""
    continued = False
    for number, line in enumerate(text.splitlines(), 1):
        goes_on, continued = continued, line.endswith("\\")
        if goes_on or not line or line.startswith(("#", ";", "{#", "{%")):
            continue
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif assignment := re.match(r"(\w+)=", line):
            yield Line(f"{place}:{number}", section, assignment[1], line)
        else:
            pytest.fail(f"{place}:{number}: neither a section nor a directive: {line}")


def faults(place: str, text: str) -> list[str]:
    """Return what systemd 249 would ignore or read otherwise, each with its place."""
    table, found = known(), []
    for line in lines_of(place, text):
        what = f"{line.place}: {line.directive}= of [{line.section}]"
        since = table.get(line.section, {}).get(line.directive)
        if since is None:
            found.append(f"{what} is known to no systemd up to 255")
        elif since > IMAGE:
            found.append(f"{what} came with systemd {since}, the image has {IMAGE}")
        elif line.directive in CHANGED and line.directive not in ACCEPTED:
            version, before = CHANGED[line.directive]
            found.append(f"{what} has another meaning before systemd {version}: {before}")
        found.extend(
            f"{line.place}: the value of {line.text} came with systemd {version}, the image has {IMAGE}"
            for pattern, version in NEWER_VALUES
            if re.match(pattern, line.text)
        )
    return found


def test_systemd_249_reads_every_unit_as_252_does():
    assert [fault for place, text in texts() for fault in faults(place, text)] == []


def test_every_unit_of_every_role_is_looked_at():
    places = [place for place, _ in texts()]
    kinds = (
        "*.service.j2",
        "*.timer.j2",
        "*.conf.j2",
        "*.socket.j2",
        "*.path.j2",
        "*.mount.j2",
        "*.slice.j2",
    )
    systemd = re.compile(
        r"^\[(Unit|Service|Timer|Install|Journal|Socket|Path|Mount|Slice|Manager)\]", re.MULTILINE
    )
    files = {path for kind in kinds for path in ROLES.rglob(kind)} | set(ROLES.rglob("files/**/*"))
    units = {path for path in files if path.is_file() and systemd.search(path.read_text(encoding="utf-8"))}
    assert {str(path.relative_to(ROLES)) for path in units} <= set(places)
    assert (
        sum(place.startswith(FETCH.name) for place in places) == 2
    )  # the dead man's limit, the finish unit's


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "[Service]\nProtectClock=true",
            "unit:2: ProtectClock= of [Service] has another meaning before systemd 252",
        ),
        ("[Service]\nTTYRows=9", "TTYRows= of [Service] came with systemd 250"),
        ("[Service]\nProtectClok=true", "ProtectClok= of [Service] is known to no systemd"),
        ("[Unit]\nExecStart=/bin/true", "ExecStart= of [Unit] is known to no systemd"),
        ("ExecStart=/bin/true", "ExecStart= of [] is known to no systemd"),
        ("[Service]\nEnvironment=KEY=%d/key", "the value of Environment=KEY=%d/key came with systemd 251"),
        ("[Service]\nStateDirectory=a:b", "came with systemd 250"),
    ],
)
def test_what_249_ignores_or_reads_otherwise_is_refused_by_name(text, reason):
    (fault,) = faults("unit", text)
    assert reason in fault


def test_what_249_knows_is_accepted():
    text = "[Unit]\nOnSuccess=a.service\n[Service]\nExecStart=/bin/sh \\\n  -c 'date +%%d'\nProtectProc=invisible"
    assert faults("unit", text) == []


def test_what_is_neither_section_nor_directive_fails():
    with pytest.raises(pytest.fail.Exception, match="unit:2"):
        faults("unit", "[Service]\nProtectClock true")


def test_every_accepted_change_is_of_a_directive_in_use():
    used = {line.directive for place, text in texts() for line in lines_of(place, text)}
    assert set(ACCEPTED) <= set(CHANGED) <= set().union(*known().values())
    assert set(ACCEPTED) <= used
