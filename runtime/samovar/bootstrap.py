# What `bootstrap` starts. A file, because libraries look for `__main__.__file__`. Without docstring and functions,
# because it is compiled at every cold start. local/layer/cold.py makes cold.*.bin; a checkout has none.
import sys

if __name__ == "__main__":
    package_root = __file__.rpartition("/samovar/")[0]
    # Replaces the folder of this file, in which `import codec` would find ours; with a safe path it is not there.
    sys.path[: not sys.flags.safe_path] = [package_root]
    try:
        with open(f"{package_root}/samovar/cold.{sys.implementation.cache_tag}.bin", "rb", 0) as file:
            content = file.read()
    except OSError:
        pass
    else:
        from _frozen_importlib_external import MAGIC_NUMBER

        if content.startswith(MAGIC_NUMBER):
            from marshal import loads

            exec(*loads(memoryview(content)[len(MAGIC_NUMBER) :]))
    from samovar.__main__ import main

    main(package_root)
elif __name__ == "__mp_main__":  # in a process that multiprocessing spawns
    import samovar.spawned  # noqa: F401
