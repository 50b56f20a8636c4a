"""Stands in for the bootstrap.py of AWS's managed runtimes, which starts awslambdaric: what it is known to do to the
interpreter, so that a function can be asked what it finds. Its folder is LAMBDA_RUNTIME_DIR.
"""

import os
import site
import sys
import sysconfig

import awslambdaric.__main__ as awslambdaricmain  # the name by which Sentry finds AWS's bootstrap module

if __name__ == "__main__":
    task_root = os.environ["LAMBDA_TASK_ROOT"]
    layers, installed = [], []
    if "PYTHONPATH" not in os.environ:
        version = "python{}.{}".format(*sys.version_info)
        layers = [f"/opt/python/lib/{version}/site-packages", "/opt/python"]
        installed = [sysconfig.get_path("purelib")]
    sys.path[:0] = [task_root, *layers, *installed]
    for folder in (task_root, *layers):
        site.addsitedir(folder)
    os.environ.setdefault("PYTHONPATH", os.environ["LAMBDA_RUNTIME_DIR"])
    awslambdaricmain.main([task_root, os.environ["_HANDLER"]])
