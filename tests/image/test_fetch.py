"""The script that user data calls, against an emulated S3: limits first, then bundle, then the unit."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import io
import json
import tarfile
from pathlib import Path
from types import ModuleType

import boto3
import pytest
from moto import mock_aws

from training.store import documents
from training.store.open import open_store

SOURCE = Path(__file__).parents[2] / "ansible/roles/trainer/files/usr/local/bin/f1tenth-fetch"
REQUIREMENTS = b"numpy==2.2.6\n"
EPOCH_S = 1577836800


class Machine:
    """Places of the instance below a temporary directory, and what systemctl was asked."""

    def __init__(self, fetch: ModuleType, root: Path) -> None:
        self.fetch = fetch
        self.asked: list[str] = []
        self.fleet_deleted = False
        self.places = fetch.Places(root / "run", root / "home", root / "units", root / "image.json")
        for place in (self.places.run, self.places.home):
            place.mkdir()
        facts = {"requirements_sha256": hashlib.sha256(REQUIREMENTS).hexdigest(), "interface": "2"}
        self.places.image_facts.write_text(json.dumps(facts))
        self.run_env(
            "F1TENTH_RUN=lap-record\nF1TENTH_STORE=s3://bucket\nAWS_DEFAULT_REGION=us-east-1\n"
            "F1TENTH_MAX_HOURS=3\nF1TENTH_KEEP_ON_FAILURE_S=1800\n"
        )

    def run_env(self, text: str) -> None:
        (self.places.run / "run.env").write_text(text)

    def drop_in(self, unit: str) -> str:
        return (self.places.units / f"{unit}.d" / "50-run.conf").read_text()

    def fetch_bundle(self, url: str) -> int:
        return int(self.fetch.main([url]))

    def delete_fleet(self) -> None:
        self.fleet_deleted = True


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    loader = importlib.machinery.SourceFileLoader("f1tenth_fetch", str(SOURCE))
    fetch = importlib.util.module_from_spec(importlib.util.spec_from_loader("f1tenth_fetch", loader))  # type: ignore[arg-type]
    loader.exec_module(fetch)
    made = Machine(fetch, tmp_path)
    monkeypatch.setattr(fetch, "Places", lambda: made.places)
    monkeypatch.setattr(fetch, "systemctl", lambda *words: made.asked.append(" ".join(words)))
    monkeypatch.setattr(fetch, "delete_own_fleet", made.delete_fleet)
    monkeypatch.setattr(fetch, "RETRY_DELAY_S", 0)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("F1TENTH_RUN", "F1TENTH_STORE", "F1TENTH_MAX_HOURS", "F1TENTH_KEEP_ON_FAILURE_S"):
        monkeypatch.setenv(name, "")  # so that what the script sets is taken back
    return made


def bundle(files: dict[str, bytes]) -> bytes:
    """Return a tar.gz of the files, with the times of a code bundle."""
    files = {"training/layout.py": b"IMAGE_INTERFACE = 2\n", **files}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), EPOCH_S
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def upload(content: bytes, name: str | None = None) -> str:
    """Put a bundle into the emulated bucket and return its address."""
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="bucket")
    key = f"scripts/{name or hashlib.sha256(content).hexdigest()}.tar.gz"
    s3.put_object(Bucket="bucket", Key=key, Body=content)
    return f"s3://bucket/{key}"


@pytest.fixture(params=["tarfile filters", "none of them"])
def python(request: pytest.FixtureRequest, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python of today, and one as old as Debian 12's."""
    if request.param == "none of them":
        monkeypatch.setattr(machine.fetch, "HAS_FILTERS", False)


@mock_aws
@pytest.mark.usefixtures("python")
def test_a_good_bundle_is_unpacked_with_its_times_and_started(machine: Machine) -> None:
    url = upload(bundle({"requirements.txt": REQUIREMENTS, "training/__init__.py": b""}))
    (machine.places.home / "app").mkdir()
    (machine.places.home / "app" / "stale.py").touch()
    assert machine.fetch_bundle(url) == 0
    app = machine.places.home / "app"
    assert (app / "training/__init__.py").stat().st_mtime == EPOCH_S
    assert not (app / "stale.py").exists()
    assert machine.asked[-1] == "start --no-block f1tenth-training.service"


@mock_aws
def test_the_limits_hold_even_when_the_bundle_never_comes(machine: Machine) -> None:
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="bucket")
    assert machine.fetch_bundle("s3://bucket/scripts/missing.tar.gz") == 65
    assert "OnBootSec=14400" in machine.drop_in("f1tenth-deadman.timer")
    assert "TimeoutStartSec=2400" in machine.drop_in("f1tenth-finish.service")
    assert machine.asked == ["daemon-reload", "restart f1tenth-deadman.timer"]
    assert machine.fleet_deleted


