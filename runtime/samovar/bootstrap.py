# What `bootstrap` starts: a file, since libraries look for `__main__.__file__`. Compiled at every cold start, hence no
# docstring and no function. cold.*.bin: see layer/cold.py; a checkout has none.
import sys

if __name__ == "__main__":  # not in the processes that multiprocessing spawns: they run this file again
    place = __file__.rpartition("/samovar/")[0]
    if sys.flags.safe_path:
        sys.path.insert(0, place)
    else:
        sys.path[0] = place  # was the package's folder, in which none of its modules may be found by another name
    try:
        with open(f"{place}/samovar/cold.{sys.implementation.cache_tag}.bin", "rb", 0) as file:
            content = file.read()
    except OSError:
        pass
    else:
        from _frozen_importlib_external import MAGIC_NUMBER

        if content.startswith(MAGIC_NUMBER):
            from marshal import loads

            code, modules = loads(memoryview(content)[len(MAGIC_NUMBER) :])
            exec(code, {"place": place, "modules": modules})
    from samovar.__main__ import main

    main(place)
