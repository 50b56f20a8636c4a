"""A request and an answer as HTTP has them, and the steps that several sources share.

Knows nothing of any one source.
"""

from _socket import AF_INET6, inet_pton
from binascii import a2b_base64, b2a_base64
from http import HTTPStatus
from urllib.parse import quote, quote_plus, unquote_to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Headers = list[tuple[bytes, bytes]]

_PATH_CHARACTERS = "/:@!$&'()*+,;=~"  # RFC 3986: what a path may have unquoted


class Request:
    """One HTTP request.

    path: the whole path, unquoted; raw_path: as the client sent it, or quoted anew. root_path: its beginning that is
    the platform's (a stage, a base path) and not the application's. headers: names in lower case.
    """

    __slots__ = (
        "body",
        "client",
        "headers",
        "host",
        "method",
        "path",
        "port",
        "query",
        "raw_path",
        "root_path",
        "scheme",
    )

    def __init__(
        self,
        method: str,
        path: bytes,
        raw_path: bytes,
        root_path: str,
        query: bytes,
        headers: "Headers",
        body: bytes,
        client: "str | None",
        host: "str | None" = None,
    ) -> None:
        """host: where the headers name none."""
        self.method = method.upper()
        self.path = path
        self.raw_path = raw_path
        self.root_path = root_path
        self.query = query
        self.headers = headers
        self.body = body
        self.client = client
        self.scheme = _first(headers, b"x-forwarded-proto") or "https"
        self.host, port = _host_port(_first(headers, b"host") or "") or _host_port(host or "") or ("localhost", None)
        if port is None:
            port = _port(_first(headers, b"x-forwarded-port") or "")
        self.port: int = (80 if self.scheme == "http" else 443) if port is None else port


class Answer:
    """One HTTP answer. headers: in their order, with names as the application wrote them."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: "Headers", body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def failed() -> Answer:
    """Return what the client gets when the application has failed."""
    return Answer(500, [(b"content-type", b"text/plain; charset=utf-8")], b"Internal Server Error")


def header_list(headers: "dict[str, Any] | None") -> "Headers":
    """Return headers as pairs. The values are strings or lists of strings; null where one is missing."""
    headers = headers or {}
    try:  # one value each, in Latin-1, as nearly all events have
        return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    except (AttributeError, UnicodeEncodeError):
        pass
    pairs: Headers = []
    for name, values in headers.items():
        key = _bytes(name.lower())
        for value in values if isinstance(values, list) else (values,):
            if value is not None:
                pairs.append((key, _bytes(value)))
    return pairs


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def one_cookie_header(headers: "Headers", cookies: "list[str] | None") -> "Headers":
    """Return the headers with all cookies in one `cookie`, as RFC 6265 wants it."""
    if cookies:  # some sources have them in the header as well
        values = [_bytes(cookie) for cookie in cookies]
    else:
        values = [value for name, value in headers if name == b"cookie"]
        if len(values) < 2:
            return headers
    return [pair for pair in headers if pair[0] != b"cookie"] + [(b"cookie", b"; ".join(values))]


def body_of(event: "dict[str, Any]", is_base64: str = "isBase64Encoded") -> bytes:
    """Return the request's body. Raises ValueError where it is not the base64 that the event says it is."""
    body: str = event.get("body") or ""
    if not event.get(is_base64):
        return body.encode("utf-8", "surrogatepass")
    try:
        return a2b_base64(body)
    except ValueError as exc:
        raise ValueError(f"the event's body is not base64, though its {is_base64} is true: {exc}") from None


def unquoted(path: str) -> "tuple[bytes, bytes]":
    """Return path and raw path of a quoted one."""
    return unquote_to_bytes(path), quote(path, _PATH_CHARACTERS + "%").encode()


def quoted(path: str) -> "tuple[bytes, bytes]":
    """Return path and raw path of one that the source has unquoted."""
    return path.encode("utf-8", "surrogatepass"), quote(path, _PATH_CHARACTERS, errors="surrogatepass").encode()


