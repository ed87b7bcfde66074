"""Credentials: asked for once, kept where the AWS CLI keeps them, and every failure named, with what to do."""

from __future__ import annotations

import inspect
import json
import re
import stat
from pathlib import Path

import botocore.credentials
import botocore.exceptions
import botocore.tokens
import pytest
from botocore.exceptions import BotoCoreError, CredentialRetrievalError

from tests.aws_access.home import DEVICE, ROLE, Home, after, printing
from training.aws_access import credentials, session
from training.aws_access.advice import ADVICE, advice

REGION = "us-east-1"


def access_key() -> str:
    found = session.session().get_credentials()
    return str(found.get_frozen_credentials().access_key)


# --- credential_process ---
def test_all_clients_use_what_one_run_of_a_process_printed(home: Home) -> None:
    home.with_process(printing(Expiration=after(3600)))
    for service in ("s3", "ec2", "iam", "sts", "logs"):
        session.client(service, REGION)
    assert (access_key(), home.runs) == ("AKIAEXAMPLE", 1)


def test_credentials_of_a_quarter_of_an_hour_are_not_asked_for_at_each_request(home: Home) -> None:
    """botocore renews all that end within 15 minutes, and those of `aws login` never last longer."""
    home.with_process(printing(Expiration=after(900)))
    assert {access_key() for _ in range(5)} == {"AKIAEXAMPLE"}
    assert home.runs == 1


def test_credentials_that_are_about_to_end_are_asked_for_again(home: Home) -> None:
    home.with_process(printing(Expiration=after(60)))
    access_key()
    assert home.runs == 2


def test_a_role_is_assumed_with_the_keys_of_a_process(
    home: Home, moto_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    home.with_process(printing(), f"[profile role]\nrole_arn = {ROLE}\nsource_profile = default\n")
    monkeypatch.setenv("AWS_PROFILE", "role")
    caller = session.client("sts", REGION).get_caller_identity()
    assert ":assumed-role/trainer/" in caller["Arn"]
    assert home.runs == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "sys.exit('your session is over, log in at the portal')",
            "ended with 1: your session is over, log in",
        ),
        ("sys.exit(3)", "ended with 3: without a word"),
        ("print('not-to-be-shown')", "does not print the JSON"),
        ("print('[1]')", "does not print the JSON"),
        ("print('null')", "does not print the JSON"),
        ("print('[' * 100000)", "does not print the JSON"),
        ("sys.stdout.buffer.write(bytes(range(256)))", "does not print the JSON"),
        ("pass", "does not print the JSON"),
        (printing(Version=2), "does not print the JSON"),
        (printing(SecretAccessKey=None), "does not print the JSON"),
        (printing(AccessKeyId=5), "does not print the JSON"),
        (printing(Expiration="soon"), "does not print the JSON"),
        (printing(Expiration=[1]), "does not print the JSON"),
        (printing(Expiration="2040-01-01T00:00:00"), "does not print the JSON"),
        (printing(Expiration="2026-01-01T00:00:00Z"), "its credentials have ended at"),
    ],
)
def test_a_process_that_does_not_do_its_work_is_named_without_its_secrets(
    home: Home, body: str, says: str
) -> None:
    home.with_process(body)
    with pytest.raises(CredentialRetrievalError, match="credential_process of profile default") as caught:
        session.fetch_credentials(REGION)
    assert says in str(caught.value)
    assert "not-to-be-shown" not in str(caught.value)
    assert "aws sts get-caller-identity" in advice(caught.value)


@pytest.mark.parametrize(
    ("command", "says"),
    [("/no/such/program", "No such file"), ("'open", "No closing quotation"), ("/", "Permission denied")],
)
def test_a_process_that_cannot_be_run_is_named(home: Home, command: str, says: str) -> None:
    home.write(f"[default]\ncredential_process = {command}\n")
    with pytest.raises(CredentialRetrievalError, match=says):
        session.fetch_credentials(REGION)


def test_a_process_that_hangs_is_ended_even_where_its_child_holds_the_pipes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "PROCESS_S", 0.5)
    home.with_process("import subprocess\nsubprocess.Popen(['sleep', '60'])\ntime.sleep(60)")
    with pytest.raises(CredentialRetrievalError, match=r"no answer within 0 s|no answer within 1 s"):
        session.fetch_credentials(REGION)


