"""Every command of the launcher in broken surroundings: it works all the same, or says one thing, soon, and how to mend it.

A table: what is broken, for every command. Time is counted on a clock of the test, requests at the proxy before moto.
"""

from __future__ import annotations

import importlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from unittest import mock

import pytest

from tests.aws_access.certificates import certify
from tests.aws_access.home import Home, after, printing
from tests.cloud import proxy
from tests.cloud.fake_aws import ROOT, Account, Done, boot
from tests.cloud.proxy import Answer, Front, on_demand
from tests.support.servers import CREDENTIALS, free_port
from training.aws_access import session
from training.cloud.aws import client
from training.cloud.aws.client import Clock

# Each command as a user types it; those that change something come last.
COMMANDS = {
    "doctor": ["doctor"],
    "status": ["status"],
    "list": ["list"],
    "logs": ["logs", "race"],
    "fetch": ["fetch", "race"],
    "prices": ["prices"],
    "cost": ["cost", "race"],
    "prune": ["prune", "race"],
    "ssh": ["ssh", "race", "--print"],
    "tensorboard": ["tensorboard", "race", "--print"],
    "gc": ["gc"],
    "up": ["up", "--yes"],
    "train": ["train", "--yes", "--detach"],
    "stop": ["stop", "race", "--now"],
    "down": ["down", "--yes"],
}
USER, WORLD = 2, 1
# `Cloud.call` asks for a minute: 11 times, with pauses that double up to 8 s.
MOST_REQUESTS, MOST_S = 11, 60.0


class Watch:
    """A clock that passes by sleeping, and may be wrong."""

    def __init__(self, off_s: float = 0.0) -> None:
        self.slept_s, self._off = 0.0, timedelta(seconds=off_s)

    def sleep(self, s: float) -> None:
        self.slept_s += s

    @property
    def clock(self) -> Clock:
        return Clock(
            now=lambda: datetime.now(timezone.utc) + self._off,
            monotonic=lambda: self.slept_s,
            sleep=self.sleep,
        )


