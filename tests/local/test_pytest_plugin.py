"""The pytest plugin in a user's own project: one line gives each test a cold environment. Others pay nothing."""

import sys
from pathlib import Path

import pytest

from samovar.local import pytest_plugin
from samovar.local.pytest_plugin import _OPTIONS

APP = """
from samovar import cached

count = 0

@cached(ttl=60)
def fail():
    raise ValueError("on purpose")

def handler(event, context):
    global count
    count += 1
    print("log line", count)
    if event == "exit":
        raise SystemExit(3)
    if event == "fail":
        fail()
    return {"count": count, "name": context.function_name}
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(**{"src/app": APP})
    return pytester


@pytest.mark.real
def test_one_line_gives_a_cold_environment_to_every_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.samovar("app.handler", task_root="src", env={"AWS_LAMBDA_FUNCTION_NAME": "mine"})

        def test_state_is_kept(rie):
            assert [rie.invoke({}).json() for _ in range(2)] == [
                {"count": 1, "name": "mine"}, {"count": 2, "name": "mine"}]
            assert rie.log().lines == ["log line 1", "log line 2"]

        def test_next_test_starts_cold(rie):
            assert rie.invoke({}).json()["count"] == 1

        @pytest.mark.samovar("app.handler", task_root="src", env={"AWS_LAMBDA_FUNCTION_NAME": "other"}, memory=256)
        def test_nearest_marker_wins(rie):
            assert rie.invoke({}).json()["name"] == "other"
            assert rie.log().reports[0].memory_mb == 256

        def test_several(samovar_rie):
            one, two = (samovar_rie("app.handler", task_root="src") for _ in range(2))
            one.invoke({})
            assert one.invoke({}).json()["count"] == 2
            assert two.invoke({}).json()["count"] == 1
        """
    )
    result = project.runpytest_subprocess("--strict-markers")
    result.assert_outcomes(passed=4)


FAILS = """
import pytest

@pytest.mark.samovar("app.handler", task_root="src")
def test_fails(rie):
    assert rie.invoke("fail").json() == {"count": 1}
"""


@pytest.mark.real
def test_a_failed_test_shows_the_functions_lines_and_counts_the_emulators(project: pytest.Pytester) -> None:
    project.makepyfile(FAILS)
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">       assert rie.invoke(*",
            "E       samovar.local.FunctionError: ValueError: on purpose",
            "E *Traceback of the function (most recent call last):",
            'E *File "*/src/app.py", line 16, in handler',
            "E *… * frames of samovar",
            'E *File "*/src/app.py", line 7, in fail',
            "-* Lambda environment: app.handler -*",
            "START RequestId: *",
            "log line 1",
            "[[]ERROR] ValueError: on purpose",
            "Traceback (most recent call last):",
            '  File "*/src/app.py", line 16, in handler',
            "    fail()",
            "  … * frames of samovar",
            '  File "*/src/app.py", line 7, in fail',
            '    raise ValueError("on purpose")',
            "END RequestId: *",
            "REPORT RequestId: *  Duration: * ms  *",
            "(the emulator's own log, * lines: pytest -vv)",
        ]
    )
    text = result.stdout.str()
    assert "\r" not in text
    assert "(rapid)" not in text
    assert "rie.py" not in text
    assert "\x1b[" not in text


