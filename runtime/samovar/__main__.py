"""python -m samovar MODULE.FUNCTION: what a container image starts; `bootstrap` comes here too."""

import sys
from _io import FileIO as _FileIO
from _io import TextIOWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def main(place: str = "") -> "NoReturn":
    """Runs the handler named by the argument, else by `_HANDLER`. place: the folder that holds the package, put last
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
    if not isinstance(sys.stdout.buffer, _FileIO):
        sys.stdout, sys.stderr = _unbuffered(sys.stdout), _unbuffered(sys.stderr)
    loop.run(name)


def _unbuffered(stream: "Any") -> TextIOWrapper:
    """The stream as `python -u` makes it: every write reaches the log at once."""
    stream.flush()
    return TextIOWrapper(stream.buffer.raw, encoding=stream.encoding, errors=stream.errors, write_through=True)


if __name__ == "__main__":
    main()