@mock_aws
@pytest.mark.usefixtures("python")
@pytest.mark.parametrize(
    ("files", "name", "status"),
    [
        ({"requirements.txt": REQUIREMENTS}, "0" * 64, 65),
        ({"requirements.txt": b"numpy==1.0.0\n"}, None, 78),
        ({"requirements.txt": REQUIREMENTS, "training/layout.py": b"IMAGE_INTERFACE = 3\n"}, None, 78),
        ({"requirements.txt": REQUIREMENTS, "training/layout.py": b"RUNS = 1\n"}, None, 78),
        ({"requirements.txt": REQUIREMENTS, "../outside": b"x"}, None, 65),
        ({"requirements.txt": REQUIREMENTS, "/outside": b"x"}, None, 65),
    ],
    ids=[
        "another digest",
        "another image",
        "newer code",
        "older code",
        "a path that leads out",
        "a path from the top",
    ],
)
def test_a_bundle_that_can_never_work_ends_the_fleet(
    machine: Machine, files: dict[str, bytes], name: str | None, status: int
) -> None:
    url = upload(bundle(files), name)
    storage = open_store("s3://bucket")
    documents.set_status(storage, "lap-record", "pending", phase="machine boots")
    assert machine.fetch_bundle(url) == status
    assert machine.fleet_deleted
    assert "start --no-block f1tenth-training.service" not in machine.asked
    told = documents.read_status(storage, "lap-record")
    assert told is not None
    assert (told.state, told.exit_code, told.phase) == ("failed", status, "machine boots")
    assert told.reason


@mock_aws
@pytest.mark.parametrize("state", ["done", "stopped"])
def test_an_ended_run_is_not_marked_failed_by_a_late_machine(
    machine: Machine, state: documents.State
) -> None:
    url = upload(bundle({"requirements.txt": REQUIREMENTS}), "0" * 64)
    storage = open_store("s3://bucket")
    ended = documents.set_status(storage, "lap-record", state)
    assert machine.fetch_bundle(url) == 65
    assert documents.read_status(storage, "lap-record") == ended


@mock_aws
def test_a_status_that_cannot_be_written_keeps_no_fleet_alive(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    url = upload(bundle({"requirements.txt": REQUIREMENTS}), "0" * 64)
    boto3.client("s3").put_object(Bucket="bucket", Key="runs/lap-record/status.json", Body=b"[]")
    assert machine.fetch_bundle(url) == 65
    assert machine.fleet_deleted
    assert "runs/lap-record/status.json does not say that the run failed" in capsys.readouterr().err


class Clock:
    """Time that passes by sleeping."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, s: float) -> None:
        self.now_s += s


def refusing(machine: Machine, monkeypatch: pytest.MonkeyPatch, until_s: float) -> Clock:
    """Let S3 answer 403, as to a role that it does not know yet, for some seconds."""
    clock, client = Clock(), machine.fetch.boto3.client
    monkeypatch.setattr(machine.fetch, "RETRY_DELAY_S", 5)
    monkeypatch.setattr(machine.fetch, "time", clock)

    def connect(service: str, **settings: object) -> object:
        made = client(service, **settings)
        download = getattr(made, "download_file", None)

        def refused(*words: str) -> None:
            if clock.now_s < until_s:
                error = {"Error": {"Code": "403", "Message": "Forbidden"}}
                raise machine.fetch.ClientError(error, "HeadObject")
            download(*words)

        if download:
            monkeypatch.setattr(made, "download_file", refused)
        return made

    monkeypatch.setattr(machine.fetch.boto3, "client", connect)
    return clock


@mock_aws
def test_a_role_that_s3_does_not_know_yet_is_waited_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = upload(bundle({"requirements.txt": REQUIREMENTS}))
    clock = refusing(machine, monkeypatch, until_s=120.0)
    assert machine.fetch_bundle(url) == 0
    assert clock.now_s == 120.0
    assert "waiting for S3 to give" in capsys.readouterr().err
    assert not machine.fleet_deleted


@mock_aws
def test_a_refusal_that_lasts_ends_the_fleet(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    url = upload(bundle({"requirements.txt": REQUIREMENTS}))
    clock = refusing(machine, monkeypatch, until_s=1e9)
    assert machine.fetch_bundle(url) == 65
    assert machine.fetch.NEW_ROLE_S <= clock.now_s <= machine.fetch.NEW_ROLE_S + 10
    assert machine.fleet_deleted


def test_an_unreachable_s3_ends_in_time_and_keeps_the_fleet(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network may come back for the next machine, so only this one goes."""
    monkeypatch.setattr(machine.fetch, "S3_PATIENCE_S", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert machine.fetch_bundle("s3://bucket/scripts/x.tar.gz") == 75
    assert not machine.fleet_deleted


@pytest.mark.parametrize("text", ["", "F1TENTH_MAX_HOURS=soon\n", "F1TENTH_MAX_HOURS=0\n"])
def test_a_run_without_a_limit_is_refused(machine: Machine, text: str) -> None:
    machine.run_env(text)
    assert machine.fetch_bundle("s3://bucket/scripts/x.tar.gz") == 78


@pytest.mark.parametrize("arguments", [[], ["bundle.tar.gz"]])
def test_wrong_usage_ends_with_64(machine: Machine, arguments: list[str]) -> None:
    assert machine.fetch.main(arguments) == 64
