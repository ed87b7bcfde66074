"""The one session with AWS of a process: every client comes from it, so credentials are asked for once.

botocore reads profiles, SSO, `aws login`, proxies, AWS_CA_BUNDLE and AWS_ENDPOINT_URL. Added here: each failure of
fetching credentials is one of botocore's errors, with advice. Their sources are in credentials.py.
Importing this module takes as long as importing botocore: importers do so where they need it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.credentials import CredentialResolver
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, ParamValidationError
from botocore.httpsession import URLLib3Session
from botocore.loaders import create_loader
from botocore.parsers import ResponseParserError
from botocore.utils import get_environ_proxies

from ..errors import ConfigurationError
from .credentials import chain_of

# Requests that only fetch credentials: botocore's own limits are 60 s each and five tries.
FETCH = Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 2, "mode": "standard"})
# Providers whose credentials a machine renews; those of all others, a person.
RENEWED_BY_MACHINE = {"iam-role", "container-role"}

_lock = threading.RLock()


def client(
    service: str, region: str | None, endpoint: str | None = None, config: Config | None = None
) -> Any:  # noqa: ANN401 - botocore makes its classes at run time
    """Return a new client of a service; `endpoint` None means the user's AWS_ENDPOINT_URL, or else Amazon's.

    Raises botocore's errors, those of advice.py for missing credentials, and ConfigurationError.
    """
    with _lock:  # a session makes one client at a time
        current = session()
        current.region = current.region or region
        try:
            made: Any = current.create_client
            return made(service, region_name=region, endpoint_url=endpoint, config=config)
        except BotoCoreError:
            raise
        except ValueError as error:
            raise ConfigurationError(
                f"{service}: {error}",
                next_step="Correct aws.endpoints, AWS_ENDPOINT_URL or the profile's endpoint_url: "
                "an address begins with https:// or http://.",
            ) from error


def session() -> Session:
    """Return the session of this process and its environment."""
    environment = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_") or k == "HOME"))
    with _lock:
        return _session_in(environment)


def fetch_credentials(region: str) -> None:
    """Get the credentials now, which may ask a person; where there are none, the first request says so."""
    with _lock:
        current = session()
        current.region = current.region or region
        found = current.get_credentials()
        if found is not None:
            found.get_frozen_credentials()


def renews_itself() -> bool:
    """Tell whether the credentials are a machine's role, which is renewed without a person."""
    try:
        found = session().get_credentials()
    except BotoCoreError:
        return False
    return found is not None and found.method in RENEWED_BY_MACHINE


def exported(region: str) -> dict[str, str]:
    """Return the credentials as environment variables where the profile asks for an MFA code; empty otherwise.

    For a program that cannot ask for a code. Credentials that it can fetch by itself it can also renew.
    """
    current = session()
    current.region = current.region or region
    found = current.get_credentials() if "mfa_serial" in current.get_scoped_config() else None
    if found is None or found.method != "assume-role":
        return {}
    keys = found.get_frozen_credentials()
    return {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_SESSION_TOKEN": keys.token,
    }


def endpoint_of(service: str, setting: str | None = None) -> str | None:
    """Return the address that the settings or the user's AWS configuration name for a service, None for Amazon's."""
    if setting is not None:
        return setting
    current = session()
    if current.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    found = ConfiguredEndpointProvider(
        full_config=current.full_config, scoped_config=current.get_scoped_config(), client_name=service
    ).provide()
    return None if found is None else str(found)


def get(url: str, *, timeout_s: int = 10, verify: bool = True) -> Any:  # noqa: ANN401 - botocore's AWSResponse
    """Fetch a page as requests to AWS go: the same proxies, the same certificates. Raises botocore's errors."""
    certificates: Any = verify and (_ca_bundle(session()) or True)
    http = URLLib3Session(verify=certificates, proxies=get_environ_proxies(url), timeout=timeout_s)
    try:
        with warnings.catch_warnings():
            if not verify:  # of which urllib3 warns, each time
                warnings.simplefilter("ignore")
            return http.send(AWSRequest("GET", url).prepare())
    finally:
        http.close()


# --- the session ---
class Session(botocore.session.Session):
    """Give out credentials of which every failure is one of botocore's errors."""

    region: str | None = None  # of the first client: where roles are assumed
    reads_cache = True  # False: a role is assumed again, for its full time

    def _create_credential_resolver(self) -> CredentialResolver:
        return chain_of(self, self.region, reads_cache=self.reads_cache)

    def get_credentials(self) -> Any:  # noqa: ANN401 - what botocore's signers take
        """Return the credentials, None where there are none."""
        with _named("the profile"):
            found = super().get_credentials()
        return None if found is None else _Credentials(found)


class _Credentials:
    """Credentials that name what went wrong when they were renewed."""

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 - any kind of botocore's
        self._inner = inner

    def get_frozen_credentials(self) -> Any:  # noqa: ANN401 - botocore's own type
        with _named(self._inner.method):
            return self._inner.get_frozen_credentials()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return getattr(self._inner, name)


@functools.lru_cache(maxsize=4)
def _session_in(_environment: tuple[tuple[str, str], ...]) -> Session:
    made = Session()
    made.register_component("data_loader", _loader(made.get_config_variable("data_path")))
    made.set_default_client_config(FETCH)
    _ca_bundle(made)
    return made


@functools.lru_cache
def _loader(path: str | None) -> Any:  # noqa: ANN401 - botocore's own type
    """Read botocore's descriptions of services once a process, not once a session: a tenth of a second each."""
    return create_loader(path)


def _ca_bundle(of: Session) -> str | None:
    """Return the file of certificates that the user names. ConfigurationError if it is not there."""
    found = of.get_config_variable("ca_bundle")
    if isinstance(found, str) and not Path(found).exists():
        raise ConfigurationError(
            f"there is no file of certificates {found}",
            next_step="Correct AWS_CA_BUNDLE, or the profile's ca_bundle.",
        )
    return found if isinstance(found, str) else None


@contextlib.contextmanager
def _named(provider: str) -> Iterator[None]:
    """Raise what the user's files and programs cause while credentials are fetched as one of botocore's errors."""
    try:
        yield
    except (ParamValidationError, ClientError, ResponseParserError) as error:  # of AssumeRole, of SSO
        raise CredentialRetrievalError(provider=provider, error_msg=str(error)) from error
    except BotoCoreError:
        raise
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        # Broken files of the SSO or login cache, times that are none, credentials that had ended when they came.
        raise CredentialRetrievalError(
            provider=provider, error_msg=f"{type(error).__name__}: {error}"
        ) from error
