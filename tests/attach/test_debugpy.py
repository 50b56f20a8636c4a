"""A debugger that the handler listens for, by a process of its own and threads."""

from __future__ import annotations

import pytest

from tests.attach.harness import AWS, INSTALLS, Attached, Function

# The second event starts a debugger, which attaches, sets a breakpoint in a function that the handler then calls, reads
# a variable there, and lets it go on.
FUNCTION = Function(
    ("debugpy",),
    {
        "app.py": """
            import json
            import os
            import subprocess
            import sys

            import debugpy

            def debugged(event):
                answer = event * 2
                return answer

            def handler(event, context):
                if event == "listen":
                    handler.port = debugpy.listen(("127.0.0.1", 0))[1]
                if event == "debug":
                    script = os.path.join(os.path.dirname(__file__), "debugger.py")
                    command = [sys.executable, script, str(handler.port), __file__]
                    command.append(str(debugged.__code__.co_firstlineno + 2))
                    with subprocess.Popen(command, stdout=subprocess.PIPE) as debugger:
                        debugger.stdout.readline()  # the breakpoint is set
                        answer = debugged(21)
                        return answer, json.loads(debugger.stdout.readline())
                return event
        """,
        "debugger.py": """
            import json
            import socket
            import sys

            port, path, line = sys.argv[1:]
            connection = socket.create_connection(("127.0.0.1", int(port)))
            file = connection.makefile("rb")
            sent = 0

            def send(command, **arguments):
                global sent
                sent += 1
                body = json.dumps({"seq": sent, "type": "request", "command": command, "arguments": arguments}).encode()
                connection.sendall(b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
                return sent

            def wait(**wanted):
                while True:
                    length = int(file.readline().partition(b":")[2])
                    file.readline()
                    message = json.loads(file.read(length))
                    if wanted.items() <= message.items():
                        return message["body"] if "body" in message else None

            def ask(command, **arguments):
                return wait(type="response", request_seq=send(command, **arguments))

            ask("initialize", adapterID="test", pathFormat="path")
            attach = send("attach", justMyCode=False, subProcess=False)
            wait(type="event", event="initialized")
            ask("setBreakpoints", source={"path": path}, breakpoints=[{"line": int(line)}])
            send("configurationDone")
            wait(type="response", request_seq=attach)
            print("ready", flush=True)
            stopped = wait(type="event", event="stopped")
            frame = ask("stackTrace", threadId=stopped["threadId"])["stackFrames"][0]
            value = ask("evaluate", expression="answer", frameId=frame["id"])["result"]
            ask("continue", threadId=stopped["threadId"])
            print(json.dumps([stopped["reason"], frame["name"], frame["line"], value]), flush=True)
            ask("disconnect")
        """,
    },
    ("listen", "debug", "the next"),
)


@pytest.mark.parametrize("install", INSTALLS)
def test_a_debugger_stops_in_the_handler(attached: Attached, install: str) -> None:
    expected, ours = (attached(FUNCTION, which) for which in (AWS, install))
    assert ours.posts == expected.posts
    assert "breakpoint" in str(expected.posts[1].body)
    assert ours.exit is expected.exit is None
