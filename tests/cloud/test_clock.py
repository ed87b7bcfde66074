"""A computer whose clock is wrong: said first by doctor, and by every command instead of what AWS makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from tests.aws_access.certificates import certify
from tests.cloud import proxy
from tests.cloud.fake_aws import ROOT, Account
from tests.cloud.proxy import Front
from training.aws_access import advice
from training.cloud import doctor
from training.cloud.aws import aws_errors
from training.cloud.aws.aws_errors import NoCredentials, WrongClock
from training.cloud.aws.client import Clock, Cloud

HOUR_S = 3600.0
DATED = {"date": "Tue, 01 Dec 2026 12:00:00 GMT"}
NOON = datetime(2026, 12, 1, 12, 0, tzinfo=timezone.utc)


def reply(code: str, message: str = "", headers: dict[str, str] | None = None) -> dict[str, object]:
    return {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": DATED if headers is None else headers},
    }


# Signatures of a wrong clock, as each kind of service refuses them.
REFUSALS = (
    reply(
        "SignatureDoesNotMatch", "Signature expired: 20261201T110000Z is now earlier than 20261201T115500Z"
    ),
    reply(
        "SignatureDoesNotMatch",
        "Signature not yet current: 20261201T130000Z is still later than 20261201T120500Z",
    ),
    reply(
        "InvalidSignatureException",
        "Signature expired: 20261201T110000Z is now earlier than 20261201T115500Z",
    ),
    reply("AuthFailure", "AWS was not able to validate the provided access credentials"),
    reply("RequestExpired", "Request has expired."),
    reply(
        "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
    ),
    reply("403"),
)


@pytest.mark.parametrize("off_s", [HOUR_S, -HOUR_S])
@pytest.mark.parametrize("answer", REFUSALS)
def test_a_refused_signature_is_held_against_the_date_of_the_reply(
    answer: dict[str, object], off_s: float
) -> None:
    error = aws_errors.from_reply(answer, "ec2:CreateFleet", NOON + timedelta(seconds=off_s))
    assert type(error) is WrongClock
    assert f"3600 s {'ahead of' if off_s > 0 else 'behind'} AWS's" in error.message
    assert error.next_step == advice.CLOCK


@pytest.mark.parametrize("answer", REFUSALS)
def test_with_a_right_clock_the_same_refusals_are_of_keys_sessions_and_permissions(
    answer: dict[str, object],
) -> None:
    error = aws_errors.from_reply(answer, "ec2:CreateFleet", NOON)
    words = str(answer["Error"])
    assert isinstance(error, WrongClock) is ("Signature " in words or "TooSkewed" in words)
    assert "this computer's clock is" not in error.message


def test_a_reply_without_a_date_says_nothing_of_the_clock() -> None:
    assert isinstance(aws_errors.from_reply(reply("AuthFailure", headers={}), "sts:X", NOON), NoCredentials)
    broken = reply("AuthFailure", headers={"date": "yesterday"})
    assert isinstance(aws_errors.from_reply(broken, "sts:X", NOON), NoCredentials)


# --- doctor ---
@pytest.fixture
def behind(account: Account) -> Iterator[Front]:
    with Front(account.endpoint) as behind:
        yield behind


def cloud_of(account: Account, url: str, off_s: float) -> Cloud:
    def now() -> datetime:
        return datetime.now(timezone.utc) + timedelta(seconds=off_s)

    return Cloud(account._replace(endpoint=url).aws, lambda _: None, Clock(now=now, sleep=lambda _: None))


@pytest.mark.parametrize(("off_s", "says"), [(HOUR_S, "ahead"), (-HOUR_S, "behind")])
def test_doctor_says_first_that_the_clock_is_wrong(
    account: Account, behind: Front, off_s: float, says: str
) -> None:
    behind.answers["GetCallerIdentity"] = proxy.refusal(
        "SignatureDoesNotMatch", "Signature expired: 20261201T110000Z is now earlier than 20261201T115500Z"
    )
    clock, credentials = doctor.examine(cloud_of(account, behind.url, off_s), ROOT)
    assert (clock.what, clock.ok) == ("clock", False)
    assert re.match(rf"3[56]\d\d s {says};", clock.detail)
    assert "timedatectl" in clock.next_step
    assert not credentials.ok
    assert "timedatectl" in credentials.next_step


def test_doctor_begins_with_the_clock_when_it_is_right_too(account: Account, behind: Front) -> None:
    findings = doctor.examine(cloud_of(account, behind.url, 0), ROOT)
    clock = next(findings)
    assert (clock.what, clock.ok) == ("clock", True)
    assert next(findings).what == "credentials"


@pytest.mark.parametrize(("off_s", "next_step"), [(86_400 * 400, "timedatectl"), (0, "AWS_CA_BUNDLE")])
def test_a_certificate_that_is_not_believed_is_the_clocks_fault_where_that_is_wrong(
    account: Account, monkeypatch: pytest.MonkeyPatch, off_s: float, next_step: str
) -> None:
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with Front(account.endpoint, certify(account.folder).server) as secured:
        clock, credentials = doctor.examine(cloud_of(account, secured.url, off_s), ROOT)
    assert next_step in clock.next_step
    assert "CERTIFICATE_VERIFY_FAILED" in credentials.detail
    assert "AWS_CA_BUNDLE" in credentials.next_step


def test_with_the_certificates_of_a_company_doctor_goes_on(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = certify(account.folder)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.authority))
    with Front(account.endpoint, certificates.server) as secured:
        findings = {one.what: one for one in doctor.examine(cloud_of(account, secured.url, 0), ROOT)}
    assert findings["clock"].ok
    assert findings["credentials"].ok
    assert len(findings) > 5


def test_doctor_hears_a_file_of_certificates_that_is_not_there(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such/file.pem")
    clock, credentials = doctor.examine(cloud_of(account, account.endpoint, 0), ROOT)
    assert "AWS_CA_BUNDLE" in clock.next_step
    assert "AWS_CA_BUNDLE" in credentials.next_step


def test_doctor_says_that_there_is_no_such_profile(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    clock, credentials = doctor.examine(cloud_of(account, account.endpoint, 0), ROOT)
    assert "no-such-profile" in clock.detail
    assert "aws configure list-profiles" in credentials.next_step
