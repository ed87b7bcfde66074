"""A proxy before moto that answers what moto cannot: quotas, prices, fleet history, an expired session.

    with Front(moto_server) as front:
        front.answers["GetServiceQuota"] = quota(0)

Everything else goes through. Actions are named as AWS's APIs name them; of S3 by method and path: "HEAD /bucket".
What is answered instead of moto is held against AWS's service model: a word that AWS would never say fails the test.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from botocore import xform_name
from typing_extensions import Self

from tests.cloud import aws_words
from tests.cloud.service_model import SIGNED_AS, error_codes, operations, problems_of_wire


class Answer(NamedTuple):
    """What is said instead of moto."""

    body: str
    status: int = 200
    kind: str = "application/x-amz-json-1.1"
    foreign: bool = False  # meant not to be AWS's: a proxy's page


class Front:
    """The proxy; `answers` by action, `asked` in order, `wrong` what of the answers AWS would never say."""

    def __init__(self, behind: str, certificate: Path | None = None) -> None:
        self.answers: dict[str, Answer | Callable[[str], Answer]] = {}
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self._behind = urllib.parse.urlsplit(behind).netloc
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        if certificate is not None:  # it speaks TLS
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="front", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        assert kind is not None or self.wrong == [], f"AWS would never answer so: {self.wrong}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                action = _action(self.headers.get("X-Amz-Target"), body)
                action = action or f"{self.command} {urllib.parse.urlsplit(self.path).path}"
                front.asked.append(action)
                answer = front.answers.get(action)
                if callable(answer):
                    answer = answer(body.decode())
                if answer is not None:
                    front.wrong += _not_of_aws(self.headers.get("Authorization", ""), action, answer)
                    headers = [("Content-Type", answer.kind), ("Date", self.date_time_string())]
                    self.reply(answer.status, headers, answer.body.encode())
                    return
                connection = http.client.HTTPConnection(front._behind, timeout=60)
                connection.request(self.command, self.path, body, dict(self.headers))
                reply = connection.getresponse()
                data = reply.read()
                connection.close()
                hop = {"content-length", "transfer-encoding", "connection"}
                kept = [(key, value) for key, value in reply.getheaders() if key.lower() not in hop]
                self.reply(reply.status, kept, data)

            def reply(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
                self.send_response_only(status)
                for key, value in headers:
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        for method in ("GET", "POST", "PUT", "HEAD", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.do)
        return Handler


def _action(target: str | None, body: bytes) -> str:
    if target:
        return target.rpartition(".")[2]
    if not body.startswith(b"Action=") and b"&Action=" not in body:
        return ""
    return urllib.parse.parse_qs(body.decode()).get("Action", [""])[0]


def _not_of_aws(authorization: str, action: str, answer: Answer) -> list[str]:
    """Return what of an answer the model of the service that the request was signed for does not know."""
    if answer.foreign:
        return []
    scope = authorization.partition("Credential=")[2].split("/")  # key, date, region, service
    service = SIGNED_AS.get(scope[3], scope[3]) if len(scope) > 3 else ""
    if answer.status >= 300:
        code = answer.body.partition("<Code>")[2].partition("</Code>")[0]
        known = error_codes(service) | set(aws_words.ERROR_CODES)
        return [] if not code or code in known else [f"{action}: {code} is no error code of {service}"]
    operation = xform_name(action)
    if operation not in operations(service):
        return [f"{action} is no operation of {service}"]
    return problems_of_wire(service, operation, answer.body)


def quota(vcpus: float) -> Answer:
    """Return a quota of GPU machines."""
    return Answer(json.dumps({"Quota": {"Value": vcpus, "QuotaCode": "L-3819A6DF", "ServiceCode": "ec2"}}))


def on_demand(usd_per_hour: float) -> Answer:
    """Return one on-demand price for all types."""
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": str(usd_per_hour)}}
    offer = {"terms": {"OnDemand": {"x": {"priceDimensions": {"y": dimension}}}}}
    return Answer(json.dumps({"PriceList": [json.dumps(offer)], "FormatVersion": "aws_v1"}))


def refusal(code: str, message: str, status: int = 403) -> Answer:
    """Return an error of the services that speak XML (STS, IAM)."""
    text = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        "<RequestId>1</RequestId></ErrorResponse>"
    )
    return Answer(text, status, "text/xml")


def simulator(denied: set[str]) -> Callable[[str], Answer]:
    """Return IAM's simulator of a user who may do all but this."""
    return lambda body: _simulated(
        [
            (value, "implicitDeny" if value in denied else "allowed")
            for key, (value, *_) in urllib.parse.parse_qs(body).items()
            if key.startswith("ActionNames.member.")
        ]
    )


def _simulated(rows: list[tuple[str, str]]) -> Answer:
    members = "".join(
        f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>*</EvalResourceName>"
        f"<EvalDecision>{decision}</EvalDecision></member>"
        for action, decision in rows
    )
    return Answer(
        f"<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><EvaluationResults>{members}"
        "</EvaluationResults><IsTruncated>false</IsTruncated></SimulatePrincipalPolicyResult>"
        "</SimulatePrincipalPolicyResponse>",
        kind="text/xml",
    )


def spot_prices(rows: list[tuple[str, str, float]], at: str) -> Answer:
    """Return spot prices: (type, zone, dollars per hour), set at an ISO time."""
    items = "".join(
        f"<item><instanceType>{kind}</instanceType><productDescription>Linux/UNIX</productDescription>"
        f"<spotPrice>{usd}</spotPrice><timestamp>{at}</timestamp><availabilityZone>{zone}</availabilityZone></item>"
        for kind, zone, usd in rows
    )
    return Answer(
        f"<DescribeSpotPriceHistoryResponse><spotPriceHistorySet>{items}</spotPriceHistorySet><nextToken/>"
        "</DescribeSpotPriceHistoryResponse>",
        kind="text/xml",
    )


def fleet_history(kind: str, subtype: str, description: str, at: str) -> Answer:
    """Return one event in a fleet's history, at an ISO time."""
    return Answer(
        f"<DescribeFleetHistoryResponse><historyRecordSet><item><eventType>{kind}</eventType><timestamp>{at}</timestamp>"
        f"<eventInformation><eventSubType>{subtype}</eventSubType><eventDescription>{description}</eventDescription>"
        "</eventInformation></item></historyRecordSet></DescribeFleetHistoryResponse>",
        kind="text/xml",
    )
