"""The second transport: the same requests over urllib3's pool. Chosen by `SAMOVAR_TRANSPORT=urllib3`; the tests compare
the wire with it.

Not imported otherwise: `make bench` has a row for its cost. Knows nothing of Lambda.
"""

import logging
import sys

from samovar.wire import Gone, WireError, merge, parse_address

_OLDEST = 1, 26
try:
    import urllib3
    from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError

    _version: str = vars(urllib3)["__version__"]
    if tuple(int(number) for number in _version.split(".")[:2]) < _OLDEST:
        raise ImportError(f"{_version} is too old")
except Exception as exc:  # the function's own urllib3, or another module of that name, comes first
    _found = getattr(sys.modules.get("urllib3"), "__file__", None) or "none"
    raise ImportError(f"urllib3 1.26 or later is needed; found {_found}: {exc}") from None


class Urllib3Transport:
    """One kept-alive connection in a pool of one."""

    def __init__(self, address: str) -> None:
        host, port = parse_address(address)
        self._pool = urllib3.HTTPConnectionPool(host, port, maxsize=1, block=True, timeout=None, retries=False)
        self._answered = False  # since the last failure
        self._reached = False
        self._busy = False
        for name in ("urllib3.connectionpool", "urllib3.util.retry"):  # at DEBUG they log every request
            logging.getLogger(name).addFilter(lambda record: not self._busy)

    def request(
        self, method: str, path: str, headers: str, body: "bytes | None"
    ) -> "tuple[int, dict[str, str], bytes]":
        """Send one request and return status, headers (names in lower case) and body of its answer. headers: lines that
        end in CRLF. There is no time-out.
        """
        fields = dict(line.split(b": ", 1) for line in headers.encode("utf-8", "surrogateescape").split(b"\r\n")[:-1])
        self._busy = True
        try:
            return self._request(method, path, fields, body)
        finally:
            self._busy = False

    def _request(
        self, method: str, path: str, headers: "dict[bytes, bytes]", body: "bytes | None"
    ) -> "tuple[int, dict[str, str], bytes]":
        try:
            response = self._pool.request(method, path, body=body, headers=headers)  # type: ignore[arg-type]
        except ProtocolError as exc:
            # "Connection aborted.": no answer has begun, so a GET of /next has taken no event.
            aborted = exc.args[0] == "Connection aborted." and isinstance(exc.args[-1], ConnectionError)
            again = body is None and self._answered and aborted
            self._answered, self._reached = False, True
            if again:
                return self._request(method, path, headers, body)
            if body is not None:
                raise WireError(f"{exc}; it is not known whether it was taken") from None
            failed = Gone if aborted else WireError
            raise failed(str(exc)) from None
        except HTTPError as exc:
            failed = Gone if self._reached and isinstance(exc, NewConnectionError) else WireError
            raise failed(str(exc)) from None
        self._answered = self._reached = True
        decoded = merge(
            (name.lower(), value.encode("latin-1").decode("utf-8", "surrogateescape"))
            for name, value in response.headers.iteritems()
        )
        return response.status, decoded, response.data
