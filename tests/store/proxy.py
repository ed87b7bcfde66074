"""A TCP proxy in front of an S3 server that spoils chosen requests the way networks and servers do."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

RECEIVE = 1 << 16


class Request(NamedTuple):
    """The head of a request, as far as a fault needs to know it."""

    number: int
    method: str
    path: str


def _reply(status: str, code: str) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


# Answers given without asking the server.
ANSWERS = {
    "500": _reply("500 Internal Server Error", "InternalError"),
    "503 SlowDown": _reply("503 Slow Down", "SlowDown"),
    "409": _reply("409 Conflict", "ConditionalRequestConflict"),
    "403": _reply("403 Forbidden", "AccessDenied"),
}
# The answer to a repetition below our feet of a write whose first reply was lost.
REFUSAL = _reply("412 Precondition Failed", "PreconditionFailed")
# The connection breaks: before anything, in the middle of the request's body, of the reply, after the work.
BREAKS = (
    "refused",
    "torn request",
    "lost reply",
    "torn reply",
    "timeout",
    "flipped reply",
    "412 after the work",
)
SOCKET_FAULTS = (*ANSWERS, *BREAKS)


class FaultProxy:
    """Forward each connection to the server; `due` names the fault, if any, of each request.

    One request a connection: every reply closes it, so a fault hits exactly the request it is meant for.
    """

    def __init__(self, upstream: tuple[str, int], due: Callable[[Request], str | None]) -> None:
        self._upstream = upstream
        self._due = due
        self.requests: list[Request] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._closing = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(30)
            head, body = _read_head(client)
            if not head:
                return
            method, path = head.split(b" ", 2)[:2]
            request = Request(len(self.requests), method.decode(), path.decode())
            self.requests.append(request)
            fault = self._due(request)
            if fault == "refused":
                _reset(client)
            elif fault == "timeout":
                self._closing.wait(30)  # the client gives up long before
            elif fault in ANSWERS:
                _rest_of_body(client, head, body)
                client.sendall(ANSWERS[fault])
            else:
                self._forward(client, head, body, fault)

    def _forward(self, client: socket.socket, head: bytes, body: bytes, fault: str | None) -> None:
        body = _rest_of_body(client, head, body)
        if fault == "torn request":
            body = body[: len(body) // 2]
        with socket.create_connection(self._upstream, timeout=30) as server:
            # The body was asked for and read here; the server must neither ask for it nor keep the line.
            head = re.sub(rb"(?im)^(expect|connection):[^\r\n]*\r\n", b"", head)
            server.sendall(head[:-2] + b"Connection: close\r\n\r\n" + body)
            if fault == "torn request":
                server.shutdown(socket.SHUT_WR)
                _reset(client)
                return
            reply = b"".join(iter(lambda: server.recv(RECEIVE), b""))
        if fault == "lost reply":
            _reset(client)
        elif fault == "torn reply":
            client.sendall(reply[: max(1, len(reply) - 7)])
        elif fault == "412 after the work" and head.startswith(b"PUT "):
            client.sendall(REFUSAL)
        elif fault == "flipped reply":
            client.sendall(reply[:-3] + bytes([reply[-3] ^ 1]) + reply[-2:])
        else:
            client.sendall(reply)


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = client.recv(RECEIVE)
        if not chunk:
            return b"", b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


def _rest_of_body(client: socket.socket, head: bytes, body: bytes) -> bytes:
    if re.search(rb"(?im)^expect: 100-continue", head):
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    found = re.search(rb"(?im)^content-length: *(\d+)", head)
    length = int(found.group(1)) if found else 0
    while len(body) < length:
        chunk = client.recv(RECEIVE)
        if not chunk:
            break
        body += chunk
    return body


def _reset(client: socket.socket) -> None:
    """Close with a reset, as a machine that is gone does."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


@contextlib.contextmanager
def fault_proxy(endpoint: str, due: Callable[[Request], str | None]) -> Iterator[FaultProxy]:
    """Run a proxy in front of an http endpoint for a `with` block."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    proxy = FaultProxy((host, int(port)), due)
    try:
        yield proxy
    finally:
        proxy.close()