class Laptop(NamedTuple):
    """A user's computer, before an account that is set up and has a run."""

    account: Account
    front: Front
    home: Home

    @property
    def environment(self) -> dict[str, str]:
        """Return a shell in which all is well."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "REQUESTS_"))
        }
        return {
            **kept,
            **CREDENTIALS,
            "HOME": str(self.home.folder),
            "XDG_CACHE_HOME": str(self.account.folder / "cache"),
            "AWS_ENDPOINT_URL": self.front.url,
        }

    def run(self, words: list[str], watch: Watch, environment: Mapping[str, str | None]) -> Done:
        """Type a command in this process; None takes a variable away."""
        shell = {**self.environment, **environment}
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
        err = io.StringIO()
        session._session_in.cache_clear()
        before = Path.cwd()
        os.chdir(self.account.folder)
        try:
            with (
                mock.patch.dict(os.environ, {k: v for k, v in shell.items() if v is not None}, clear=True),
                mock.patch.object(client, "Clock", return_value=watch.clock),
                redirect_stdout(out),
                redirect_stderr(err),
            ):
                code = importlib.import_module("launch").main(words)
        finally:
            os.chdir(before)
        out.seek(0)
        return Done(code, out.read(), err.getvalue())


@pytest.fixture(scope="module")
def laptop(moto_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    folder = tmp_path_factory.mktemp("laptop")
    with Front(moto_server) as proxy, mock.patch.dict(os.environ, CREDENTIALS):
        account = Account(moto_server, "p-surroundings", folder)
        account.write_config(endpoints={})  # AWS_ENDPOINT_URL says where AWS is
        made = Laptop(account, proxy, Home(folder / "home"))
        made.home.folder.mkdir()
        account.bake()
        assert made.run(["up", "--yes"], Watch(), {}).returncode == 0
        yield made


def test_every_command_is_in_the_table() -> None:
    launch = importlib.import_module("launch")
    names = {one.name or one.callback.__name__ for one in launch.app.registered_commands}
    assert set(COMMANDS) == names


# --- surroundings in which a command can do nothing ---
class Broken(NamedTuple):
    """What is broken, and what must be said."""

    says: str
    next_step: str
    code: int = WORLD
    environment: Mapping[str, str | None] = MappingProxyType({})
    answers: Mapping[str, Answer] = MappingProxyType({})
    config: str = ""  # ~/.aws/config
    process: str = ""  # what the credential_process of the default profile does
    off_s: float = 0.0  # the clock
    settings: tuple[str, ...] = ()
    requests: int = 1


NO_KEYS: dict[str, str | None] = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
EXPIRED = proxy.refusal("ExpiredToken", "The security token included in the request is expired")
OLD_SIGNATURE = proxy.refusal(
    "SignatureDoesNotMatch", "Signature expired: 20261201T110000Z is now earlier than 20261201T115500Z"
)
SSO = (
    "[default]\nsso_start_url = https://example.awsapps.com/start\nsso_region = us-east-1\n"
    "sso_account_id = 123456789012\nsso_role_name = trainer\n"
)
BROKEN = {
    "no network": Broken(
        "Could not connect",
        "Check the network",
        environment={"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"},
        requests=0,
    ),
    "a page that is not AWS's": Broken(
        "an answer that is not AWS's",
        "stand between",
        answers={"GetCallerIdentity": Answer("<html>Welcome to our hotel", 200, "text/html", foreign=True)},
        requests=MOST_REQUESTS,
    ),
    "a proxy that does not answer": Broken(
        "Failed to connect to proxy",
        "HTTPS_PROXY",
        environment={"http_proxy": f"http://127.0.0.1:{free_port()}", "no_proxy": None, "NO_PROXY": None},
        requests=0,
    ),
    "no credentials": Broken(
        "Unable to locate credentials", "aws configure", environment=NO_KEYS, requests=0
    ),
    "half a key": Broken(
        "Partial credentials", "aws configure", environment={"AWS_SECRET_ACCESS_KEY": None}, requests=0
    ),
    "an expired session": Broken(
        "ExpiredToken", "Your session has expired", answers={"GetCallerIdentity": EXPIRED}
    ),
    "keys that AWS does not know": Broken(
        "InvalidClientTokenId",
        "aws configure",
        answers={"GetCallerIdentity": proxy.refusal("InvalidClientTokenId", "The token is invalid")},
    ),
    "a credential_process that fails": Broken(
        "ended with 1: log in at the portal",
        "aws sts get-caller-identity",
        environment=NO_KEYS,
        process="sys.exit('log in at the portal')",
        requests=0,
    ),
    "a credential_process that prints no JSON": Broken(
        "does not print the JSON",
        "aws sts get-caller-identity",
        environment=NO_KEYS,
        process="print('welcome')",
        requests=0,
    ),
    "a credential_process of yesterday": Broken(
        "its credentials have ended",
        "aws sts get-caller-identity",
        environment=NO_KEYS,
        process=printing(Expiration=after(-86_400)),
        requests=0,
    ),
    "no sso login": Broken("SSO", "aws sso login", environment=NO_KEYS, config=SSO, requests=0),
    "no aws login": Broken(
        "login",
        "AWS CLI",
        environment={**NO_KEYS, "PATH": "/nowhere"},
        config="[default]\nlogin_session = arn:aws:iam::123456789012:user/kim\n",
        requests=0,
    ),
    "an mfa code that nobody can type": Broken(
        "no terminal to type it in",
        "aws sts get-caller-identity",
        environment=NO_KEYS,
        config=(
            "[profile keys]\naws_access_key_id = test\naws_secret_access_key = test\n[default]\n"
            "role_arn = arn:aws:iam::123456789012:role/x\nmfa_serial = y\nsource_profile = keys\n"
        ),
        requests=0,
    ),
    "a config file that is none": Broken(
        "Unable to parse config file", "~/.aws/config", config="[default\nx", requests=0
    ),
    "no such profile": Broken(
        "no-such-profile", "list-profiles", code=USER, environment={"AWS_PROFILE": "no-such-profile"}, requests=0
    ),
    "no such file of certificates": Broken(
        "/no/such.pem", "AWS_CA_BUNDLE", code=USER, environment={"AWS_CA_BUNDLE": "/no/such.pem"}, requests=0
    ),
    "an address without http": Broken(
        "localhost:4566", "AWS_ENDPOINT_URL", code=USER, environment={"AWS_ENDPOINT_URL": "localhost:4566"}, requests=0
    ),
    "a wrong clock": Broken(
        "this computer's clock is", "timedatectl", answers={"GetCallerIdentity": OLD_SIGNATURE}, off_s=3600
    ),
    "another partition": Broken(
        "'cn-north-1' is in AWS China",
        "us-east-2",
        code=USER,
        settings=("--set", "aws.region=cn-north-1"),
        requests=0,
    ),
}  # fmt: skip


@pytest.fixture
def broken(laptop: Laptop) -> Iterator[Callable[[Broken], None]]:
    def arrange(surroundings: Broken) -> None:
        laptop.front.answers.update(surroundings.answers)
        if surroundings.config:
            laptop.home.write(surroundings.config)
        if surroundings.process:
            laptop.home.with_process(surroundings.process)

    yield arrange
    laptop.front.answers.clear()
    laptop.home.write("")


# Every command, and everything that is broken, at least once; the whole table is slow.
QUICK = {*zip(itertools.cycle(BROKEN), COMMANDS), *zip(BROKEN, itertools.cycle(COMMANDS))}


@pytest.mark.parametrize(
    ("what", "name"),
    [
        pytest.param(what, name, marks=[] if (what, name) in QUICK else pytest.mark.slow)
        for what in BROKEN
        for name in COMMANDS
    ],
)
def test_a_command_that_can_do_nothing_says_one_thing_soon(
    laptop: Laptop, broken: Callable[[Broken], None], name: str, what: str
) -> None:
    surroundings, watch = BROKEN[what], Watch(BROKEN[what].off_s)
    broken(surroundings)
    laptop.front.asked.clear()
    done = laptop.run([*COMMANDS[name], *surroundings.settings], watch, surroundings.environment)
    said = done.stdout + done.stderr
    assert surroundings.says in said, said
    assert surroundings.next_step in said, said
    assert "Traceback" not in said
    if name == "doctor" and surroundings.code == WORLD:
        check_doctor(done, what)
    elif name != "doctor":
        assert done.returncode == surroundings.code, said
        assert done.stderr.count("error: ") == 1, said
        assert done.stdout == ""
    assert watch.slept_s <= MOST_S, "it gives up after a minute"
    asked = [action for action in laptop.front.asked if action != "GET /"]  # doctor reads the time
    assert len(asked) <= surroundings.requests, asked


def check_doctor(done: Done, what: str) -> None:
    """doctor says it as a finding, after the clock's."""
    lines = [line for line in done.stdout.splitlines() if line.startswith(("ok  ", "NO  "))]
    assert done.returncode == WORLD
    assert [line.split()[1] for line in lines] == ["clock", "credentials"]
    assert lines[1].startswith("NO  ")
    assert lines[0].startswith("NO  ") == (what in CLOCK_IS_NOT_READ or what == "a wrong clock")
    assert done.stderr.count("error: ") == 0


