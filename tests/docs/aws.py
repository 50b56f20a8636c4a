"""The few calls of AWS that the examples in the docs make, answered on loopback, for the real boto3."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

ANSWERS = {
    "AmazonSSM.GetParameter": {"Parameter": {"Name": "/shop/limit", "Type": "SecureString", "Value": "100"}},
    "secretsmanager.GetSecretValue": {"Name": "shop/database", "SecretString": '{"user": "shop", "password": "tea"}'},
    "DynamoDB_20120810.GetItem": {"Item": {"id": {"S": "1"}, "name": {"S": "Samovar"}}},
    "DynamoDB_20120810.PutItem": {},
}


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = ANSWERS.get(self.headers.get("X-Amz-Target", ""))
        body = json.dumps(answer if answer is not None else {"__type": "UnknownOperationException"}).encode()
        self.send_response(200 if answer is not None else 400)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Aws:
    """A server on a free port, used as a context manager; `variables` lead boto3 to it."""

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.variables = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.server_port}",
            "AWS_ACCESS_KEY_ID": "example",
            "AWS_SECRET_ACCESS_KEY": "example",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
