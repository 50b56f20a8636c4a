"""The pytest plugin in a user's own project: one line gives each test a cold environment. Others pay nothing."""

from pathlib import Path

import pytest

APP = """
count = 0

def handler(event, context):
    global count
    count += 1
    print("log line", count)
    if event == "fail":
        raise ValueError("on purpose")
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


@pytest.mark.real
def test_a_failed_test_shows_what_the_environment_logged(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.mark.samovar("app.handler", task_root="src")
        def test_fails(rie):
            assert rie.invoke("fail").json() == {"count": 1}
        """
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Lambda environment 1*", "*log line 1*", "*ValueError: on purpose*"])


def test_mistakes_are_explained(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        def test_no_marker(rie):
            pass

        @pytest.mark.samovar("app.handler", task_root="nowhere")
        def test_no_folder(rie):
            pass
        """
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*pytest.mark.samovar(*app.handler*)*", "*task_root='nowhere': there is no folder*"])


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
