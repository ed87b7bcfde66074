"""Servers that any test may ask for; they start when the first test does, once a session."""

from tests.servers import credentials, moto_server, moto_url, weed_server, weed_url

__all__ = ["credentials", "moto_server", "moto_url", "weed_server", "weed_url"]
