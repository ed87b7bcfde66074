"""Advice for when there is no access to AWS. Imports nothing, so that errors can be named before botocore is loaded."""

from __future__ import annotations

import os
import shlex

LOGIN = "Log in with `aws configure`, `aws login` or `aws sso login`, or set AWS_PROFILE; then: ./launch.py doctor"
EXPIRED = f"Your session has expired. {LOGIN}"
CLOCK = "Set this computer's clock (Linux: sudo timedatectl set-ntp true; WSL: sudo hwclock -s)."
CERTIFICATES = (
    "Something between this computer and AWS shows a certificate of its own, or this computer's clock is wrong. "
    "A company's proxy: set AWS_CA_BUNDLE to the file with its certificate. The clock: ./launch.py doctor"
)
_SSO = "Log in again: aws sso login{profile}"
_CONFIG = "Correct ~/.aws/config (AWS_CONFIG_FILE); then: ./launch.py doctor"
# By the name of botocore's exception, or of one that it derives from. The first that fits counts.
ADVICE = {
    "LoginError": "Log in again: aws login{profile}",
    "SSOError": _SSO,
    "TokenRetrievalError": _SSO,
    "NoAuthTokenError": _SSO,
    "RefreshWithMFAUnsupportedError": "The session has ended. Type the command again: it asks for a new MFA code.",
    "MissingDependencyException": "Install the AWS CLI, version 2: it fetches the credentials of `aws login`. "
    "https://aws.amazon.com/cli/",
    "CredentialRetrievalError": "Try it with the AWS CLI: aws sts get-caller-identity{profile}",
    "NoCredentialsError": LOGIN,
    "PartialCredentialsError": LOGIN,
    "MetadataRetrievalError": LOGIN,
    "UnknownCredentialError": LOGIN,
    "UnknownTokenProviderError": LOGIN,
    "InvalidConfigError": _CONFIG,
    "ConfigParseError": _CONFIG,
    "ConfigNotFound": _CONFIG,
}
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html and S3's list of errors.
CLOCK_CODES = {"RequestTimeTooSkewed", "RequestInTheFuture"}
EXPIRED_CODES = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}


def advice(error: Exception) -> str:
    """Return the next step for one of botocore's errors of fetching credentials, empty for any other error."""
    names = {ancestor.__name__ for ancestor in type(error).__mro__}
    profile = os.environ.get("AWS_PROFILE", "")
    text = next((text for name, text in ADVICE.items() if name in names), "")
    return text.replace("{profile}", f" --profile {shlex.quote(profile)}" if profile else "")


def is_bad_certificate(error: Exception) -> bool:
    """Tell whether a connection failed because the other side's certificate is not trusted."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error)
