"""The warning of a layer that was built for another Python. It works, slowly: nothing of its bytecode can be used."""

import sys

from samovar import logs


def warn(file: str) -> None:
    """Log one WARNING that names the Python of the layer and the one that runs. file: the layer's file of bytecode."""
    version = file.split(".")[1].rpartition("-")[2]  # cold.cpython-313.bin
    built = f"{version[:1]}.{version[1:]}"
    runs = f"{sys.version_info[0]}.{sys.version_info[1]}"
    other = f"Python {built}" if built != runs else f"another release of Python {built}"
    logs.record(
        "WARNING",
        f"Samovar's layer is for {other}, and this is Python {runs}: its bytecode and its orjson cannot be used, so"
        f" each cold start compiles Samovar anew. Attach the layer that `samovar layer --python {runs}` builds",
    )
