"""Faults on the wire between our S3 code and a real S3 server: torn, lost, late and refused requests."""

from __future__ import annotations

import collections
import random

import pytest

from tests.store.memory import Call
from tests.store.proxy import SOCKET_FAULTS, FaultProxy, Request, fault_proxy
from tests.store.scenario import Told, begin, check, live, phases
from tests.support.servers import Bucket
from tests.support.store_faults import print_table
from training.errors import TrainingError
from training.store.open import open_store
from training.store.retry import RetryingStorage, RetryPolicy
from training.store.s3 import S3Settings, S3Storage
from training.store.storage import NotFound, Refused, Unavailable

SAMPLE = 25
SETTINGS = S3Settings(region="us-east-1", connect_timeout_s=2.0, read_timeout_s=1.0)


def through(proxy: FaultProxy, bucket: Bucket, prefix: str = "") -> S3Storage:
    return S3Storage(bucket.name, prefix, SETTINGS._replace(endpoint_url=proxy.endpoint))


def patient(storage: S3Storage) -> RetryingStorage:
    return RetryingStorage(storage, RetryPolicy(deadline_s=20.0, first_delay_s=0.01))


@pytest.mark.parametrize("fault", sorted(set(SOCKET_FAULTS) - {"412 after the work"}))
def test_one_attempt_meets_a_fault_and_names_it(weed_url: Bucket, fault: str) -> None:
    direct = through_nothing(weed_url)
    direct.put("seen", b"as it was")
    with fault_proxy(weed_url.endpoint, lambda _: fault) as proxy:
        expected = Refused if fault == "403" else Unavailable
        with pytest.raises(expected):
            through(proxy, weed_url).get("seen", max_bytes=100)
    assert direct.get("seen", max_bytes=100).data == b"as it was"


@pytest.mark.slow
@pytest.mark.parametrize("fault", sorted(set(SOCKET_FAULTS) - {"403", "412 after the work"}))
def test_a_write_that_meets_a_fault_once_is_there_in_the_end_and_whole(weed_url: Bucket, fault: str) -> None:
    body = bytes(range(256)) * 2000
    with fault_proxy(weed_url.endpoint, lambda request: fault if request.number == 0 else None) as proxy:
        patient(through(proxy, weed_url)).put("written", body)
        # A spoilt reply to a write that carries no body (an ETag in the head) may pass unharmed.
        assert len(proxy.requests) >= (1 if fault in {"torn reply", "flipped reply"} else 2)
    assert through_nothing(weed_url).get("written", max_bytes=len(body)).data == body


def test_what_one_may_not_list_is_reported_as_missing_only_if_it_is(weed_url: Bucket) -> None:
    through_nothing(weed_url).put("there", b"x")

    def forbid_reads(request: Request) -> str | None:
        return "403" if request.method == "GET" and "list-type" not in request.path else None

    with fault_proxy(weed_url.endpoint, forbid_reads) as proxy:
        with pytest.raises(NotFound):
            through(proxy, weed_url).get("not-there", max_bytes=1)
        with pytest.raises(Refused, match="AccessDenied"):
            through(proxy, weed_url).get("there", max_bytes=1)


def test_a_part_that_is_lost_is_sent_again_without_the_parts_before_it(weed_url: Bucket) -> None:
    def lose_one_part(request: Request) -> str | None:
        lost = "partNumber=2" in request.path and proxy_requests.count("2") == 0
        proxy_requests.append("2" if "partNumber=2" in request.path else request.method)
        return "lost reply" if lost else None

    proxy_requests: list[str] = []
    data = bytes(range(256)) * (16 << 12)
    with fault_proxy(weed_url.endpoint, lose_one_part) as proxy:
        settings = SETTINGS._replace(
            endpoint_url=proxy.endpoint, multipart_above=5 << 20, part_size=5 << 20, read_timeout_s=20.0
        )
        S3Storage(weed_url.name, settings=settings).put("large", data)
        parts = [request.path for request in proxy.requests if "partNumber" in request.path]
    assert [path.partition("partNumber=")[2][0] for path in parts] == ["1", "2", "2", "3", "4"]
    assert through_nothing(weed_url).get("large", max_bytes=len(data)).data == data


def through_nothing(bucket: Bucket, prefix: str = "") -> RetryingStorage:
    return open_store(f"{bucket.url}/{prefix}".rstrip("/"), bucket.aws)


def wire_matrix(server: str, bucket: Bucket, cases: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    """Spoil each request of a run's life in each way, on the wire, and print what was survived."""
    begin(through_nothing(bucket, "undisturbed"))
    with fault_proxy(bucket.endpoint, lambda _: None) as proxy:
        live(through(proxy, bucket, "undisturbed"), Told())
        requests = list(proxy.requests)
    named = [phase for phase, _ in phases(lambda calls: calls.extend(map(_as_call, requests)))]
    chosen = [(number, fault) for number in range(len(requests)) for fault in SOCKET_FAULTS]
    if cases is not None:
        chosen = random.Random(1).sample(chosen, cases)
    tried: collections.Counter[tuple[str, str]] = collections.Counter()
    for case, (number, fault) in enumerate(chosen):
        prefix = f"case-{case}"
        begin(through_nothing(bucket, prefix))
        told = Told()
        with fault_proxy(
            bucket.endpoint,
            lambda request: fault if request.number == number else None,  # noqa: B023
        ) as proxy:
            try:
                live(through(proxy, bucket, prefix), told)
            except TrainingError as error:
                told.errors.append(error)
        try:
            check(through_nothing(bucket, prefix), told)
        except Exception as error:
            raise AssertionError(f"not survived: {fault} at request {number} ({named[number]})") from error
        tried[named[number], fault] += 1
    with capsys.disabled():
        print_table(f"{server}, on the wire, {len(requests)} requests", tried)


def _as_call(request: Request) -> Call:
    key = request.path.partition("?")[0].split("/", 3)[3]
    return Call("put" if request.method == "PUT" else "get", key)


@pytest.mark.slow
def test_faults_on_the_wire_to_seaweedfs(weed_url: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    wire_matrix("seaweedfs", weed_url, SAMPLE, capsys)


@pytest.mark.torture
def test_every_fault_at_every_request_on_the_wire_to_seaweedfs(
    weed_url: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    wire_matrix("seaweedfs", weed_url, None, capsys)


@pytest.mark.torture
def test_every_fault_at_every_request_on_the_wire_to_moto(
    moto_url: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    wire_matrix("moto", moto_url, None, capsys)