@pytest.mark.real
def test_a_failed_test_shows_all_with_vv_and_colours_where_there_are_some(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(FAILS)
    result = project.runpytest_subprocess("-vv", "--color=yes")
    text = result.stdout.str()
    assert "\x1b[2mSTART RequestId: " in text
    assert "[ERROR] ValueError: on purpose\x1b[0m" in text
    log, _, section = text.partition("Lambda environment: app.handler, the emulator's own log")
    assert "/caching/decorator.py" in log.partition("START RequestId: ")[2]
    assert "(rapid) INVOKE RTDONE(status: success" in section
    assert "[DEBUG]" not in section


MISTAKES = {
    "@pytest.mark.samovar": "names no function: write @pytest.mark.samovar(*app.handler*)",
    "@pytest.mark.samovar()": "names no function: write @pytest.mark.samovar(*app.handler*)",
    "@pytest.mark.samovar(timeout=3)": "names no function: *",
    "@pytest.mark.samovar(5)": "handler must be a string such as *app.handler*, not 5",
    "@pytest.mark.samovar('app.handler', 'src')": "takes one function, not 'app.handler', 'src': give task_root, *",
    "@pytest.mark.samovar('app.handler', tmeout=3)": "no argument tmeout (did you mean timeout[?]): it takes *",
    "@pytest.mark.samovar('app.handler', zzz=3)": "no argument zzz: it takes handler, task_root, env, timeout, *",
    "@pytest.mark.samovar('app.handler', timeout='3')": "timeout must be a whole number of seconds*, not '3'",
    "@pytest.mark.samovar('app.handler', task_root='nowhere')": "task_root='*nowhere': there is no folder */nowhere",
    "@pytest.mark.samovar('app.handler', task_root=None)": "task_root must be a path, not None",
    "@pytest.mark.samovar('app.handler', env={'A': 1})": "env must be a dict of strings, not {'A': 1}",
    "@pytest.mark.samovar('app.handler', command='sh')": "command must be a list of a program*, not 'sh'",
    "@pytest.mark.samovar('app.handler', scope='class')": "scope must be *module* or *session*, not 'class'",
    "@pytest.mark.samovar('app.handler', command=['./none'])": "there is no executable */none*",
    "": "the fixture `rie` needs a marker that names the function: @pytest.mark.samovar(*app.handler*)",
}


def test_mistakes_in_the_mark_are_explained_in_a_line(project: pytest.Pytester) -> None:
    tests = [f"{mark}\ndef test_{number}(rie):\n    pass\n" for number, mark in enumerate(MISTAKES)]
    project.makepyfile("import pytest\n" + "\n".join(tests))
    result = project.runpytest_subprocess()
    result.assert_outcomes(errors=len(MISTAKES))
    for number, message in enumerate(MISTAKES.values()):
        result.stdout.fnmatch_lines([f"_* ERROR at setup of test_{number} _*", f"*{message}"], consecutive=True)
    assert "pytest_plugin.py" not in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


SHARED = """
import os
import pytest

pytestmark = pytest.mark.samovar("app.handler", task_root="src", scope="SCOPE")

def note(rie):
    with open("pids", "a") as file:
        file.write(f"{rie.pid}\\n")
"""


@pytest.mark.real
@pytest.mark.parametrize(("scope", "counts"), [("module", [1, 2, 1, 2]), ("session", [1, 2, 3, 4])])
def test_tests_share_an_environment_that_ends_with_its_scope(
    project: pytest.Pytester, scope: str, counts: list[int]
) -> None:
    head = SHARED.replace("SCOPE", scope)
    test = "\ndef test_{}(rie):\n    assert rie.invoke({{}}).json()['count'] == {}\n    note(rie)\n"
    own = "\n@pytest.mark.samovar('app.handler', task_root='src')\n"
    project.makepyfile(
        test_a=head + test.format(1, counts[0]) + own + test.format("cold", 1) + test.format(2, counts[1]),
        test_b=head
        + "\ndef test_before():\n"
        + "    first = open('pids').read().split()[0]\n"
        + f"    assert os.path.exists(f'/proc/{{first}}') == {scope == 'session'}\n"
        + test.format(1, counts[2])
        + test.format(2, counts[3]),
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=6)
    pids = (project.path / "pids").read_text().split()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.real
def test_a_failed_test_of_a_shared_environment_shows_its_own_part_and_what_happened_before(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        test_it=SHARED.replace("SCOPE", "module")
        + """
def test_passes(rie):
    rie.invoke({})

def test_first_failure(rie):
    assert rie.invoke({}).json() == 5

def test_ends_the_runtime(rie):
    assert rie.invoke("exit").error.error_type == "Runtime.ExitError"

def test_second_failure(rie):
    assert rie.invoke({}).json() == 6

def test_quiet(rie):
    assert not rie.running
"""
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=2, failed=3)
    share = "(the tests of this module share it; this is the log since this test began)"
    result.stdout.fnmatch_lines(
        [
            "_* test_first_failure _*",
            "-* Lambda environment: app.handler -*",
            share,
            "(tests that had it before: 1, the last test_it.py::test_passes)",
            "START RequestId: *",
            "log line 2",
            "_* test_second_failure _*",
            share,
            "(tests that had it before: 3, the last test_it.py::test_ends_the_runtime)",
            "(its runtime ended in test_it.py::test_ends_the_runtime, and its state with it)",
            "START RequestId: *",
            "log line 1",
            "_* test_quiet _*",
            share,
            "(its runtime ended in test_it.py::test_ends_the_runtime, and its state with it)",
            "(nothing was logged)",
        ]
    )
    first = result.stdout.str().partition("test_first_failure _")[2].partition("test_second_failure _")[0]
    assert "log line 1" not in first
    assert "its runtime ended" not in first


@pytest.mark.real
def test_a_shared_environment_that_has_ended_is_told_to_the_next_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_it=SHARED.replace("SCOPE", "session")
        + "\ndef test_stops(rie):\n    rie.stop()\n\ndef test_next(rie):\n    pass\n"
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "_* ERROR at setup of test_next _*",
            "the environment of app.handler that the tests of this session share has ended, in *::test_stops: *",
        ],
        consecutive=True,
    )


