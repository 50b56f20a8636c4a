"""`logging` is set up when it is first imported, once, and only the module that the function gets."""

import importlib.util
import logging
import subprocess
import sys

from samovar.logging_hook import LoggingHook

PROGRAM = """
import sys
from samovar import logging_hook
{before}
logging_hook.install()
assert any(isinstance(finder, logging_hook.LoggingHook) for finder in sys.meta_path) is ("logging" not in sys.modules)
import logging
handlers = [type(handler).__name__ for handler in logging.getLogger().handlers]
left = [type(finder).__name__ for finder in sys.meta_path if isinstance(finder, logging_hook.LoggingHook)]
print(handlers, left, type(logging.__spec__.loader).__name__, logging.__loader__ is logging.__spec__.loader)
"""


def test_the_first_import_is_set_up_and_leaves_no_trace() -> None:
    for before in "", "import logging":
        program = PROGRAM.format(before=before)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "['LambdaLoggerHandler'] [] SourceFileLoader True\n"


def test_no_other_module_is_its_concern() -> None:
    assert LoggingHook().find_spec("json") is None
    assert LoggingHook().find_spec("logging.handlers", logging.__path__) is None


def test_a_second_copy_is_not_set_up() -> None:
    before = list(logging.getLogger().handlers)
    spec = LoggingHook().find_spec("logging")
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    assert copy.getLogger().handlers == []
    assert logging.getLogger().handlers == before
