"""Run a command and, once it has ended, end every process that it left behind, even one in another session.

Run as a script, by path, for samovar.local.rie: `python -I -S reaper.py PID-DESCRIPTOR SECONDS COMMAND ARGUMENT…`
writes the command's process id to the descriptor and exits as the command does. SIGTERM is passed on to the command,
which is killed if it is still running SECONDS later. Imports nothing of Samovar.

As a subreaper (prctl(2)), this process becomes the parent of each process below it whose own parent has ended, so
that no double fork, new session or cleaned environment puts one out of reach. It is a process of its own, because the
setting would give the caller children that it did not start.
"""

import ctypes
import os
import signal
import sys

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def run(command: list[bytes], seconds: int, tell: int) -> int:
    """Run the command, end every other process below this one, and return the command's wait status."""
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        sys.exit("samovar: this kernel does not support PR_SET_CHILD_SUBREAPER")
    # SIGTERM waits until there is a process to pass it on to.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    child = os.posix_spawnp(
        command[0], command, _environment(), setsigmask=mask, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ]
    )
    os.write(tell, b"%d" % child)
    os.close(tell)

    def end(number: int, frame: object) -> None:
        os.kill(child, signal.SIGTERM if number == signal.SIGTERM else signal.SIGKILL)
        signal.alarm(seconds)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGALRM, end)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    pid = 0
    while pid != child:
        pid, status = os.wait()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        while True:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)  # not reaped yet, so the id cannot have been reused
            os.wait()  # then its children are ours
    except ChildProcessError:
        return status


def _environment() -> dict[bytes, bytes]:
    """Return the environment as it was given: the interpreter may have set LC_CTYPE in its own (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        variables = (item.partition(b"=") for item in file.read().split(b"\0") if item)
        return {name: value for name, _, value in variables}


def _children() -> list[int]:
    """Return the ids of this process's children."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = file.read().rpartition(b")")[2].split()[1]  # the command before it may contain anything
        except OSError:
            continue  # it has ended
        if int(parent) == os.getpid():
            found.append(int(name))
    return found


def main() -> None:
    """Run the command line and exit as the command did."""
    tell, seconds, *command = map(os.fsencode, sys.argv[1:])
    os.set_inheritable(int(tell), False)
    try:
        status = run(command, int(seconds), int(tell))
    except OSError as exc:
        sys.exit(f"samovar: {os.fsdecode(command[0])}: {exc.strerror}")
    if os.WIFSIGNALED(status):
        if (number := os.WTERMSIG(status)) != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
