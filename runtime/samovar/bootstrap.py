# What `bootstrap` starts: a file, since libraries look for `__main__.__file__`. Compiled at every cold start, hence no
# docstring and no function. cold.*.bin: see layer/cold.py; a checkout has none.
import sys

if __name__ == "__main__":  # not in the processes that multiprocessing spawns: they run this file again
    place = __file__.rpartition("/samovar/")[0]
    # For the package's own folder, where its modules would be found by other names; with a safe path that is not there.
    sys.path[: not sys.flags.safe_path] = [place]
    try:
        with open(f"{place}/samovar/cold.{sys.implementation.cache_tag}.bin", "rb", 0) as file:
            content = file.read()
    except OSError:
        pass
    else:
        from _frozen_importlib_external import MAGIC_NUMBER

        if content.startswith(MAGIC_NUMBER):
            from marshal import loads

            exec(*loads(memoryview(content)[len(MAGIC_NUMBER) :]))
    from samovar.__main__ import main

    main(place)
