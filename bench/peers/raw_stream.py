"""The floor of a streamed response: a loop over a raw socket that sends chunks of 64 KB, as many as the event says."""

import os
import time
from _socket import AF_INET, IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY, socket

CHUNK = b"x" * 65536


def main() -> None:
    host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].rpartition(":")
    while True:
        sock = socket(AF_INET, SOCK_STREAM)
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        sock.connect((host, int(port)))
        sock.sendall(f"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head, _, body = sock.recv(65536).partition(b"\r\n\r\n")
        at = head.find(b"Lambda-Runtime-Aws-Request-Id: ") + 31
        request_id = head[at:].partition(b"\r\n")[0].decode()
        sock.sendall(
            f"POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        if not int(body):
            first = str(time.perf_counter_ns()).encode()
            sock.sendall(b"%x\r\n%b\r\n" % (len(first), first))
        for _ in range(int(body)):
            sock.sendall(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK))
        sock.sendall(b"0\r\n\r\n")
        if not sock.recv(65536):
            return
        sock.close()


main()