# --- aws login ---
def test_the_aws_cli_is_asked_for_the_credentials_of_aws_login(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore needs awscrt for them, which this project does not install."""
    home.write("[default]\nlogin_session = arn:aws:iam::123456789012:user/kim\n")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BotoCoreError) as caught:
        session.fetch_credentials(REGION)
    assert "Install the AWS CLI, version 2" in advice(caught.value)

    program = home.folder / "bin" / "aws"
    program.parent.mkdir()
    answer = json.dumps(
        {"Version": 1, "AccessKeyId": "ASIALOGIN", "SecretAccessKey": "x", "SessionToken": "t"}
    )
    program.write_text(f"#!/bin/sh\necho \"$@\" >{home.folder}/asked\necho '{answer}'\n")
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert access_key() == "ASIALOGIN"
    asked = (home.folder / "asked").read_text().strip()
    assert asked == "configure export-credentials --profile default --format process"


# --- MFA ---
class Person:
    """Someone at a terminal who types a code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: str = "123 456") -> None:
        self.asked: list[str] = []
        self.code = code
        monkeypatch.setattr(credentials, "_has_terminal", lambda: True)
        monkeypatch.setattr("getpass.getpass", self.answer)

    def answer(self, prompt: str) -> str:
        self.asked.append(prompt)
        return self.code


