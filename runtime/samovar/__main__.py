"""python -m samovar MODULE.FUNCTION: what a container image starts; `bootstrap` comes here too."""

import sys
from _io import FileIO, TextIOWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def main(place: str = "") -> "NoReturn":
    """Run the handler named by the argument, else by `_HANDLER`. place: the folder that holds the package, put last
    on sys.path.
    """
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        sys.stderr.write(
            "usage: python -m samovar [MODULE.FUNCTION | exec:PROGRAM]   (default: the variable _HANDLER)\n"
        )
        sys.exit(2)
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name == "--version":
        from samovar import __version__

        print(f"samovar {__version__}")
        sys.exit(0)
    from samovar import loop, syspath

    syspath.arrange(place)
    # sys.__stdout__ holds it too, as it does Python's own: nobody else would, once the function has wrapped the file
    # below and put that on sys.stdout, and a stream that nobody holds closes its file.
    sys.stdout = sys.__stdout__ = _unbuffered(sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _unbuffered(sys.stderr)  # type: ignore[misc]
    loop.run(name)


class _Whole(FileIO):
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


_write = FileIO.write


def _unbuffered(stream: "Any") -> "Any":
    """The stream so that every write reaches the log at once; None where it is closed."""
    if stream is None:
        return None
    stream.flush()
    raw = _Whole(stream.fileno(), "wb", closefd=False)
    raw.name = stream.name
    text: Any = TextIOWrapper(raw, encoding=stream.encoding, errors=stream.errors, write_through=True)
    text.mode = "w"
    return text


if __name__ == "__main__":
    main()