CLOCK_IS_NOT_READ = {"no network", "a proxy that does not answer", "a config file that is none"}


def test_a_certificate_that_is_not_believed_is_said_at_once_by_every_command(laptop: Laptop) -> None:
    with Front(laptop.account.endpoint, certify(laptop.account.folder).server) as secured:
        for name, words in COMMANDS.items():
            watch = Watch()
            done = laptop.run(words, watch, {"AWS_ENDPOINT_URL": secured.url})
            assert done.returncode == WORLD
            assert "AWS_CA_BUNDLE" in done.stdout + done.stderr, name
            assert watch.slept_s == 0


# --- surroundings in which all works all the same ---
def nobody(_: int) -> None:
    raise KeyError("getpwuid(): uid not found")


HARMLESS: dict[str, dict[str, str | None]] = {
    "no home, no name": {"HOME": None, "LOGNAME": None, "USER": None, "XDG_CACHE_HOME": None},
    "40 columns": {"COLUMNS": "40"},
    "a cache that is no folder": {"XDG_CACHE_HOME": "/dev/null"},
    "certificates of its own": {"AWS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt"},
}


@pytest.mark.slow
@pytest.mark.parametrize("what", HARMLESS)
@pytest.mark.parametrize(
    "words", [["status"], ["prices"], ["train", "--dry-run"], ["doctor"], ["up", "--dry-run"]]
)
def test_what_can_be_done_without_is_not_missed(laptop: Laptop, words: list[str], what: str) -> None:
    environment = HARMLESS[what]
    if not Path(environment.get("AWS_CA_BUNDLE") or "/").exists():
        pytest.skip("there is no such file of certificates here")
    sound = laptop.run(words, Watch(), {})
    with mock.patch("pwd.getpwuid", nobody) if "HOME" in environment else mock.patch("os.getpid", os.getpid):
        done = laptop.run(words, Watch(), environment)
    assert done.returncode == sound.returncode, done.stderr
    assert done.stderr.count("error: ") == sound.stderr.count("error: ")
    assert done.stdout