def query_of(parameters: "dict[str, Any] | None", encode: "Callable[[str], str]" = quote_plus) -> bytes:
    """Return the query of parameters, whose values are strings or lists of strings."""
    return "&".join(
        f"{encode(name)}={encode(value)}"
        for name, values in (parameters or {}).items()
        for value in (values if isinstance(values, list) else (values,))
        if value is not None
    ).encode()


def as_is(text: str) -> str:
    """Return what is still quoted in the event."""
    return text


def base_of(path: str, template: "str | None", parameters: "dict[str, str] | None") -> str:
    """Return how a path begins before what a route's template, `/orders/{id}/{proxy+}`, stands for."""
    if not template or not template.startswith("/"):
        return ""
    below = template.rstrip("/")
    for name, value in (parameters or {}).items():
        below = below.replace(f"{{{name}+}}", value or "").replace(f"{{{name}}}", value or "")
    path = path.rstrip("/")
    below = below.rstrip("/")
    return path[: len(path) - len(below)] if "{" not in below and path.endswith(below) else ""


def forwarded_for(headers: "Headers") -> "str | None":
    """Return the address that the load balancer saw: it adds it behind those that the client has sent."""
    value = ",".join(value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for")
    address = value.rpartition(",")[2].strip()
    split = _host_port(address)
    return split[0] if split else None


def body_fields(answer: Answer) -> "dict[str, Any]":
    """Return `body` and `isBase64Encoded`. Bytes that are UTF-8 are text; all others, and encoded ones, are base64."""
    if not any(name.lower() == b"content-encoding" for name, _ in answer.headers):
        try:
            return {"body": answer.body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": b2a_base64(answer.body, newline=False).decode(), "isBase64Encoded": True}


def grouped(answer: Answer) -> "dict[str, list[str]]":
    """Return the headers, each name once, as it was written first, with all of its values."""
    names: dict[bytes, str] = {}
    values: dict[str, list[str]] = {}
    for name, value in answer.headers:
        key = names.setdefault(name.lower(), name.decode("latin-1"))
        values.setdefault(key, []).append(value.decode("latin-1").strip())  # Django begins with a space
    return values


def one_value_each(answer: Answer) -> "dict[str, str]":
    """Return the headers for a source that takes one value a name. Cookies cannot be joined: each gets a spelling of
    `set-cookie` of its own.
    """
    headers: dict[str, str] = {}
    for name, values in grouped(answer).items():
        if name.lower() == "set-cookie" and len(values) > 1:
            headers.update(zip(_spellings(name.lower()), values, strict=False))
        else:
            headers[name] = ", ".join(values)
    return headers


def _spellings(name: str) -> "Iterable[str]":
    for number in range(1 << 9):  # of 9 letters
        letters = iter(range(9))
        yield "".join(c.upper() if c.isalpha() and number >> next(letters) & 1 else c for c in name)


def description(status: int) -> str:
    """Return `200 OK`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Unknown"


def _first(headers: "Headers", name: bytes) -> "str | None":
    for key, value in headers:
        if key == name:
            return value.decode("latin-1").partition(",")[0].strip()
    return None


def _host_port(host: str) -> "tuple[str, int | None] | None":
    """Split `name:80` and `[::1]:80`; a bare IPv6 address has no port. None for what is neither: a client may have
    written it.
    """
    bracketed = host.startswith("[")
    if bracketed:
        name, end, port = host[1:].partition("]")
        if not end or port[:1] not in ("", ":"):
            return None
        port = port[1:]
    elif host.count(":") > 1:
        name, port = host, ""
    else:
        name, _, port = host.partition(":")
    if not name or ((bracketed or ":" in name) and not _is_ipv6(name)) or (port and _port(port) is None):
        return None
    return name, _port(port)


def _port(text: str) -> "int | None":
    return int(text) if text.isascii() and text.isdecimal() and int(text) <= 65535 else None


def _is_ipv6(text: str) -> bool:
    try:
        inet_pton(AF_INET6, text)
    except (OSError, ValueError):
        return False
    return True
