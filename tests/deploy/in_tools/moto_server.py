"""Runs in .venv-deploy: moto's server until SIGTERM. Prints its address."""

import logging
import signal

from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
host, port = server.get_host_and_port()
print(f"http://{host}:{port}", flush=True)
signal.sigwait({signal.SIGTERM})
