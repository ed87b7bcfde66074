"""Object stores for tests: moto's emulator and seaweedfs, a real S3 server; each started once a session.

    def test_x(weed_url: Bucket): open_store(weed_url.url, weed_url.aws)

Both fixtures give a bucket of their own to each test; tests/conftest.py offers them everywhere.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from training.config import AwsSettings

START_TIMEOUT_S = 120.0
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",  # pragma: allowlist secret
    "AWS_DEFAULT_REGION": "us-east-1",
    # A test must never ask the machine's own metadata service for credentials.
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Bucket(NamedTuple):
    """A fresh bucket on a local server."""

    endpoint: str
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def aws(self) -> AwsSettings:
        from training.config import AwsSettings, EndpointSettings

        return AwsSettings(region="us-east-1", endpoints=EndpointSettings(s3=self.endpoint))


def free_port(*, also_above: int = 0) -> int:
    """Return a port that is free now, and whose neighbour `also_above` higher is free as well."""
    for _ in range(200):
        with socket.socket() as probe, socket.socket() as neighbour:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            if not also_above:
                return port
            if port + also_above > 65_535:
                continue
            with contextlib.suppress(OSError):
                neighbour.bind(("127.0.0.1", port + also_above))
                return port
    raise RuntimeError("no free ports on 127.0.0.1")


def wait_for_http(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers anything at all; a failed start shows the end of its log."""
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own http address
        except urllib.error.HTTPError as error:
            error.close()  # an answer is an answer
        except OSError:
            time.sleep(0.1)
            continue
        return
    raise RuntimeError(f"{url} did not come up; the end of its log:\n{log.read_text()[-3000:]}")


@contextlib.contextmanager
def running(command: list[str], url: str, folder: Path, env: dict[str, str] | None = None) -> Iterator[str]:
    """Run a server for a `with` block and end it, and only it, afterwards."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            # A test run that is killed takes its servers with it.
            ["setpriv", "--pdeathsig", "KILL", *command],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
        try:
            wait_for_http(url, process, log)
            yield url
        finally:
            process.kill()  # nothing that it holds is kept
            process.wait()


def fresh_bucket(endpoint: str) -> Bucket:
    """Make a bucket with a name of its own."""
    bucket = Bucket(endpoint, f"test-{secrets.token_hex(8)}")
    raw_client(endpoint).create_bucket(Bucket=bucket.name)
    return bucket


@functools.lru_cache
def raw_client(endpoint: str):
    """Return a plain boto3 client, to look at a bucket past our own code."""
    import boto3  # half a second that most tests need not pay
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test credentials that no real account knows, and keep the user's own out of it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run moto's server for the session; yield its address."""
    port = free_port()
    folder = tmp_path_factory.mktemp("moto")
    command = [sys.executable, "-m", "tests.support.emulator", "-H", "127.0.0.1", "-p", str(port)]
    env = {**CREDENTIALS, "PYTHONPATH": str(Path(__file__).parents[2])}
    with running(command, f"http://127.0.0.1:{port}", folder, env) as url:
        yield url


@contextlib.contextmanager
def weed(folder: Path) -> Iterator[str]:
    """Run seaweedfs with its S3 gateway (about 20 s to start) for a `with` block; yield its address."""
    program = Path(sys.executable).with_name("weed")
    # Its gRPC ports lie 10,000 above the HTTP ones.
    ports = {name: free_port(also_above=10_000) for name in ("master", "volume", "filer", "s3")}
    command = [
        str(program),
        "server",
        "-s3",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=512",
        "-volume.max=2000",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *(f"-{name}.port={port}" for name, port in ports.items()),
    ]
    env = {
        **CREDENTIALS,
        "WEED_S3_SSE_KEY": secrets.token_hex(32),
        # Each bucket has volumes of its own: one instead of seven, or it runs out of them.
        "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
    }
    try:
        with running(command, f"http://127.0.0.1:{ports['s3']}", folder, env) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # hundreds of megabytes that nobody looks at again


@pytest.fixture(scope="session")
def weed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run seaweedfs for the session; yield its address."""
    with weed(tmp_path_factory.mktemp("weed")) as url:
        yield url


@pytest.fixture
def moto_url(moto_server: str, credentials: None) -> Bucket:  # noqa: ARG001 - for its effect
    """Give a fresh bucket on moto."""
    return fresh_bucket(moto_server)


@pytest.fixture
def weed_url(weed_server: str, credentials: None) -> Bucket:  # noqa: ARG001 - for its effect
    """Give a fresh bucket on seaweedfs."""
    return fresh_bucket(weed_server)
