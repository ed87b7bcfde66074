"""A server that answers the wandb package as its service would, as far as a run's curves need it.

It keeps what it is sent: rows of history by run and line, as the service files them (a line sent again replaces
the one before), and each run's settings.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeWandb:
    """What the server has been told."""

    def __init__(self) -> None:
        self.history: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        self.settings: dict[str, dict[str, Any]] = defaultdict(dict)
        self.url = ""

    def points(self, run: str, curve: str) -> list[tuple[float, float]]:
        """Return a curve of a run as pairs of timestep and value, in the order of the service's lines."""
        rows = self.history[run]
        return [(rows[i]["timesteps"], rows[i][curve]) for i in sorted(rows) if curve in rows[i]]

    def graphql(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the data that answers a query."""
        if operation == "RunResumeStatus":
            return {"model": {"id": "m", "name": "f1tenth", "bucket": self._bucket(variables["name"])}}
        if operation == "UpsertBucket":
            run = variables["name"]
            self.settings[run].update(json.loads(variables["config"] or "{}"))
            project = {"id": "p", "name": "f1tenth", "entity": {"id": "e", "name": "nobody"}}
            bucket = {"id": "b", "name": run, "displayName": run, "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/upload"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        return {}

    def stream(self, run: str, sent: dict[str, Any]) -> None:
        """File lines of history at the offset that they are sent for."""
        part = sent.get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
        for number, line in enumerate(part["content"], part["offset"]):
            self.history[run][number] = json.loads(line)

    def _bucket(self, run: str) -> dict[str, Any] | None:
        rows = self.history.get(run)
        if not rows:
            return None
        last = json.dumps(rows[max(rows)])
        return {
            "id": "b",
            "name": run,
            "summaryMetrics": last,
            "historyLineCount": len(rows),
            "historyTail": json.dumps([last]),
            "eventsLineCount": 0,
            "eventsTail": "[]",
            "logLineCount": 0,
            "config": "{}",
            "wandbConfig": '{"t": 1}',
        }


@contextlib.contextmanager
def serving() -> Iterator[FakeWandb]:
    """Run a server for a `with` block."""
    fake = FakeWandb()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_PUT(self) -> None:
            self._body()
            self._answer({})

        def do_POST(self) -> None:
            body = self._body()
            if self.path == "/graphql":
                asked = json.loads(body)
                self._answer({"data": fake.graphql(asked["operationName"], asked["variables"])})
                return
            if self.path.endswith("/file_stream"):
                fake.stream(self.path.split("/")[-2], json.loads(body))
            self._answer({})

        def _body(self) -> bytes:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

        def _answer(self, data: dict[str, Any]) -> None:
            text = json.dumps(data).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
