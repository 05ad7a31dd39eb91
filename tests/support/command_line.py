"""The program `opportune` for tests, without the second of imports that each call would cost.

A server imports what the commands use, and forks for each call. The fork gets the arguments, folder, environment and
standard streams of its caller, and imports the command line itself, as a new process does:

    test ── runs ──▶ program ── arguments, folder, environment, streams ──▶ server ── forks ──▶ opportune.cli.main
                        ◀─────────────────────────── exit code ──────────────────────────────────────┘

Python reads some variables only when it starts. With other values of those, the program starts a real process. Tests
that send signals start one themselves.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

# Imported before the fork: no command's own module, because a console reads its environment when it is created.
PACKAGES = (
    "definitions",
    *(f"opportune.{name}" for name in ("audiences", "authoring", "events", "operations", "replay")),
)
PROGRAM = '#!/bin/sh\nexec {python} -IS {client} "$@"\n'
CLIENT = """
import json, os, socket, sys
fixed = {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "LC_", "LANG"))}
if fixed != FIXED:
    os.execv(PYTHON, [PYTHON, "-m", "opportune", *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect(SOCKET)
    call = json.dumps([PROGRAM, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(call).to_bytes(8)], [0, 1, 2])
    server.sendall(call)
    code = b""
    while part := server.recv(16):
        code += part
sys.exit(int(code or b"70"))
"""


@functools.cache
def program() -> str:
    """Return the path of a program `opportune`, and start its server in this session of pytest."""
    folder = tempfile.TemporaryDirectory(prefix="opportune-")
    place = Path(folder.name)
    path, client, listening = place / "opportune", place / "client.py", place / "socket"
    fixed = {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "LC_", "LANG"))}
    constants = {"FIXED": fixed, "PYTHON": sys.executable, "SOCKET": str(listening), "PROGRAM": str(path)}
    client.write_text("".join(f"{name} = {value!r}\n" for name, value in constants.items()) + CLIENT)
    path.write_text(PROGRAM.format(python=shlex.quote(sys.executable), client=shlex.quote(str(client))))
    path.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(listening))
        listener.listen()
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.command_line", str(listener.fileno())],
            stdin=subprocess.PIPE,
            cwd=ROOT,
            pass_fds=[listener.fileno()],
        )

    def stop() -> None:
        server.communicate()
        folder.cleanup()

    atexit.register(stop)
    return str(path)


def main() -> None:
    """Serve calls until the standard input ends. In a fork, return when the command is done."""
    for package in map(importlib.import_module, PACKAGES):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    for name in [name for name in sys.modules if name.startswith("opportune.cli")]:
        del sys.modules[name]
    gc.freeze()  # what is imported stays, so no fork need search it for garbage
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        while listener.fileno() in select.select([listener.fileno(), 0], [], [])[0]:
            caller, _ = listener.accept()
            while _reaped():
                pass
            if not os.fork():
                listener.close()
                _run(caller)
                return
            caller.close()


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


def _run(caller: socket.socket) -> None:
    """Run one command, and tell the caller its exit code. The caller waits for the end of this process."""
    head, streams, *_ = socket.recv_fds(caller, 8, 3)
    call = bytearray()
    while len(call) < int.from_bytes(head):
        call += caller.recv(65536)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    threading.Thread(target=_die_with, args=(caller,), daemon=True).start()
    path, arguments, folder, environment = json.loads(call)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [path, *arguments]
    sys.modules["__main__"].__package__ = None  # the name of the program in its help
    code: Any = 0
    try:
        importlib.import_module("opportune.cli.main").main()
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001 - Python prints it, whatever it is
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    caller.sendall(str(code if isinstance(code, int) else int(code is not None)).encode())


def _die_with(caller: socket.socket) -> None:
    """Kill this process when its caller ends first."""
    if not caller.recv(1):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
