"""CloudWatch: what is sent, how often, and what happens when nobody takes it."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support.servers import free_port
from training.config import AwsSettings, Config, EndpointSettings, load_config
from training.errors import ConfigurationError
from training.metrics import Metrics
from training.metrics.cloudwatch import CloudWatch, put_metric_data_request


class Clock:
    """A clock that is moved by hand."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def config(endpoint: str, *overrides: str) -> Config:
    plain = load_config(None, ["cloudwatch.enabled=true", *overrides])
    aws = AwsSettings(region="us-east-1", endpoints=EndpointSettings(cloudwatch=endpoint))
    return plain.model_copy(update={"aws": aws})


def never(text: str) -> None:
    pytest.fail(f"nothing was to be said, but: {text}")


def kept(endpoint: str, namespace: str, run: str, name: str) -> list[float]:
    """Return what the service has of a curve: per minute the number of samples and their sum."""
    client = boto3.client("cloudwatch", region_name="us-east-1", endpoint_url=endpoint)
    now = datetime.now(timezone.utc)
    answer = client.get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": "Run", "Value": run}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=7200,
        Statistics=["SampleCount", "Sum"],
    )
    points: list[dict[str, Any]] = answer["Datapoints"]
    return [sum(p["SampleCount"] for p in points), sum(p["Sum"] for p in points)]


def test_a_request_names_namespace_run_unit_and_time() -> None:
    at = datetime(2026, 11, 23, tzinfo=timezone.utc)
    request = put_metric_data_request(
        "f1tenth", "run-1", {"time/steps_per_s": 2400.0, "rollout/reward": 1.5}, at
    )
    common = {"Dimensions": [{"Name": "Run", "Value": "run-1"}], "Timestamp": at}
    assert request == {
        "Namespace": "f1tenth",
        "MetricData": [
            {"MetricName": "time/steps_per_s", "Value": 2400.0, "Unit": "Count/Second", **common},
            {"MetricName": "rollout/reward", "Value": 1.5, "Unit": "None", **common},
        ],
    }


def sender_of(config: Config, say: Callable[[str], None], clock: Clock) -> CloudWatch:
    return CloudWatch(config.cloudwatch, config.aws, "run-1", say, clock)


def test_at_most_six_metrics_can_be_asked_for() -> None:
    with pytest.raises(ConfigurationError, match=r"cloudwatch\.metrics"):
        load_config(None, ["cloudwatch.metrics=[a, b, c, d, e, f, g]"])


@pytest.mark.slow
@pytest.mark.usefixtures("credentials")
def test_the_chosen_curves_arrive_once_a_minute_with_their_newest_value(moto_server: str) -> None:
    clock = Clock()
    sender = sender_of(config(moto_server), never, clock)
    for _ in range(121):  # two minutes, a value a second
        sender.record({"rollout/reward": clock.now_s, "rollout/other": 1.0})
        sender.close()
        clock.now_s += 1.0
    assert kept(moto_server, "f1tenth", "run-1", "rollout/reward") == [3, 1000.0 + 1060.0 + 1120.0]
    assert kept(moto_server, "f1tenth", "run-1", "rollout/other") == [0, 0]


@pytest.mark.slow
@pytest.mark.usefixtures("credentials")
def test_a_run_sends_by_setting_into_the_namespace_of_the_settings(moto_server: str, tmp_path: Path) -> None:
    settings = config(moto_server, "cloudwatch.namespace=racing", "cloudwatch.metrics=[rollout/laps]")
    metrics = Metrics(settings, "run-2", tmp_path, say=never)
    metrics.record(10, {"rollout/laps": 3.0, "rollout/reward": 1.0})
    metrics.close()
    assert kept(moto_server, "racing", "run-2", "rollout/laps") == [1, 3.0]


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("fault", ["no server", "no credentials"])
def test_a_failure_is_said_once_and_the_next_minute_is_tried(
    fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if fault == "no credentials":
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    said: list[str] = []
    clock = Clock()
    sender = sender_of(config(f"http://127.0.0.1:{free_port()}"), said.append, clock)
    tries = counted(sender, monkeypatch)
    for _ in range(3):
        sender.record({"rollout/reward": 1.0})
        sender.close()
        clock.now_s += 60.0
    assert len(said) == 1
    assert said[0].startswith("CloudWatch takes no metrics")
    assert len(tries) == 3


def counted(sender: CloudWatch, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Note every request that is sent."""
    tries: list[dict[str, Any]] = []
    send: Callable[[dict[str, Any]], None] = sender._send

    def noted(request: dict[str, Any]) -> None:
        tries.append(request)
        send(request)

    monkeypatch.setattr(sender, "_send", noted)
    return tries
