"""A metadata service as EC2's, for tests and the rehearsal: tokens with a life time, 401, scripted notices, a record.

Run by itself (`python tests/support/fake_imds.py ADDRESS:PORT STATE.json LOG`) it serves what the JSON file says at
each request, so that a script can change it while an instance looks, and adds each request to the log.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# cloud-init asks by the date of a version of the tree, everybody else for the latest.
_VERSION = re.compile(r"^/(latest|[0-9]{4}-[0-9]{2}-[0-9]{2})/")


class FakeImds(ThreadingHTTPServer):
    """Serve `paths` (below /latest/) to whoever shows a token; `log` keeps every request."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int] = ("127.0.0.1", 0),
        state_file: Path | None = None,
        log_file: Path | None = None,
    ) -> None:
        super().__init__(address, _Handler)
        self.paths: dict[str, str] = {}
        self.state_file, self.log_file = state_file, log_file
        self.tokens: dict[str, float] = {}
        self.ttl_limit_s = 21_600.0
        self.broken = 0  # answer 500 to so many requests
        self.ahead_s = 0.0  # of this computer's clock
        self.log: list[str] = []

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]}:{self.server_address[1]}"

    def __enter__(self) -> FakeImds:  # noqa: PYI034 - Self came with Python 3.11
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def served(self) -> dict[str, str]:
        if self.state_file is None:
            return self.paths
        return {str(k): str(v) for k, v in json.loads(self.state_file.read_text()).items()}

    def note(self, request: str, status: int) -> None:
        if self.log_file is not None:
            with self.log_file.open("a", encoding="utf-8") as log:
                log.write(f"{time.strftime('%H:%M:%S')} {status} {request}\n")


class _Handler(BaseHTTPRequestHandler):
    server: FakeImds
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.server.log.append(f"PUT {self.path}")
        if self.path != "/latest/api/token" or not self._sound():
            self._answer(404 if self.path != "/latest/api/token" else 500, "")
            return
        ttl = float(self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "0"))
        if not 1 <= ttl <= 21_600:
            self._answer(400, "")
            return
        token = secrets.token_urlsafe(32)
        self.server.tokens[token] = time.monotonic() + min(ttl, self.server.ttl_limit_s)
        self._answer(200, token)

    def do_GET(self) -> None:
        self.server.log.append(f"GET {self.path}")
        until = self.server.tokens.get(self.headers.get("X-aws-ec2-metadata-token", ""), 0.0)
        if not self._sound():
            self._answer(500, "")
        elif time.monotonic() >= until:
            self._answer(401, "")
        else:
            text = self.server.served().get(_VERSION.sub("", self.path).rstrip("/"))
            self._answer(404 if text is None else 200, text or "")

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.server.ahead_s)

    def _sound(self) -> bool:
        self.server.broken -= 1
        return self.server.broken < 0

    def _answer(self, status: int, text: str) -> None:
        self.server.note(f"{self.command} {self.path}", status)
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing: `log` has it."""


if __name__ == "__main__":
    host, port = sys.argv[1].rsplit(":", 1)
    FakeImds((host, int(port)), Path(sys.argv[2]), Path(sys.argv[3])).serve_forever()
