"""Read a refusal by IAM: which policy refused, and the encoded message with all the rest. Imports nothing of ours.

The wording: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html. EC2 adds an encoded
message: https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ENCODED = re.compile(r"\.?\s*Encoded authorization failure message:\s*(\S+)\s*$")
_EXPLICIT = re.compile(
    r"with an explicit deny(?: in (?:an? |the )?([A-Za-z][A-Za-z -]*?(?:policy|boundary)))?"
)
_MISSING = re.compile(r"because no ([A-Za-z][A-Za-z -]*?(?:policy|boundary)) allows")
IDENTITY = "identity-based policy"  # of the user or the role: the one kind that more rights can resolve


class Denial(NamedTuple):
    """A refusal by IAM, parsed."""

    text: str  # without the encoded message
    policy: str = ""  # the kind that refused, as AWS names it; empty where it does not say
    explicit: bool = False  # a statement with Deny: no other can allow it
    encoded: str = ""

    @property
    def can_be_granted(self) -> bool:
        """Tell whether a policy of ours on the user or role would resolve it."""
        return not self.explicit and self.policy in {"", IDENTITY}


def parse(message: str) -> Denial:
    """Return what AWS's message of a refusal says."""
    found = _ENCODED.search(message)
    text = message[: found.start()].rstrip() if found else message
    explicit, missing = _EXPLICIT.search(text), _MISSING.search(text)
    kind = (explicit[1] or "") if explicit else missing[1] if missing else ""
    return Denial(text, kind, explicit is not None, found[1] if found else "")


def next_step(denial: Denial, action: str, granted: str) -> str:
    """Return who can help with a refusal of an action; granted: the help where more rights of one's own suffice."""
    step = granted if denial.can_be_granted else _who(denial, action)
    if not denial.encoded:
        return step
    return f"{step}\n{decode_command(denial.encoded)}"


def decode_command(encoded: str) -> str:
    """Return the command that says what exactly was refused; it needs sts:DecodeAuthorizationMessage."""
    return (
        "To see exactly what was refused (needs the right to decode it): aws sts decode-authorization-message --query "
        f"DecodedMessage --output text --encoded-message {encoded}"
    )


def _who(denial: Denial, action: str) -> str:
    kind = denial.policy
    if kind in {"service control policy", "resource control policy"}:
        return f"Your organisation forbids {action} ({kind}): no right of your user helps. Ask its administrator."
    if kind == "permissions boundary":
        return f"The permissions boundary of your user or role excludes {action}: ask the account's administrator."
    if kind == "session policy":
        return f"The policy of your session excludes {action}. Begin a session without it, or ask who gave it to you."
    if kind == "VPC endpoint policy":
        return (
            f"The endpoint by which your network reaches AWS excludes {action}. Ask who manages the network."
        )
    where = f"an {kind}" if kind == IDENTITY else f"a {kind or 'policy'}"
    return f"A statement in {where} denies {action}: no other right helps. Ask the administrator of your account."
