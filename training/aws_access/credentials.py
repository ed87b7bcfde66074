"""Sources of credentials: botocore's chain of providers, with an MFA prompt, a cache and two providers of our own.

- Assumed roles are kept in ~/.aws/cli/cache, in the AWS CLI's own format: each uses the credentials the other got.
- A credential_process runs for two minutes at most, and only again when its credentials are about to end.
- `aws login` without awscrt, which botocore needs for it: the AWS CLI is asked for the credentials.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from botocore.credentials import (
    AssumeRoleProvider,
    CanonicalNameCredentialSourcer,
    CredentialProvider,
    CredentialResolver,
    Credentials,
    LoginProvider,
    ProfileProviderBuilder,
    RefreshableCredentials,
    create_credential_resolver,
)
from botocore.exceptions import CredentialRetrievalError
from botocore.utils import JSONFileCache, create_nested_client, parse_timestamp

from ..process.user_account import home

if TYPE_CHECKING:
    from botocore.session import Session

# A credential_process may ask a person for a code.
PROCESS_S = 120.0
# Credentials of `aws login` live for 15 minutes, and botocore renews all that are younger than that to their end.
RENEW_BEFORE_S = 120.0
# The error text of a failed credential_process is cut to its last characters, this many.
MAX_MESSAGE = 600


def chain_of(session: Session, region: str | None, *, reads_cache: bool) -> CredentialResolver:
    """Return the providers that are asked in their order; `region` is where roles are assumed."""
    cache = _cli_cache(reads=reads_cache)
    chain = create_credential_resolver(session, cache=cache, region_name=region)
    profile = session.get_config_variable("profile") or "default"
    profiles = _Profiles(session, cache, region)
    sources = [one for one in chain.providers if one.METHOD in {"env", "container-role", "iam-role"}]
    role = AssumeRoleProvider(
        load_config=lambda: session.full_config,
        client_creator=functools.partial(create_nested_client, session, region_name=region),
        cache=cache,
        profile_name=profile,
        prompter=_ask_code,
        credential_sourcer=CanonicalNameCredentialSourcer(sources),
        profile_provider_builder=profiles,
    )
    ours = {one.METHOD: one for one in [role, *profiles.own(profile)]}
    chain.providers = [ours.get(one.METHOD, one) for one in chain.providers]
    return chain


class _Profiles(ProfileProviderBuilder):
    """botocore's providers of a profile, with ours in the place of two of them."""

    def __init__(self, session: Session, cache: Any, region: str | None) -> None:  # noqa: ANN401 - as botocore's
        super().__init__(session, cache=cache, region_name=region)
        self._of = session

    def own(self, profile: str) -> list[CredentialProvider]:
        """Return only our own providers."""
        login = _Login(lambda: self._of.full_config, self._of.create_client, profile)
        return [login, _Process(lambda: self._of.full_config, profile)]

    def providers(
        self,
        profile_name: str,
        disable_env_vars: bool = False,  # noqa: FBT001, FBT002 - botocore's own words
    ) -> list[CredentialProvider]:
        """Return the providers that a source_profile is asked by."""
        ours = {one.METHOD: one for one in self.own(profile_name)}
        return [ours.get(one.METHOD, one) for one in super().providers(profile_name, disable_env_vars)]


