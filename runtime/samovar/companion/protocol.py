"""The protocol of companions: a line's bytes to values and back, for both ends.

Pure: every function takes bytes and values and returns them. Knows JSON and the failures that a line can report;
knows no process, clock or variable of the environment.
"""

from _json import encode_basestring_ascii as _quote

from samovar import codec
from samovar.companion.error import CompanionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # The data; its JSON, if the line holds it in a usual layout; the error, if the line reports one.
    Answer = tuple[Any, bytes | None, CompanionError | None]

# As numbers: `number in bytes` is faster than `byte in bytes`, and that is faster than a longer search.
_BRACE, _LINE_FEED, _CARRIAGE_RETURN, _N, _I, _E2 = b"}\n\rNI\xe2"
_LAYOUTS = (b'{"proc_req_id":%d,"error":null,"data":', b'{"proc_req_id": %d, "error": null, "data": ')
_SPACES = bytes.maketrans(b"\r\n", b"  ")
_LINE_SEPARATOR, _PARAGRAPH_SEPARATOR = b"\xe2\x80\xa8", b"\xe2\x80\xa9"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_VARIES = "\1"  # stands for what differs between invocations; no name of Lambda's contains it

_template: "tuple[tuple[Any, ...], bytes]" = ((), b"")


class NotAnAnswer(Exception):
    """A line that is not an answer to the request. Its text says why, to follow the program's name."""


def loads(document: bytes) -> "Any":
    """Return the value of a JSON document. Raise ValueError if it is not JSON; NaN and infinities are not."""
    if _N in document or _I in document:
        _refuse_constants(document)
    return codec.loads(document)


def dumps(value: "Any") -> bytes:
    """Return a value as a JSON document. Raise ValueError if it contains NaN or an infinity, else as `codec.dumps`."""
    document = codec.dumps(value)
    if _N in document or _I in document:
        _refuse_constants(document)
    return document


def _refuse_constants(document: bytes) -> None:
    if not (_N in document and b"NaN" in document) and not (_I in document and b"Infinity" in document):
        return
    import json

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not a JSON value")

    json.loads(document, parse_constant=refuse)


def require_json(event: bytes) -> None:
    """Raise CompanionError (BadEvent) if an event is not JSON: that is the caller's failure, not the program's."""
    try:
        loads(event)
    except (ValueError, RecursionError) as exc:
        message = f"Unable to unmarshal input: {exc}"
        raise CompanionError("BadEvent", message, error_type="Runtime.UnmarshalError") from None


def encode_context(context: "Any", trace_id: bytes) -> bytes:
    """Return the context as JSON: lambda_proc's eight members, which are those that Node had in 2015, and ours.

    Only four values differ between invocations of a function, version and tenant; the others are encoded once.
    """
    global _template
    get = context.__dict__.get if hasattr(context, "__dict__") else {}.get
    function = (
        get("function_name"),
        get("function_version"),
        get("log_group_name"),
        get("log_stream_name"),
        get("memory_limit_in_mb"),
        get("invoked_function_arn"),
        get("tenant_id"),
    )
    known, template = _template
    if known != function:
        template = _new_template(function)
        _template = function, template
    request_id = _quote(get("aws_request_id") or "").encode()
    deadline = get("_epoch_deadline_time_in_ms") or 0
    return template % (request_id, request_id, deadline, _quote(trace_id.decode("utf-8", "surrogateescape")).encode())


def _new_template(function: "tuple[Any, ...]") -> bytes:
    """Return the context with the values of one function, and a format for what varies."""
    name, version, log_group, log_stream, memory, arn, tenant = (value or "" for value in function)
    described = {
        "awsRequestId": _VARIES,
        "functionName": name,
        "functionVersion": version,
        "invokeid": _VARIES,
        "isDefaultFunctionVersion": version == "$LATEST",
        "logGroupName": log_group,
        "logStreamName": log_stream,
        "memoryLimitInMB": memory,
        "deadlineMs": _VARIES,
        "invokedFunctionArn": arn,
        "traceId": _VARIES,
        "tenantId": tenant,
    }
    varies = codec.dumps(_VARIES)
    template = codec.dumps(described).replace(b"%", b"%%")
    return template.replace(b'"deadlineMs":' + varies, b'"deadlineMs":%d').replace(varies, b"%b")


