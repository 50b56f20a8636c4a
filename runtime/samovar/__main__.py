"""python -m samovar MODULE.FUNCTION: what a container image starts; `bootstrap` comes here too."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


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
    from samovar import loop, streams, syspath

    syspath.arrange(place)
    # sys.__stdout__ holds it too, as it does Python's own stream. A function may wrap sys.stdout.buffer and assign the
    # result to sys.stdout; were that the last reference, the old stream would close the file below both.
    sys.stdout = sys.__stdout__ = streams.unbuffered(sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = streams.unbuffered(sys.stderr)  # type: ignore[misc]
    loop.run(name)


if __name__ == "__main__":
    main()
