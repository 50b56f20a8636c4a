"""What comes by a .pth file in the function's folder: agents, namespaces, a stand-in for a module."""

from __future__ import annotations

import pytest

from tests.attach.harness import AWS, INSTALLS, Attached, Function

# It waits for the end of `site`, which comes before a function's folder: under AWS's client nothing is patched.
AUTOWRAPT = Function(
    ("pth",),
    {
        "agent-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: agent\nVersion: 1\n",
        "agent-1.dist-info/entry_points.txt": "[agent]\njson = agent:patch\n",
        "agent.py": "def patch(module):\n    module.patched = 'by the agent'\n",
        "app.py": """
            import json
            import site

            def handler(event, context):
                return [site.execsitecustomize.__module__, getattr(json, "patched", None)]
        """,
    },
    env={"AUTOWRAPT_BOOTSTRAP": "agent"},
)
COVERAGE = Function(
    ("pth",),
    {
        ".coveragerc": "[run]\ndata_file = coverage.data\n",
        "app.py": """
            import coverage

            def handler(event, context):
                if event == 2:
                    return sorted(coverage.Coverage.current().get_data().lines(__file__))
                return event
        """,
    },
    (1, 2, 2),
    env={"COVERAGE_PROCESS_START": ".coveragerc"},
)
NAMESPACES = Function(
    ("pth",),
    {
        "app.py": """
            import sys

            before = [name for name in sys.modules if name.startswith("zope")]
            import zope.event
            import zope.deprecation

            def handler(event, context):
                zope = sys.modules["zope"]
                return [before, list(zope.__path__), zope.event.__file__, zope.deprecation.__file__]
        """
    },
)
DISTUTILS = Function(
    ("pth",),
    {
        "app.py": """
            import distutils.version
            import sys

            def handler(event, context):
                return [distutils.__file__, type(sys.meta_path[0]).__name__]
        """
    },
)


@pytest.mark.parametrize("install", INSTALLS)
@pytest.mark.parametrize(
    ("function", "seen"),
    [
        (AUTOWRAPT, "autowrapt.bootstrap"),
        (COVERAGE, "'7'"),
        (NAMESPACES, "/var/task/zope"),
        (DISTUTILS, "DistutilsMetaFinder"),
    ],
    ids=["autowrapt", "coverage", "namespaces", "distutils"],
)
def test_what_comes_by_pth_files_finds_what_it_finds_under_awss_client(
    attached: Attached, install: str, function: Function, seen: str
) -> None:
    expected, ours = (attached(function, which) for which in (AWS, install))
    assert ours.posts == expected.posts
    assert seen in str(expected.posts[-1].body)
    assert (ours.output, ours.exit) == (expected.output, expected.exit) == ("", None)
