"""The count that needs no bucket: a fleet whose machines all end soon and report nothing is deleted by the third."""

from __future__ import annotations

import email.utils
import importlib.machinery
import importlib.util
import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest

from tests.cloud.service_model import TruthfulStubber
from tests.support.fake_imds import FakeImds
from training.instance import attempt_limit
from training.store.retry import RetryPolicy

SOURCE = Path(__file__).parents[2] / "ansible/roles/trainer/files/usr/local/bin/f1tenth-fleet-check"
FLEET = "fleet-73fbd2ce-aa30-494c-8788-1cee4EXAMPLE"
BEGAN = datetime(2026, 11, 26, 10, 0, tzinfo=timezone.utc)
BOOT_MIN = 4.0  # how long this machine has been up


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Give the program on a machine of a fleet, the last that its history knows."""
    loader = importlib.machinery.SourceFileLoader("f1tenth_fleet_check", str(SOURCE))
    made = importlib.util.module_from_spec(importlib.util.spec_from_loader("f1tenth_fleet_check", loader))  # type: ignore[arg-type]
    loader.exec_module(made)
    with FakeImds() as server:
        server.paths["meta-data/tags/instance/aws:ec2:fleet-id"] = FLEET
        server.paths["meta-data/placement/region"] = "us-east-2"
        monkeypatch.setattr(made, "IMDS", f"{server.url}/latest")
        made.server = server  # type: ignore[attr-defined]
        monkeypatch.setattr(made, "UPTIME", tmp_path / "uptime")
        be_up_for(made, BOOT_MIN)
        yield made


def be_up_for(check: ModuleType, minutes: float) -> None:
    check.UPTIME.write_text(f"{60 * minutes:.2f} 12.34\n")


def event(number: int, kind: str, minute: float, event_type: str = "instance-change") -> dict[str, Any]:
    return {
        "EventType": event_type,
        "EventInformation": {"EventSubType": kind, "InstanceId": f"i-{number}"},
        "Timestamp": BEGAN + timedelta(minutes=minute),
    }


def lives(*minutes: float, told: bool = True, pause: float = 1.0) -> list[dict[str, Any]]:
    """Return the history of machines that lived so long, one after the other, and of this one, which is up.

    told: whether EC2 tells of their ends. pause: until the fleet has launched the next, min.
    """
    begins = itertools.accumulate((each + pause for each in minutes), initial=0.0)
    events = []
    for number, (begin, life) in enumerate(zip(begins, (*minutes, None), strict=True), 1):
        events.append(event(number, "launched", begin))
        if told and life is not None:
            events.append(event(number, "terminated", begin + life))
    return events


def run(
    check: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    *pages: list[dict[str, Any]],
    up_min: float | None = BOOT_MIN,
) -> bool:
    """Run the program against a history in pages; return whether it deleted its fleet.

    up_min: since this machine's launch by the date of EC2's answers; None: they have none.
    """
    begins = [
        one["Timestamp"]
        for page in pages
        for one in page
        if one["EventInformation"]["EventSubType"] == "launched"
    ]
    meta: dict[str, Any] = {}
    if up_min is not None:
        now = max(begins, default=BEGAN) + timedelta(minutes=up_min)
        meta = {"ResponseMetadata": {"HTTPHeaders": {"date": email.utils.format_datetime(now, usegmt=True)}}}
    last = sum(one["EventInformation"]["EventSubType"] == "launched" for page in pages for one in page)
    check.server.paths["meta-data/instance-id"] = f"i-{last}"
    client = boto3.client("ec2", region_name="us-east-2", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106 # pragma: allowlist secret
    monkeypatch.setattr(check.boto3, "client", lambda *_, **__: client)
    with TruthfulStubber(client) as stubber:
        asked = {"FleetId": FLEET, "StartTime": check.SINCE}
        for number, page in enumerate(pages, 1):
            more = {} if number == len(pages) else {"NextToken": f"page {number + 1}"}
            token = {} if number == 1 else {"NextToken": f"page {number}"}
            stubber.add_response(
                "describe_fleet_history", {"HistoryRecords": page, **more, **meta}, {**asked, **token}
            )
        deletion = {"FleetIds": [FLEET], "TerminateInstances": True}
        stubber.add_response("delete_fleets", {}, deletion)
        assert check.main() == 0
        return not stubber._queue


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    ("minutes", "deleted"),
    [
        ((), False),
        ((8,), False),
        ((8, 8), True),
        ((7, 28, 8), True),
        ((8, 31), False),  # the one before this lived long: it may have trained
        ((31, 8), False),
        ((300, 8, 8), True),
        ((8, 8, 300), False),
        ((8, 8, 8, 8, 8), True),
    ],
)
def test_the_third_machine_in_a_row_that_ends_soon_deletes_the_fleet(
    check: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    minutes: tuple[float, ...],
    *,
    deleted: bool,
    told: bool,
) -> None:
    """Whether EC2 tells of the ends, or only of the next machine's launch; a long life before them resets the count."""
    assert run(check, monkeypatch, lives(*minutes, told=told)) == deleted


