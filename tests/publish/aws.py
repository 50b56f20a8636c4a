"""AWS for the tests: moto's server on a free port, which can be told to refuse calls as AWS refuses them."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug import Request, Response
from werkzeug.serving import WSGIRequestHandler, make_server

ACCOUNT = "123456789012"  # moto's
STS = """<ErrorResponse><Error><Code>{}</Code><Message>{}</Message></Error></ErrorResponse>"""


@dataclass
class Refusal:
    """An error that AWS answers with. `times`: how often; after `spared` calls that it lets through."""

    code: str
    status: int = 400
    region: str = ""
    call: str = r"POST .*/versions"
    times: int = 1_000_000
    spared: int = 0

    def __call__(self, region: str, call: str) -> bool:
        if self.region not in ("", region) or not re.fullmatch(self.call, call) or not self.times:
            return False
        if self.spared:
            self.spared -= 1
            return False
        self.times -= 1
        return True


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        pass


class Aws:
    """The server, used as a context manager. `variables` lead an SDK to it, `calls` has what came: region and call."""

    def __enter__(self) -> Self:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.variables = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "example",
            "AWS_SECRET_ACCESS_KEY": "example",
        }
        self.reset()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reset(self) -> None:
        """Forget what was published, the calls and the refusals."""
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")).close()
        self.calls: list[tuple[str, str]] = []
        self.refusals: list[Refusal] = []

    def client(self, region: str) -> Any:
        """Return boto3's client of Lambda, for what a test looks at."""
        return boto3.client(
            "lambda",
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="example",
            aws_secret_access_key="example",
        )

    def published(self) -> list[tuple[str, str]]:
        """Return region and layer of each layer that was published, whatever AWS answered."""
        calls = [(region, re.fullmatch(r"POST .*/layers/([^/]+)/versions", call)) for region, call in self.calls]
        return [(region, call[1]) for region, call in calls if call]

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/", request.headers.get("Authorization", ""))
        if scope:
            region, service = scope[1], scope[2]
            call = "sts" if service == "sts" else f"{request.method} {request.path}"
            self.calls.append((region, call))
            for refusal in self.refusals:
                if refusal(region, call):
                    return self._refused(refusal, service)(environ, start_response)
        answered: Iterable[bytes] = self._moto(environ, start_response)
        return answered

    @staticmethod
    def _refused(refusal: Refusal, service: str) -> Response:
        if service == "sts":
            return Response(STS.format(refusal.code, "Refused."), refusal.status, content_type="text/xml")
        body = json.dumps({"message": "Refused."})
        headers = {"x-amzn-ErrorType": refusal.code}
        return Response(body, refusal.status, headers, content_type="application/json")