@pytest.fixture
def role(home: Home, moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Give a home whose default profile assumes a role with an MFA code, on moto."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    home.with_role()
    return home


def next_command() -> str:
    """Return the caller that another process of the same user would be."""
    session._session_in.cache_clear()
    for service in ("s3", "ec2", "logs"):
        session.client(service, REGION)
    return str(session.client("sts", REGION).get_caller_identity()["Arn"])


def test_a_code_is_asked_for_once_and_never_by_the_next_commands(
    role: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person(monkeypatch)
    assert ":assumed-role/trainer/" in next_command()
    assert person.asked == [f"Enter MFA code for {DEVICE}: "]
    (kept,) = role.cache.glob("*.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    next_command()
    assert len(person.asked) == 1


def test_the_cache_is_the_one_of_the_aws_cli(role: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of an entry is the digest of what AssumeRole is asked, as the CLI's botocore makes it."""
    Person(monkeypatch)
    next_command()
    (kept,) = role.cache.glob("*.json")
    asked = {"RoleArn": ROLE, "SerialNumber": DEVICE}
    fetcher = botocore.credentials.AssumeRoleCredentialFetcher(lambda: None, None, ROLE, extra_args=asked)
    assert kept.stem == fetcher._cache_key
    assert {"AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"} <= set(
        json.loads(kept.read_text())["Credentials"]
    )


def entry(**fields: object) -> str:
    """Return an entry of the cache, changed in some fields."""
    sound = {
        "AccessKeyId": "a",
        "SecretAccessKey": "b",
        "SessionToken": "c",
        "Expiration": "2040-01-01T00:00:00UTC",
    }
    return json.dumps({"Credentials": {**sound, **fields}})


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", '{"Credentials": 5}', "[" * 100_000),
        *(entry(Expiration="soon"), entry(Expiration="2020-01-01T00:00:00UTC"), entry(Expiration=[1])),
        *(entry(AccessKeyId=1), entry(SessionToken=None)),
    ],
)
def test_a_broken_entry_of_the_cache_is_made_again(
    role: Home, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    person = Person(monkeypatch)
    next_command()
    (kept,) = role.cache.glob("*.json")
    kept.write_text(text)
    next_command()
    assert len(person.asked) == 2
    next_command()
    assert len(person.asked) == 2


def test_a_cache_that_cannot_be_written_costs_a_code_each_time_and_nothing_else(
    role: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person(monkeypatch)
    role.cache.parent.write_text("a file where the folder would be")
    next_command()
    next_command()
    assert len(person.asked) == 2


def test_for_a_long_work_a_role_is_assumed_again_and_handed_on(
    role: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packer can ask for no code; what is left of the kept session may not last for a bake."""
    person = Person(monkeypatch)
    next_command()
    session._session_in.cache_clear()
    session.session().reads_cache = False
    keys = session.exported(REGION)
    assert sorted(keys) == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    assert len(person.asked) == 2
    assert access_key() == keys["AWS_ACCESS_KEY_ID"]
    (kept,) = role.cache.glob("*.json")
    assert json.loads(kept.read_text())["Credentials"]["AccessKeyId"] == keys["AWS_ACCESS_KEY_ID"]
    next_command()
    assert len(person.asked) == 2


def test_what_a_program_can_fetch_by_itself_is_not_handed_on(home: Home) -> None:
    home.with_process(printing())
    assert session.exported(REGION) == {}
    assert home.runs == 0


def test_without_a_home_no_folder_named_tilde_is_made(
    role: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Person(monkeypatch)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(role.folder / ".aws" / "config"))
    monkeypatch.setattr(credentials, "home", lambda: None)
    monkeypatch.chdir(tmp_path)
    next_command()
    assert not (tmp_path / "~").exists()


@pytest.mark.usefixtures("role")
def test_a_code_that_nobody_can_type_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_has_terminal", lambda: False)
    with pytest.raises(CredentialRetrievalError, match="no terminal to type it in"):
        next_command()


@pytest.mark.usefixtures("role")
def test_a_code_of_three_digits_is_a_failure_of_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    Person(monkeypatch, "123")
    with pytest.raises(CredentialRetrievalError, match="TokenCode"):
        next_command()


@pytest.mark.usefixtures("role")
def test_the_end_of_the_input_is_a_code_that_was_not_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person(monkeypatch)

    def end(prompt: str) -> str:
        person.asked.append(prompt)
        raise EOFError

    monkeypatch.setattr("getpass.getpass", end)
    with pytest.raises(CredentialRetrievalError, match="no MFA code was typed"):
        next_command()


# --- whatever can go wrong ---
def raised_in(module: object) -> set[type[Exception]]:
    """Return the exceptions of botocore's that a module of it raises."""
    names = re.findall(r"raise (\w+)\(", inspect.getsource(module))  # type: ignore[arg-type]
    found = [getattr(botocore.exceptions, name, None) for name in names]
    return {one for one in found if one is not None and issubclass(one, BotoCoreError)}


def test_every_error_that_botocore_raises_for_credentials_has_advice() -> None:
    raised = raised_in(botocore.credentials) | raised_in(botocore.tokens)
    assert len(raised) > 10
    assert {error.__name__ for error in raised if not advice(error.__new__(error))} == set()


def test_advice_names_exceptions_that_exist() -> None:
    assert {name for name in ADVICE if not hasattr(botocore.exceptions, name)} == set()


def test_advice_names_the_profile_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    error = botocore.exceptions.UnauthorizedSSOTokenError()
    assert advice(error) == "Log in again: aws sso login"
    monkeypatch.setenv("AWS_PROFILE", "my work")
    assert advice(error) == "Log in again: aws sso login --profile 'my work'"


@pytest.mark.parametrize("token", [None, "", "[]", "{}", '{"accessToken": 5, "expiresAt": "never"}'])
def test_a_broken_sso_login_is_a_failure_of_the_credentials(home: Home, token: str | None) -> None:
    home.write(
        "[default]\nsso_start_url = https://example.awsapps.com/start\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = trainer\n"
    )
    if token is not None:
        path = home.folder / ".aws/sso/cache/e8be5486177c5b5392bd9aa76563515b29358e6e.json"
        path.parent.mkdir(parents=True)
        path.write_text(token)
    with pytest.raises(BotoCoreError) as caught:
        session.fetch_credentials(REGION)
    assert advice(caught.value)


@pytest.mark.usefixtures("home")
def test_a_request_that_only_fetches_credentials_is_sent_twice_at_most() -> None:
    assert session.FETCH.retries == {"total_max_attempts": 2, "mode": "standard"}
    nested = session.session().create_client("sts", region_name=REGION)
    assert nested.meta.config.connect_timeout == 5
    assert nested.meta.config.retries["total_max_attempts"] == 2