# --- credential_process ---
class _Process(CredentialProvider):
    """Run a profile's credential_process; its output is a secret, which no error repeats."""

    METHOD = "custom-process"

    def __init__(self, load_config: Callable[[], Mapping[str, Any]], profile: str, what: str = "") -> None:
        super().__init__()
        self._config, self._profile = load_config, profile
        self._what = what or f"the credential_process of profile {profile}"
        self._last: dict[str, Any] = {}

    def load(self) -> Any:  # noqa: ANN401 - two types of botocore
        """Return its credentials, None where the profile has none."""
        command = self._config().get("profiles", {}).get(self._profile, {}).get("credential_process")
        if not command:
            return None
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise self._failed(f"its command cannot be read: {error}") from None
        renew = functools.partial(self._renew, words)
        first = renew()
        if first["expiry_time"] is None:
            keys = {name: value for name, value in first.items() if name != "expiry_time"}
            return Credentials(**keys, method=self.METHOD)
        return RefreshableCredentials.create_from_metadata(first, renew, self.METHOD)

    def _renew(self, words: list[str]) -> dict[str, Any]:
        if self._last and _left_s(self._last["expiry_time"]) > RENEW_BEFORE_S:
            return self._last
        try:
            self._last = parse_credentials(run_process(words))
            left_s = _left_s(self._last["expiry_time"])
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise self._failed("it does not print the JSON that is asked for") from None
        except OSError as error:
            raise self._failed(f"it cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired:
            raise self._failed(f"no answer within {PROCESS_S:.0f} s") from None
        except subprocess.CalledProcessError as error:
            words = error.stderr.decode(errors="replace").strip()[-MAX_MESSAGE:]
            raise self._failed(f"it ended with {error.returncode}: {words or 'without a word'}") from None
        if left_s <= 0:
            raise self._failed(
                f"its credentials have ended at {self._last['expiry_time']}, or this computer's clock is wrong"
            )
        return self._last

    def _failed(self, why: str) -> CredentialRetrievalError:
        return CredentialRetrievalError(provider=self._what, error_msg=why)


def run_process(words: list[str]) -> bytes:
    """Run a credential_process and return what it prints; raises OSError and subprocess's errors."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603 - the user's own
        try:
            printed, said = process.communicate(timeout=PROCESS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()  # a child of the process may hold its other end for longer
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words[0], stderr=said)
    return printed


def parse_credentials(printed: bytes) -> dict[str, Any]:
    """Return the credentials in what a credential_process printed; raises ValueError, TypeError or KeyError.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
    """
    found = json.loads(printed)
    if found["Version"] != 1:
        raise ValueError("Version is not 1")
    keys = {
        "access_key": found["AccessKeyId"],
        "secret_key": found["SecretAccessKey"],
        "token": found.get("SessionToken"),
        "expiry_time": found.get("Expiration"),
        "account_id": found.get("AccountId"),
    }
    if not all(isinstance(keys[name], str) for name in ("access_key", "secret_key")):
        raise TypeError("keys are text")
    return keys


def _left_s(end: str | None) -> float:
    """Return how long credentials last; those without an end, for ever."""
    if end is None:
        return float("inf")
    return (parse_timestamp(end) - datetime.now(timezone.utc)).total_seconds()


# --- aws login ---
class _Login(LoginProvider):
    """Take the credentials of `aws login` from the CLI where botocore lacks awscrt, which it needs for them."""

    def __init__(
        self,
        load_config: Callable[[], Mapping[str, Any]],
        client_creator: Callable[..., Any],
        profile: str,
    ) -> None:
        super().__init__(load_config, client_creator, profile)
        self._config, self._profile = load_config, profile

    def load(self) -> Any:  # noqa: ANN401 - botocore's own types
        """Return its credentials, None where the profile has none."""
        profile = self._config().get("profiles", {}).get(self._profile, {})
        aws = shutil.which("aws")
        if "login_session" not in profile or importlib.util.find_spec("awscrt") or aws is None:
            return super().load()
        # https://docs.aws.amazon.com/signin/latest/userguide/command-line-sign-in.html
        words = [aws, "configure", "export-credentials", "--profile", self._profile, "--format", "process"]
        config = {"profiles": {self._profile: {"credential_process": shlex.join(words)}}}
        return _Process(lambda: config, self._profile, "`aws configure export-credentials`").load()


# --- assumed roles ---
def _ask_code(prompt: str) -> str:
    """Ask a person for an MFA code."""
    if not _has_terminal():
        raise CredentialRetrievalError(
            provider="assume-role", error_msg="an MFA code is needed, and there is no terminal to type it in"
        )
    try:
        return getpass.getpass(prompt).replace(" ", "")
    except EOFError as error:
        raise CredentialRetrievalError(provider="assume-role", error_msg="no MFA code was typed") from error


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return sys.stdin.isatty()
    return True


def _cli_cache(*, reads: bool) -> Any:  # noqa: ANN401 - what botocore's providers take
    found = home()
    return {} if found is None else Cache(str(found / ".aws" / "cli" / "cache"), reads=reads)


class Cache(JSONFileCache):
    """Credentials of assumed roles, as the AWS CLI keeps them; a broken or read-only cache is an empty one."""

    def __init__(self, folder: str, *, reads: bool = True) -> None:
        super().__init__(folder)
        self._reads = reads

    def __contains__(self, cache_key: str) -> bool:
        try:
            self[cache_key]
        except KeyError:
            return False
        return True

    def __getitem__(self, cache_key: str) -> Any:  # noqa: ANN401 - JSON
        """Return an entry. KeyError for one that is absent or is none."""
        if not self._reads:
            raise KeyError(cache_key)
        try:
            entry = super().__getitem__(cache_key)
            kept = entry["Credentials"]
            texts = [kept[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")]
            _left_s(texts[-1])
        except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise KeyError(cache_key) from error
        if not all(isinstance(text, str) for text in texts):
            raise KeyError(cache_key)
        return entry

    def __setitem__(self, cache_key: str, value: Any) -> None:  # noqa: ANN401 - JSON
        """Keep an entry, where that is possible."""
        with contextlib.suppress(OSError):
            super().__setitem__(cache_key, value)
