"""A proxy in front of moto's server, which notes the calls of AWS and refuses some as AWS does."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import boto3

ACCOUNT = "123456789012"  # moto's


@dataclass
class Refusal:
    """An error to answer with. `times`: how often; after `spared` calls that it lets through."""

    code: str
    status: int = 400
    region: str = ""
    call: str = r"POST .*/versions"
    times: int = 1_000_000
    spared: int = 0

    def applies(self, region: str, call: str) -> bool:
        """Return whether this call is refused, and count it."""
        if self.region not in ("", region) or not re.fullmatch(self.call, call) or not self.times:
            return False
        if self.spared:
            self.spared -= 1
            return False
        self.times -= 1
        return True


class RefusingAws:
    """The proxy, used as a context manager. `calls` has what came, each as its region and "METHOD PATH" or "sts".

    Args:
        moto: The address of moto's server.
    """

    def __init__(self, moto: str) -> None:
        self._moto = moto

    def __enter__(self) -> Self:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = proxy._answer(self)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.forget()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def forget(self) -> None:
        """Forget what was published, the calls and the refusals."""
        urllib.request.urlopen(urllib.request.Request(f"{self._moto}/moto-api/reset", method="POST")).close()
        self.calls: list[tuple[str, str]] = []
        self.refusals: list[Refusal] = []

    def client(self, region: str) -> Any:
        """Return boto3's client of Lambda, past the proxy."""
        credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client("lambda", region_name=region, endpoint_url=self._moto, **credentials)

    def uploads(self) -> list[tuple[str, str]]:
        """Return region and layer of each call that publishes a version, also of those that were refused."""
        found = [(region, re.fullmatch(r"POST .*/layers/([^/]+)/versions", call)) for region, call in self.calls]
        return [(region, call[1]) for region, call in found if call]

    def _answer(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        _, region, service = re.findall(r"/(\w+)/([\w-]+)/(\w+)/aws4_request", request.headers["Authorization"])[0]
        call = "sts" if service == "sts" else f"{request.command} {request.path.partition('?')[0]}"
        self.calls.append((region, call))
        for refusal in self.refusals:
            if refusal.applies(region, call):
                if service == "sts":
                    error = f"<ErrorResponse><Error><Code>{refusal.code}</Code><Message>Refused.</Message></Error>"
                    return refusal.status, {"Content-Type": "text/xml"}, f"{error}</ErrorResponse>".encode()
                return refusal.status, {"x-amzn-ErrorType": refusal.code}, json.dumps({"message": "Refused."}).encode()
        headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Content-Length")}
        relayed = urllib.request.Request(self._moto + request.path, body or None, headers, method=request.command)
        try:
            with urllib.request.urlopen(relayed) as response:
                return response.status, {"Content-Type": response.headers["Content-Type"]}, response.read()
        except urllib.error.HTTPError as error:
            kept = {name: error.headers[name] for name in ("Content-Type", "x-amzn-ErrorType") if error.headers[name]}
            return error.code, kept, error.read()
