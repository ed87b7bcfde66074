"""The address by which this computer is seen from outside."""

from __future__ import annotations

import ipaddress

from ..errors import TrainingError

URL = "https://checkip.amazonaws.com/"


def own_address() -> str:
    """Return this computer's public IPv4 address. TrainingError where Amazon's page does not say it."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - half a second that --help need not pay

    from . import session  # noqa: PLC0415 - the same

    try:
        text = session.get(URL).content[:64].decode("ascii").strip()
        return str(ipaddress.IPv4Address(text))
    except (BotoCoreError, ValueError) as error:  # a page of something between here and Amazon is no address
        raise TrainingError(f"{URL} does not say this computer's address: {error}") from error
