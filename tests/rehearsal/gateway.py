"""A thin gateway in front of the S3 server: writes down every request, answers what the server does not know.

Objects are the server's. The bucket's configuration is kept here, as it was sent, so that a test can look at it. A
chaos case may let requests fail or wait.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

# Subresources of a bucket → what S3 answers while nothing was set.
CONFIGURATION = {
    "accelerate": None,
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "ownershipControls": "OwnershipControlsNotFoundError",
    "policy": "NoSuchBucketPolicy",
    "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
    "tagging": "NoSuchTagSet",
}
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}
TIMEOUT_S = 60.0


class Request(NamedTuple):
    """One request: when (monotonic clock, s), by whom, what, and how it ended; status 0 is a broken connection."""

    at: float
    client: str
    method: str
    path: str
    status: int
    took_s: float


class Gateway(ThreadingHTTPServer):
    """Serve on `address` what `upstream` (host:port) serves; `log` is a file for people."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], upstream: str, log: Path) -> None:
        super().__init__(address, _Handler)
        self.upstream = upstream
        self.requests: list[Request] = []
        # bucket → subresource → the body that was put
        self.configuration: dict[str, dict[str, bytes]] = {}
        # What a chaos case lets go wrong: client's address and path → a status to answer, 0 for none.
        self.spoil: Callable[[str, str], int] = lambda *_: 0
        self._log = log
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]}:{self.server_address[1]}"

    def __enter__(self) -> Gateway:  # noqa: PYI034 - Self came with Python 3.11
        threading.Thread(target=self.serve_forever, args=(0.05,), name="s3-gateway", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def write_down(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)
            line = f"{time.strftime('%H:%M:%S')} {request.client:15} {request.status or '---'} {request.took_s:7.3f} s"
            with self._log.open("a", encoding="utf-8") as log:
                log.write(f"{line} {request.method} {request.path}\n")

    def handle_error(self, *_: Any) -> None:
        """Say nothing: a client that went away is this test's business."""


class _Handler(BaseHTTPRequestHandler):
    server: Gateway
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def _serve(self) -> None:
        begun = time.monotonic()
        body = self._body()
        status = 0
        try:
            status = self.server.spoil(self.client_address[0], self.path)
            if status:
                self._answer(status, b"")
            else:
                status = self._configure(body)
            if not status:
                status = self._forward(body)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
        finally:
            took_s = time.monotonic() - begun
            self.server.write_down(
                Request(begun, self.client_address[0], self.command, self.path, status, took_s)
            )

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - http.server's names

    def _configure(self, body: bytes) -> int:
        """Answer a request about a bucket's configuration; 0 for any other."""
        url = urlsplit(self.path)
        bucket, _, key = url.path.lstrip("/").partition("/")
        asked = set(parse_qs(url.query, keep_blank_values=True)) & CONFIGURATION.keys()
        if not asked or key or self.command not in {"GET", "PUT"}:
            return 0
        name = asked.pop()
        kept = self.server.configuration.setdefault(bucket, {})
        if self.command == "PUT":
            kept[name] = body
            return self._answer(200, b"")
        if name in kept:
            return self._answer(200, kept[name])
        code = CONFIGURATION[name]
        return (
            self._answer(404, f"<Error><Code>{code}</Code></Error>".encode())
            if code
            else self._answer(200, b"")
        )

    def _forward(self, body: bytes) -> int:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=TIMEOUT_S)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
            headers["Connection"] = "close"
            if body or self.command in {"PUT", "POST"}:
                headers["Content-Length"] = str(len(body))
            connection.request(self.command, self.path, body or None, headers)
            reply = connection.getresponse()
            data = reply.read()
            self.send_response(reply.status)
            length = reply.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
            for name, value in reply.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(data)
            return reply.status
        finally:
            connection.close()

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, data: bytes) -> int:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        return status

    def handle_expect_100(self) -> bool:
        """Say "go on" at once: a client that does not hear it waits a second before each body."""
        go_on = super().handle_expect_100()
        self.wfile.flush()
        return go_on

    def send_response(self, code: int, message: str | None = None) -> None:
        """Leave Server and Date to the server behind."""
        self.send_response_only(code, message)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the log has it."""
