"""The session: addresses, certificates and proxies of the user are heard by every request."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.exceptions import ProxyConnectionError, SSLError

from tests.aws_access.certificates import Certificates, certify
from tests.aws_access.home import Home
from tests.cloud.proxy import Front
from tests.support.servers import free_port
from training.aws_access import address, session
from training.aws_access.advice import is_bad_certificate
from training.errors import ConfigurationError, TrainingError

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"
CODE = [ROOT / "launch.py", *(ROOT / "training").rglob("*.py"), *(ROOT / "packer").glob("*.py")]


def test_no_client_is_made_past_the_session() -> None:
    """Each would ask for credentials again, and hear nothing of what is set for the session."""
    making = re.compile(r"\b(boto3\.(client|resource|session)|botocore\.session|create_client|urlopen)\b")
    allowed = {
        "training/aws_access/session.py",
        "training/aws_access/credentials.py",
        "training/track_commands/fetch_circuits.py",
    }
    found = {str(path.relative_to(ROOT)) for path in CODE if making.search(path.read_text(encoding="utf-8"))}
    assert found <= allowed


# --- addresses ---
SERVICES = (("s3", "S3"), ("logs", "CLOUDWATCH_LOGS"), ("service-quotas", "SERVICE_QUOTAS"), ("sts", "STS"))


@pytest.mark.parametrize(("service", "name"), SERVICES)
def test_an_address_of_the_environment_is_heard_by_every_service(
    home: Home, monkeypatch: pytest.MonkeyPatch, service: str, name: str
) -> None:
    assert session.endpoint_of(service) is None
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all:1")
    assert session.endpoint_of(service) == "http://all:1"
    monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", "http://one:2")
    assert session.endpoint_of(service) == "http://one:2"
    assert session.endpoint_of(service, "http://setting:3") == "http://setting:3"
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert session.endpoint_of(service) is None
    assert home.runs == 0


@pytest.mark.parametrize(("service", "name"), SERVICES)
def test_an_address_of_the_profile_is_heard_by_every_service(home: Home, service: str, name: str) -> None:
    home.write(
        "[default]\nendpoint_url = http://all:1\nservices = local\n"
        f"[services local]\n{name.lower()} =\n  endpoint_url = http://one:2\n"
    )
    assert session.endpoint_of(service) == "http://one:2"
    assert session.endpoint_of("ec2") == "http://all:1"


@pytest.mark.usefixtures("home")
def test_an_address_without_http_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:4566")
    with pytest.raises(ConfigurationError, match="localhost:4566") as caught:
        session.client("sts", REGION)
    assert "AWS_ENDPOINT_URL" in caught.value.next_step


# --- certificates ---
@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certify(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secured(certificates: Certificates, moto_server: str, credentials: None) -> Iterator[Front]:  # noqa: ARG001 - for its effect
    """Give a moto that speaks TLS, by a certificate that nobody believes."""
    with Front(moto_server, certificates.server) as front:
        yield front


def test_a_certificate_that_is_not_believed_is_named(
    home: Home, secured: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.runs == 0
    monkeypatch.setenv("AWS_ENDPOINT_URL", secured.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(SSLError) as caught:
        session.client("sts", REGION).get_caller_identity()
    assert is_bad_certificate(caught.value)
    with pytest.raises(SSLError):
        session.get(secured.url)
    assert session.get(secured.url, verify=False).headers["Date"]


@pytest.mark.parametrize("where", ["environment", "profile"])
def test_the_certificates_of_the_user_are_believed_by_every_request(
    home: Home, secured: Front, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "profile":
        home.write(f"[default]\nca_bundle = {certificates.authority}\n")
    else:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.authority))
    monkeypatch.setenv("AWS_ENDPOINT_URL", secured.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert session.client("sts", REGION).get_caller_identity()["Account"] == "123456789012"
    assert session.get(secured.url).headers["Date"]


@pytest.mark.usefixtures("home")
def test_a_file_of_certificates_that_is_not_there_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such/file.pem")
    with pytest.raises(ConfigurationError, match=r"/no/such/file\.pem"):
        session.client("sts", REGION)
    with pytest.raises(ConfigurationError, match=r"/no/such/file\.pem"):
        session.get("https://127.0.0.1")


# --- proxies, this computer's address ---
class Proxy:
    """An HTTP proxy that answers every request itself."""

    def __init__(self, body: str) -> None:
        self.asked: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("page", "found"), [("203.0.113.7\n", "203.0.113.7"), ("<html>Welcome to our hotel", ""), ("::1", "")]
)
def test_the_address_is_asked_for_through_the_proxy_and_no_other_page_is_taken_for_one(
    monkeypatch: pytest.MonkeyPatch, page: str, found: str
) -> None:
    proxy = Proxy(page)
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setattr(address, "URL", "http://checkip.example/")
    try:
        if found:
            assert address.own_address() == found
        else:
            with pytest.raises(TrainingError, match="does not say this computer's address"):
                address.own_address()
    finally:
        proxy.close()
    assert proxy.asked == ["http://checkip.example/"]


@pytest.mark.usefixtures("home")
def test_a_proxy_that_does_not_answer_is_an_error_of_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ProxyConnectionError):
        session.get("https://sts.us-east-1.amazonaws.com")