def test_pytest_itself_documents_the_mark_and_the_fixtures(project: pytest.Pytester) -> None:
    shown = project.runpytest_subprocess("--markers").stdout.str()
    told = next(line for line in shown.splitlines() if line.startswith("@pytest.mark.samovar("))
    for name in ("handler", *_OPTIONS):
        assert name in told
        assert f"    {name} " in pytest_plugin.__doc__
    shown = project.runpytest_subprocess("--fixtures", "-v").stdout.str()
    for name in ("rie", "samovar_rie", "samovar_fresh"):
        assert f"\n{name} -- " in shown


COUNTS = """
from samovar.companion import serve

count = 0

def handle(event, context):
    global count
    count += 1
    return count

serve(handle)
"""
FRESH = """
import samovar
from samovar import cache, cached
from samovar.caching import TTLCache

mine = TTLCache(maxsize=10)
companion = samovar.Companion(["PYTHON", "counts.py"])

@cached(ttl=None)
def load(key):
    return object()

def handler(event, context):
    return load(event), cache.get("x"), mine.get("x"), companion.call({})
"""


def test_a_fresh_start_between_unit_tests_empties_caches_and_companions(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(app=FRESH.replace("PYTHON", sys.executable), counts=COUNTS)
    pytester.makepyfile(
        """
        import app
        import pytest
        from samovar import cache, hooks

        seen = []

        def check_fresh():
            value, *others = app.handler("a", None)
            assert others == [None, None, 1]
            assert value not in seen
            seen.append(value)
            assert app.handler("a", None)[0] is value
            stats = app.load.cache_info()
            assert (stats.hits, stats.misses, stats.loads, stats.size) == (1, 1, 1, 1)
            cache.set("x", 1)
            app.mine.set("x", 1)
            hooks._deferred.append((print, (), {}))

        def test_first():
            check_fresh()

        def test_without_it_all_is_kept():
            assert app.handler("a", None) == (seen[0], 1, 1, 3)

        def test_with_it(samovar_fresh):
            assert not hooks._deferred
            check_fresh()

        def test_afterwards():
            assert not hooks._deferred
            check_fresh()

        @pytest.mark.usefixtures("samovar_fresh")
        class TestOthers:
            def test_one(self):
                check_fresh()

            def test_two(self):
                check_fresh()
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=6)


def test_a_fresh_start_needs_no_import_of_the_function(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(samovar_fresh):\n    pass\n")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_project_that_does_not_use_it_loads_nothing(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_nothing():
            assert "samovar.local.pytest_plugin" in sys.modules
            mine = {name for name in sys.modules if name.startswith("samovar")}
            assert mine == {"samovar", "samovar.local", "samovar.local.pytest_plugin"}
            assert "urllib3" not in sys.modules
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=1)


@pytest.mark.parametrize(("ci", "outcomes"), [("", {"skipped": 4, "passed": 1}), ("true", {"errors": 2, "skipped": 1})])
def test_in_ci_a_skipped_real_part_is_a_failure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcomes: dict[str, int]
) -> None:
    monkeypatch.setenv("CI", ci)
    tests = pytester.mkdir("tests")
    (tests / "conftest.py").write_text((Path(__file__).parents[1] / "conftest.py").read_text())
    for folder in ("rie", "local"):
        (tests / folder).mkdir()
    (tests / "rie" / "test_one.py").write_text("import pytest\n@pytest.mark.skip('no')\ndef test_it(): pass\n")
    (tests / "local" / "test_two.py").write_text(
        "import pytest\n"
        "@pytest.fixture\ndef valkey_server(): pytest.skip('none here')\n"
        "def test_valkey(valkey_server): pass\n"
        "@pytest.mark.skip('other')\ndef test_other(): pass\n"
        "def test_passes(): pass\n"
    )
    if not ci:
        (tests / "rie" / "test_module.py").write_text("import pytest\npytest.skip('all', allow_module_level=True)\n")
    result = pytester.runpytest_subprocess("-o", "markers=real", "tests")
    counted = result.parseoutcomes()
    assert {name: counted.get(name, 0) for name in ("passed", "failed", "errors", "skipped")} == {
        "passed": 1,
        "failed": 0,
        "errors": 0,
        "skipped": 0,
        **outcomes,
    }


def test_in_ci_a_module_that_skips_itself_is_a_failure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    pytester.makeconftest((Path(__file__).parents[1] / "conftest.py").read_text())
    pytester.makepyfile("import pytest\npytest.skip('no engine', allow_module_level=True)\n")
    result = pytester.runpytest_subprocess("-o", "markers=real")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*this was skipped: *no engine*"])
