"""Standard output and error as the log needs them: unbuffered, and with no line cut short.

Knows of the package only how the log writes a descriptor.
"""

from _io import FileIO, TextIOWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_write = FileIO.write


class UnbufferedFile(FileIO):
    """A descriptor to which every write is complete. `python -u` silently drops the rest of a write that a signal
    interrupts, or that a descriptor made non-blocking by a child process takes only in part.
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
    """Return the stream without a buffer, so that every write reaches the log at once; None where it is closed."""
    if stream is None:
        return None
    stream.flush()
    raw = UnbufferedFile(stream.fileno(), "wb", closefd=False)
    raw.name = stream.name
    text: Any = TextIOWrapper(raw, encoding=stream.encoding, errors=stream.errors, write_through=True)
    text.mode = "w"
    return text