def test_a_machine_that_was_up_for_long_deletes_nothing(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have saved a checkpoint before the bucket was gone: the next machine may do so again."""
    assert not run(check, monkeypatch, lives(8, 8, 8), up_min=31)


@pytest.mark.parametrize(("up_min", "deleted"), [(BOOT_MIN, True), (31, False)])
def test_where_an_answer_has_no_date_the_uptime_counts(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, up_min: float, *, deleted: bool
) -> None:
    be_up_for(check, up_min)
    assert run(check, monkeypatch, lives(8, 8, 8), up_min=None) is deleted


def test_the_uptime_of_a_container_which_is_its_hosts_does_not_count(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_up_for(check, 5000)
    assert run(check, monkeypatch, lives(8, 8, 8))


def test_an_hour_without_capacity_is_no_machines_life_where_its_end_is_told(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(check, monkeypatch, lives(8, 8, pause=60))


def test_a_history_of_several_pages_is_read_whole_in_any_order(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = lives(8, 8)
    assert run(check, monkeypatch, events[3:], events[:3])


def test_events_of_the_fleet_and_of_capacity_are_no_machines(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = {"EventSubType": "launchSpecTemporarilyBlacklisted", "EventDescription": "no Spot capacity"}
    error = {"EventType": "service-error", "EventInformation": about, "Timestamp": BEGAN}
    assert not run(check, monkeypatch, [error] * 5 + lives(8))


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "InternalError"])
def test_a_history_that_cannot_be_read_deletes_nothing_and_says_so(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    check.server.paths["meta-data/instance-id"] = "i-3"
    client = boto3.client("ec2", region_name="us-east-2", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106 # pragma: allowlist secret
    monkeypatch.setattr(check.boto3, "client", lambda *_, **__: client)
    with TruthfulStubber(client) as stubber:
        stubber.add_client_error("describe_fleet_history", code)
        assert check.main() == 1
    assert "the fleet continues until its end date" in capsys.readouterr().err


def test_without_a_metadata_service_it_ends_soon_and_says_so(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is known of the fleet then: the power-off alone follows."""
    monkeypatch.setattr(check, "IMDS", "http://127.0.0.1:9/latest")
    assert check.main() == 1
    assert "cannot be read" in capsys.readouterr().err


def test_the_limit_is_longer_than_any_life_that_the_bucket_does_not_hear_of(check: ModuleType) -> None:
    """Boot and fetch, five starts whose store gives up, their pauses, the finish: by the limits of the image."""
    defaults = (SOURCE.parents[4] / "defaults/main.yml").read_text()
    values = dict(
        line.split(": ") for line in defaults.splitlines() if line.startswith("trainer_") and ": " in line
    )
    boot_s, store_s = 120, RetryPolicy().deadline_s + 20
    starts = int(values["trainer_restarts_per_hour"]) + 1
    tries_s = starts * (store_s + int(values["trainer_restart_delay_s"]))
    assert boot_s + tries_s + int(values["trainer_finish_timeout_s"]) < check.SHORT_LIFE_S
    assert check.MOST_MACHINES == attempt_limit.MAX_STARTS_WITHOUT_PROGRESS