def encode_request(event: bytes, context: bytes) -> bytes:
    """Return the line that asks. event and context: JSON documents.

    JSON allows line ends only between tokens, where a space means the same. U+2028 and U+2029, which end a line for
    Node's readline, it allows only in strings, where an escape means the same. Raise CompanionError (BadEvent) if the
    event has a line end and is not JSON.
    """
    event = event.removeprefix(_BYTE_ORDER_MARK)
    if _LINE_FEED in event or _CARRIAGE_RETURN in event:
        require_json(event)
        event = event.translate(_SPACES)
    if _E2 in event and b"\xe2\x80" in event:
        event = event.replace(_LINE_SEPARATOR, b"\\u2028").replace(_PARAGRAPH_SEPARATOR, b"\\u2029")
    return b"".join((b'{"event":', event, b',"context":', context, b"}\n"))


def decode_request(line: bytes) -> "tuple[Any, dict[str, Any]]":
    """Return the event of a request, and the attributes of its LambdaContext. Raise an Exception for a bad line."""
    request = codec.loads(line)
    context = request["context"]
    return request["event"], {
        "aws_request_id": context["awsRequestId"],
        "function_name": context["functionName"],
        "function_version": context["functionVersion"],
        "log_group_name": context["logGroupName"],
        "log_stream_name": context["logStreamName"],
        "memory_limit_in_mb": context["memoryLimitInMB"],
        "invoked_function_arn": context.get("invokedFunctionArn"),
        "tenant_id": context.get("tenantId") or None,
        "client_context": None,
        "identity": None,
        "_w3c_fields": {},
        "_epoch_deadline_time_in_ms": context.get("deadlineMs", 0),
    }


def encode_answer(number: int, data: bytes, error: bytes = b"null") -> bytes:
    """Return the line that answers. data and error: JSON documents."""
    return b'{"proc_req_id":%d,"error":%b,"data":%b}\n' % (number, error, data)


def decode_answer(line: bytes, number: int) -> "Answer":
    """Return what a line says that answers the request of that number. Raise NotAnAnswer."""
    for layout in _LAYOUTS:
        head = layout % number
        if line.startswith(head) and line[-1] == _BRACE and line[len(head)] < 0x80:  # not a byte order mark
            document = line[len(head) : -1]
            try:
                return loads(document), document, None
            except (ValueError, RecursionError):
                break  # it has more members than these three, or is not JSON
    try:
        answer = loads(line)
    except (ValueError, RecursionError) as exc:
        raise NotAnAnswer(f"wrote a line that is not JSON ({exc})") from None
    if not isinstance(answer, dict) or "proc_req_id" not in answer:
        raise NotAnAnswer("wrote a line that is not an answer: it has no proc_req_id")
    if answer["proc_req_id"] != number:
        wrong = f"answered request {number} with proc_req_id {answer['proc_req_id']!r}"
        raise NotAnAnswer(f"{wrong} (each process counts its requests from 0)")
    error = answer.get("error")
    return answer.get("data"), None, None if error is None else _decode_error(error)


def _decode_error(error: "Any") -> CompanionError:
    """Return the failure that an answer reports. `Type: message` gives it that type, if the word can be one."""
    text = error if isinstance(error, str) else codec.dumps(error).decode()
    kind, colon, message = text.partition(":")
    plain = kind.replace(".", "").replace("_", "")
    if colon and len(kind) <= 100 and plain.isascii() and plain.isalnum() and kind.rpartition(".")[2][:1].isupper():
        return CompanionError("Error", message.strip(), error_type=kind)
    return CompanionError("Error", text)
