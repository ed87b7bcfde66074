"""Notices are read from a real metadata server, whatever it does in between."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone

import pytest

from tests.support.fake_imds import FakeImds
from training.instance.imds import Imds, ImdsError, Notice, Watcher, read_notices
from training.run.stop_request import MARGIN_S, StopRequest

SPOT, REBALANCE = "meta-data/spot/instance-action", "meta-data/events/recommendations/rebalance"
MAINTENANCE = "meta-data/events/maintenance/scheduled"


@pytest.fixture
def server():
    with FakeImds() as fake:
        yield fake


@pytest.fixture
def imds(server) -> Imds:
    return Imds(endpoint=server.url)


def test_no_notice_is_a_404(imds):
    """Nothing announced, nothing read."""
    assert read_notices(imds) == []


def test_all_three_kinds_are_read(server, imds):
    """Interruption with its time, rebalance recommendation, active maintenance; completed maintenance is history."""
    server.paths[SPOT] = '{"action": "terminate", "time": "2026-11-23T12:02:00Z"}'
    server.paths[REBALANCE] = '{"noticeTime": "2026-11-23T11:00:00Z"}'
    server.paths[MAINTENANCE] = json.dumps(
        [
            {"Code": "system-reboot", "State": "active", "NotBefore": "21 Jan 2027 09:00:43 GMT"},
            {"Code": "system-reboot", "State": "completed", "NotBefore": "21 Jan 2020 09:00:43 GMT"},
        ]
    )
    interruption, rebalance, maintenance = read_notices(imds)
    assert interruption == Notice(
        "interruption", "terminate", datetime(2026, 11, 23, 12, 2, tzinfo=timezone.utc)
    )
    assert rebalance.kind == "rebalance"
    assert maintenance == Notice(
        "maintenance", "system-reboot", datetime(2027, 1, 21, 9, 0, 43, tzinfo=timezone.utc)
    )


def test_one_token_serves_many_questions(server, imds):
    """A token is asked for once, not at each poll."""
    for _ in range(5):
        read_notices(imds)
    assert sum(line.startswith("PUT") for line in server.log) == 1


def test_an_expired_token_is_renewed_at_once(server, imds):
    """A 401 leads to a new token and the answer, not to an error."""
    imds.get(SPOT)
    server.tokens.clear()
    server.paths[SPOT] = '{"action": "terminate", "time": "2026-11-23T12:02:00Z"}'
    assert read_notices(imds)[0].action == "terminate"
    assert sum(line.startswith("PUT") for line in server.log) == 2


def test_a_server_that_is_not_there_is_an_error_within_seconds():
    """Every call has a time limit."""
    began = time.monotonic()
    with pytest.raises(ImdsError, match=r"127\.0\.0\.1:9"):
        read_notices(Imds(endpoint="http://127.0.0.1:9"))
    assert time.monotonic() - began < 30  # a bound, not a measurement: without time limits it would hang


def test_the_watcher_tells_each_notice_once_and_survives_everything(server, imds):
    """500s, broken JSON and a listener that raises are said once; the notice behind them is still told."""
    told, said = [], []

    def listen(notice: Notice) -> None:
        told.append(notice)
        raise RuntimeError("the listener is broken")

    watcher = Watcher(imds, listen, said.append)
    server.broken = 2
    watcher.look()
    watcher.look()
    server.paths[SPOT] = "{not json"
    watcher.look()
    assert len(said) == 1
    server.paths[SPOT] = '{"action": "stop", "time": "2026-11-23T12:02:00Z"}'
    watcher.look()
    watcher.look()
    assert [notice.action for notice in told] == ["stop"]
    assert said[-1] == "spot notices can be read again"


@pytest.mark.parametrize("ahead_s", [-3600.0, 0.0, 3600.0])
def test_a_wrong_clock_of_the_machine_leaves_the_time_of_a_notice_as_it_is(server, imds, ahead_s):
    """The service dates its answers by the clock that dated the notice; the deadline is reckoned by that."""
    server.ahead_s = ahead_s
    stop = StopRequest()
    at = datetime.now(timezone.utc) + timedelta(seconds=ahead_s + 100)
    server.paths[SPOT] = f'{{"action": "terminate", "time": "{at:%Y-%m-%dT%H:%M:%SZ}"}}'
    (notice,) = read_notices(imds)
    stop.on_notice(notice, imds.now())
    assert stop.deadline == pytest.approx(time.monotonic() + 100 - MARGIN_S, abs=3)


def test_no_notice_leaves_more_than_the_two_minutes_that_aws_gives():
    """Where the service does not date its answers, a clock that is slow cannot make the last save late."""
    stop = StopRequest()
    stop.on_notice(Notice("interruption", "terminate", datetime.now(timezone.utc) + timedelta(hours=1)))
    assert stop.deadline <= time.monotonic() + 120 - MARGIN_S


def test_a_notice_leaves_until_its_time_less_a_margin():
    """The request to stop carries the deadline of the final save."""
    stop = StopRequest()
    at = datetime.now(timezone.utc) + timedelta(seconds=100)
    stop.on_notice(Notice("rebalance", "", None))
    assert stop.reason is None
    assert stop.save_now.is_set()
    stop.on_notice(Notice("interruption", "terminate", at))
    assert stop.cause == "interrupted"
    assert stop.deadline == pytest.approx(time.monotonic() + 100 - MARGIN_S, abs=2)
    stop.request_stop("SIGTERM", "terminated")
    assert stop.cause == "interrupted"