@pytest.mark.slow
def test_a_run_from_a_container_with_a_serial_console(moto_server: str, tmp_path: Path) -> None:
    """Neither name nor home, ASCII alone, 40 columns, a broken cache: a whole run, command by command."""
    with Front(moto_server) as proxy, mock.patch.dict(os.environ, CREDENTIALS):
        account = Account(moto_server, "p-container", tmp_path)
        account.write_config(endpoints={})
        account.bake()
        cache = tmp_path / "cache" / "f1tenth-training" / "prices-us-east-1.json"
        cache.parent.mkdir(parents=True)
        cache.write_text("[]")
        proxy.answers["GetProducts"] = on_demand(1.0)
        laptop = Laptop(account, proxy, Home(tmp_path))
        environment = {
            **HARMLESS["no home, no name"],
            "COLUMNS": "40",
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }

        def typed(*words: str) -> str:
            with mock.patch("pwd.getpwuid", nobody):
                done = laptop.run(list(words), Watch(), environment)
            assert done.returncode == 0, done.stderr
            return done.stdout

        typed("up", "--yes")
        assert "race is pending" in typed("train", "--name", "race", "--yes", "--detach")
        boot(account, "race", steps=50_000)
        assert "race" in typed("list")
        assert "attempt 1" in typed("status", "race")
        assert "first line" in typed("logs", "race")
        for words in (COMMANDS[name] for name in ("status", "prices", "cost", "fetch", "prune")):
            assert typed(*words)
        assert "start-session" in typed("ssh", "race", "--print")
        typed("stop", "race", "--now")
        typed("gc")
        assert "nothing of the project is left" in typed("down", "--data", "--yes")
        assert json.loads(cache.read_text())["g5.xlarge"]["usd_per_hour"] == 1.0


# --- real processes ---
@pytest.mark.slow
@pytest.mark.parametrize("words", [["status"], ["train", "--dry-run"], ["doctor"]])
def test_a_real_process_in_a_poor_shell(laptop: Laptop, words: list[str]) -> None:
    shell = {
        **{
            name: value
            for name, value in laptop.environment.items()
            if name not in {"HOME", "XDG_CACHE_HOME"}
        },
        "LANG": "C",
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "ascii",
        "COLUMNS": "40",
        "TERM": "dumb",
        "F1TENTH_LAUNCHER": "1",
    }
    command = [sys.executable, str(ROOT / "launch.py"), *words]
    done = subprocess.run(
        command, cwd=laptop.account.folder, env=shell, capture_output=True, check=False, timeout=120
    )
    told = (done.stdout + done.stderr).decode("ascii")
    assert done.returncode in {0, 1}, told
    assert "Traceback" not in told
    assert not re.search(r"error: ", told) or words == ["doctor"], told


@pytest.mark.slow
def test_a_real_process_without_input_and_output(laptop: Laptop) -> None:
    """As from cron, with all three closed."""
    shell = {**laptop.environment, "F1TENTH_LAUNCHER": "1"}
    line = f"exec {sys.executable} {ROOT / 'launch.py'} status <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", line], cwd=laptop.account.folder, env=shell, check=False, timeout=120)
    assert done.returncode == 0
