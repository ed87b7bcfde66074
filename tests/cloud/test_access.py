"""Commands and access to AWS: how often a person or a program is asked for it, and what is said without it."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.aws_access.home import DEVICE, Home, after, printing
from tests.cloud import proxy
from tests.cloud.fake_aws import REGION, ROOT, Account
from tests.cloud.proxy import Front
from tests.cloud.terminal import in_a_terminal, typing
from training.aws_access import session
from training.cloud.aws.client import Cloud
from training.cloud.console import wait_notices
from training.cloud.launch import setup
from training.config import AwsSettings
from training.store.open import open_store
from training.store.storage import Refused, Unavailable

pytestmark = pytest.mark.slow  # each test is a command of the launcher


class Laptop:
    """A user's computer before an account that is set up: AWS is found by AWS_ENDPOINT_URL alone."""

    def __init__(self, account: Account, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
        self.account, self.front, self._monkeypatch = account, front, monkeypatch
        setup.apply(setup.plan(account.cloud, account.scope), lambda _: None)
        account.bake()
        self.bucket = account.scope.bucket
        account.write_config(endpoints={})
        self.home = Home(account.folder / "home")
        self.home.folder.mkdir()
        monkeypatch.chdir(account.folder)
        self.front.asked.clear()
        self.prompts: list[str] = []

    def log_in(self) -> None:
        """Take this user's environment, with a person at the terminal who types a code."""
        self._monkeypatch.setattr("training.aws_access.credentials._ask_code", self._type_code)
        for name, value in {**self.home.environment, "AWS_ENDPOINT_URL": self.front.url}.items():
            if value:
                self._monkeypatch.setenv(name, value)
            else:
                self._monkeypatch.delenv(name, raising=False)

    def _type_code(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return "123456"

    def command(self, *words: str) -> int:
        """Run a command as a process of its own would: with no session yet."""
        session._session_in.cache_clear()
        code: int = importlib.import_module("launch").main(list(words))
        return code


@pytest.fixture
def laptop(account: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    with Front(account.endpoint) as front:
        laptop = Laptop(account, front, monkeypatch)
        laptop.log_in()
        yield laptop


# --- how often ---
def test_a_credential_process_runs_once_for_a_command_that_asks_seven_services(laptop: Laptop) -> None:
    laptop.home.with_process(printing(Expiration=after(3600)))
    assert laptop.command("train", "--dry-run") == 0
    assert laptop.home.runs == 1
    asked = set(laptop.front.asked)
    assert {"GetCallerIdentity", "GetProducts", "GetServiceQuota", "DescribeImages", "GetPolicy"} <= asked
    assert any(action.startswith("HEAD /") for action in asked)
    assert laptop.command("status") == 0
    assert laptop.home.runs == 2


def test_a_run_is_read_from_the_store_by_the_same_session(laptop: Laptop) -> None:
    laptop.home.with_process(printing())
    assert laptop.command("list") == 0
    assert laptop.home.runs == 1


@pytest.mark.slow
def test_status_asks_for_an_mfa_code_once_in_a_terminal_and_the_next_command_for_none(laptop: Laptop) -> None:
    laptop.home.with_role()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **{name: value for name, value in laptop.home.environment.items() if value},
        "AWS_ENDPOINT_URL": laptop.front.url,
        "F1TENTH_LAUNCHER": "1",
    }
    command = [sys.executable, str(ROOT / "launch.py"), "status"]
    prompt = f"Enter MFA code for {DEVICE}: "
    typed = [(prompt, typing("123456"))]
    code, told = in_a_terminal(command, environment, typed, laptop.account.folder)
    assert (code, told.count(prompt)) == (0, 1), told
    assert "0 runs" in told
    code, told = in_a_terminal(command, environment, typed, laptop.account.folder)
    assert (code, told.count(prompt)) == (0, 0), told
    assert laptop.front.asked.count("AssumeRole") == 1


def test_who_waits_for_credentials_is_told_so(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential_process may take two minutes, and a person time to find the phone with the code."""
    said: list[str] = []
    spoken = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        spoken.set()

    monkeypatch.setattr(wait_notices, "heartbeat", functools.partial(wait_notices.heartbeat, every_s=0.01))
    monkeypatch.setattr(session, "fetch_credentials", lambda _region: spoken.wait(60))
    laptop.home.with_process(printing())
    Cloud(AwsSettings(region=REGION), say).call("sts", "get_caller_identity")
    assert "still waiting for credentials" in said[0]


# --- no access ---
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (proxy.refusal("AccessDenied", "invalid MFA one time pass code."), "invalid MFA one time pass code"),
        (proxy.refusal("ExpiredToken", "The security token is expired"), "ExpiredToken"),
        (proxy.Answer("<html>Welcome to our hotel", 200, "text/html", foreign=True), "from assume-role"),
    ],
)
def test_a_role_that_is_not_given_is_one_error_and_one_request(
    laptop: Laptop, capsys: pytest.CaptureFixture[str], answer: proxy.Answer, says: str
) -> None:
    laptop.home.with_role()
    laptop.front.answers["AssumeRole"] = answer
    assert laptop.command("status") == 1
    told = capsys.readouterr().err
    assert told.count("error: ") == 1
    assert says in told
    assert "aws sts get-caller-identity" in told
    assert laptop.front.asked == ["AssumeRole"]


def test_without_a_network_a_code_is_asked_for_once(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.home.with_role()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert laptop.command("status") == 1
    assert "Could not connect" in capsys.readouterr().err
    assert len(laptop.prompts) == 1


def test_a_session_that_ends_while_the_store_is_read_is_said_at_once(laptop: Laptop) -> None:
    """It was retried for two minutes; only a machine's role renews itself."""
    laptop.home.with_process(printing(SessionToken="x", Expiration=after(3600)))
    expired = proxy.Answer(
        "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
        400,
        "application/xml",
    )
    laptop.front.answers[f"GET /{laptop.bucket}/runs/race/status.json"] = expired
    storage = open_store(f"s3://{laptop.bucket}", AwsSettings(region=REGION))
    before = len(laptop.front.asked)
    with pytest.raises(Refused, match="ExpiredToken") as caught:
        storage.get("runs/race/status.json", max_bytes=100)
    assert "Your session has expired" in caught.value.next_step
    assert len(laptop.front.asked) == before + 1


def test_a_machine_waits_until_its_role_is_renewed(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop.home.with_process(printing())
    assert not session.renews_itself()
    monkeypatch.setattr(session, "renews_itself", lambda: True)
    expired = proxy.Answer("<Error><Code>ExpiredToken</Code></Error>", 400, "application/xml")
    laptop.front.answers[f"GET /{laptop.bucket}/runs/race/status.json"] = expired
    storage = open_store(f"s3://{laptop.bucket}", AwsSettings(region=REGION))
    with pytest.raises(Unavailable, match="ExpiredToken"):
        storage.inner.get("runs/race/status.json", max_bytes=100)
