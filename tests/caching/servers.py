"""Real Valkey servers in the situations that the second tier may meet: a cluster, and a bad line to a server."""

import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress

import redis

from samovar.local.testing.valkey import Valkey, _free_port

LIMIT = 60  # s; only a deadlock reaches it


def wait_for(condition):
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.001)


@contextmanager
def cluster(directory):
    """Four servers: three with a third of the slots each, and a replica of the first."""
    with ExitStack() as stack:
        nodes = []
        for i in range(4):
            bus = _free_port()
            home = directory / str(i)
            home.mkdir()
            node = Valkey("--cluster-enabled", "yes", "--cluster-port", str(bus), "--dir", str(home))
            node.bus = bus
            stack.enter_context(node)
            node.client = stack.enter_context(redis.Redis(port=node.port, socket_timeout=LIMIT, decode_responses=True))
            nodes.append(node)
        first, *others = nodes
        for i, node in enumerate(nodes[:3]):
            node.client.execute_command("CLUSTER ADDSLOTSRANGE", 16384 * i // 3, 16384 * (i + 1) // 3 - 1)
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", i + 1)
        for node in others:
            first.client.execute_command("CLUSTER MEET", "127.0.0.1", node.port, node.bus)
        replica = others[-1]
        name = first.client.execute_command("CLUSTER MYID")
        wait_for(lambda: all(name in str(node.client.execute_command("CLUSTER NODES")) for node in others))
        wait_for(lambda: all(state(node, "cluster_state") == "ok" for node in nodes))
        replica.client.execute_command("CLUSTER REPLICATE", name)
        wait_for(lambda: replica.client.info("replication")["master_link_status"] == "up")
        wait_for(lambda: all(state(node, "cluster_known_nodes") == "4" for node in nodes))
        yield nodes


def state(node, name):
    info = node.client.execute_command("CLUSTER INFO")
    lines = info if isinstance(info, dict) else dict(line.split(":") for line in info.split())
    return lines[name]


class Line:
    """Something between a tier and a server: where a connection leads to is decided when it is made, as by DNS."""

    def __init__(self, server):
        self.server = server
        self.open = threading.Event()  # whether answers pass
        self.open.set()
        self.drips = False  # answers come a byte at a time, and the last one when `open` is set
        self.cuts = 0  # so many answers are swallowed, and their connections closed
        self.questions = 0
        self.asked = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._ends = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.open.set()
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.server.port))
                except OSError:
                    near.close()
                    continue
                self._ends += [near, far]
                threading.Thread(target=self._questions, args=(near, far), daemon=True).start()
                threading.Thread(target=self._answers, args=(far, near), daemon=True).start()

    def _questions(self, near, far):
        with suppress(OSError):
            while data := near.recv(65536):
                if b"EVAL" in data:
                    self.questions += 1
                    self.asked.set()
                far.sendall(data)
            far.shutdown(socket.SHUT_RDWR)

    def _answers(self, far, near):
        with suppress(OSError):
            while data := far.recv(65536):
                if self.cuts and self.asked.is_set():
                    self.cuts -= 1
                    break
                if self.drips:
                    for i in range(len(data) - 1):
                        near.sendall(data[i : i + 1])
                        time.sleep(0.001)
                    self.open.wait(LIMIT)
                    near.sendall(data[-1:])
                    continue
                self.open.wait(LIMIT)
                near.sendall(data)
            near.shutdown(socket.SHUT_RDWR)
