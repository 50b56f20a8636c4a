"""python -m samovar MODULE.FUNCTION, which a container image starts; `bootstrap` calls main() as well."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

compiled_ahead = False  # whether this module came out of cold.*.bin, which sets it


def main(package_root: str = "") -> "NoReturn":
    """Run the handler that the argument names, or else `_HANDLER`. package_root: the folder that holds the package, put
    last on sys.path.
    """
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        wrong = len(sys.argv) > 2
        (sys.stderr if wrong else sys.stdout).write(
            "usage: python -m samovar [MODULE.FUNCTION | asgi:MODULE:APPLICATION | wsgi:… | exec:PROGRAM]\n"
            "(default: the variable _HANDLER)\n"
            "This is the runtime, which Lambda starts. On your machine: samovar run MODULE.FUNCTION\n"
        )
        sys.exit(2 if wrong else 0)
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name == "--version":
        from samovar import __version__

        print(f"samovar {__version__}")
        sys.exit(0)
    from samovar import alias, loop, streams, syspath

    alias.install()  # first, because sitecustomize and .pth files import agents
    sys.modules["__main__"].__getattr__ = __getattr__  # type: ignore[method-assign]  # bootstrap.py has none
    syspath.set_up_sys_path(package_root)
    # sys.__stdout__ keeps it alive: a function may wrap sys.stdout.buffer and assign the result to sys.stdout, and
    # without another reference the old stream would close the file below both.
    sys.stdout = sys.__stdout__ = streams.unbuffered(sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = streams.unbuffered(sys.stderr)  # type: ignore[misc]
    import posix

    if (
        package_root
        and not compiled_ahead
        and (misfits := [name for name in posix.listdir(f"{package_root}/samovar") if name.startswith("cold.")])
    ):
        from samovar import misfit

        misfit.warn(misfits[0])
    name, address = loop.settings(name)
    if b"AWS_LAMBDA_MAX_CONCURRENCY" in posix.environ:
        from samovar import concurrency

        concurrency.run(name, address)
    # From here, since each function below the handler's takes a frame of its recursion limit.
    loop.run(loop.connect(address), name, loop.serve)


def __getattr__(name: str) -> "Any":
    """Return what agents look for in `__main__`: AWS's module bootstrap, or, in every module, LambdaRuntimeClient."""
    if name in ("bootstrap", "awslambdaricmain", "LambdaRuntimeClient"):
        from samovar import attach

        return getattr(attach, name, attach)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    __spec__ = None  # with one, multiprocessing would not run this file in a process that it spawns
    main()
elif __name__ == "__mp_main__":  # in such a process
    import samovar.spawned  # noqa: F401
