"""The floor of a warm invocation: a loop over a raw socket that decodes nothing and returns the event's bytes."""

import os
from _socket import AF_INET, IPPROTO_TCP, MSG_WAITALL, SOCK_STREAM, TCP_NODELAY, socket


def main() -> None:
    host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].rpartition(":")
    sock = socket(AF_INET, SOCK_STREAM)
    sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    sock.connect((host, int(port)))
    ask = f"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    buffer = bytearray(16384)
    while True:
        sock.sendall(ask)
        got = sock.recv_into(buffer)
        end = buffer.find(b"\r\n\r\n", 0, got)
        head = bytes(buffer[:end]).lower()
        at = head.find(b"content-length: ") + 16
        length = int(head[at:].partition(b"\r\n")[0])
        at = head.find(b"lambda-runtime-aws-request-id: ") + 31
        request_id = head[at:].partition(b"\r\n")[0].decode()
        stop = end + 4 + length
        if stop > len(buffer):
            buffer += bytes(stop - len(buffer))
        view = memoryview(buffer)
        while got < stop:
            more = sock.recv_into(view[got:stop], stop - got, MSG_WAITALL)
            if not more:
                return
            got += more
        answer = (
            f"POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Content-Length: {length}\r\n\r\n"
        ).encode()
        if length <= 65536:
            sock.sendall(answer + view[end + 4 : stop])
        else:
            sock.sendall(answer)
            sock.sendall(view[end + 4 : stop])
        view.release()
        if not sock.recv_into(buffer):
            return


main()
