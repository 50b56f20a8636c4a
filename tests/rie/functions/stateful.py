"""Count the invocations of this process, and do what the event says."""

import os
import subprocess
import sys
import time

count = 0


def handler(event, context):
    global count
    count += 1
    match event:
        case {"exit": status}:
            sys.exit(status)
        case {"signal": number}:
            os.kill(os.getpid(), number)
        case {"abort": _}:
            os.abort()
        case {"raise": message}:
            raise LookupError(message)
        case {"wait_for": path}:
            while not os.path.exists(path):
                time.sleep(0.01)
        case {"bytes": size}:
            return "x" * (size - 2)  # two for the quotes
        case {"length": text}:
            return len(text)
        case {"spawn": command}:
            # Nobody's child once this process has ended, and in a session of its own.
            return subprocess.Popen(command, start_new_session=True).pid
        case {"print": text}:
            print(text, end="")
        case {"return": value}:
            return value
        case {"client_context": _}:
            return context.client_context.custom
    return {"count": count, "pid": os.getpid()}
