"""Standard output and error for the log: unbuffered, and whole.

Knows nothing of the package but the log's way to write a descriptor.
"""

from _io import FileIO, TextIOWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_write = FileIO.write


class UnbufferedFile(FileIO):
    """A descriptor that takes all of what is written: after a signal, or where a child has made it non-blocking,
    `python -u` drops the rest without a word.
    """

    def write(self, data: "Any", /) -> int:
        done = _write(self, data)
        if done == len(data):
            return done
        from samovar import logs

        view = memoryview(data).cast("B")
        logs.write_whole(self.fileno(), view[done or 0 :])
        return len(view)


def unbuffered(stream: "Any") -> "Any":
    """Return the stream so that every write reaches the log at once; None where it is closed."""
    if stream is None:
        return None
    stream.flush()
    raw = UnbufferedFile(stream.fileno(), "wb", closefd=False)
    raw.name = stream.name
    text: Any = TextIOWrapper(raw, encoding=stream.encoding, errors=stream.errors, write_through=True)
    text.mode = "w"
    return text
