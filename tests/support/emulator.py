"""AWS Lambda's Runtime Interface Emulator with a built function: one execution environment of the local stack.

The SAM CLI brings the emulator. It runs the folder that `sam build` filled, with Lambda's runtime client, on a Python
3.13 that has only the packages of Lambda's Python: neither the repository nor a virtual environment is on its path.
"""

import json
import platform
import re
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import urllib3
from urllib3.exceptions import HTTPError

from opportune.local import environments
from opportune.local.environments import Function, InvocationResult
from opportune.system.ports import HOST, free_port
from opportune.system.processes import start_time
from opportune.system.subprocesses import Subprocess, Subprocesses
from tests.support.paths import ROOT

RUNTIME = ROOT / ".runtime"  # the packages of Lambda's Python
READY_S = 20.0
ANSWER_S = 60.0  # for an emulator that hangs; the emulator itself applies the function's timeout
CLOSE = {"Connection": "close"}
SHOWN = re.compile(r"INIT REPORT\(durationMs: ([0-9.]+)\)")


@dataclass(frozen=True)
class Runtime:
    """The programs that run built functions.

    ``python``: the path of a Python 3.13.
    ``emulator``: the path of the emulator.
    ``built``: the folder that `make build` filled.
    ``instead``: other folders for some functions, by name.
    """

    python: str
    emulator: str
    built: Path
    instead: Mapping[str, Path] = field(default_factory=dict)
    _taken: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(
        self,
        name: str,
        function: Function,
        subprocesses: Subprocesses,
        env: Mapping[str, str],
        cwd: Path,  # noqa: ARG002 - the built folder is used instead
    ) -> "Emulated":
        """Start an environment of function *name*. It imports the handler at the first invocation."""
        folder = self.instead.get(name, self.built / f"{name.title()}Function")
        ports = [f"{HOST}:{port}" for port in self._two_ports()]
        command = [self.emulator, "--log-level", "info"]
        command += ["--runtime-interface-emulator-address", ports[0], "--runtime-api-address", ports[1]]
        child = subprocesses.start(
            f"function {name}",
            [*command, self.python, "-m", "awslambdaric", function.handler],
            env={
                **env,
                "PYTHONPATH": str(RUNTIME),
                "LAMBDA_TASK_ROOT": str(folder),
                "AWS_LAMBDA_FUNCTION_TIMEOUT": f"{function.timeout_s:g}",
            },
            log=f"{name}-{ports[0].rpartition(':')[2]}",
            cwd=folder,
        )
        environment = Emulated(child, ports[0])
        child.wait_ready(environment.listens, READY_S)
        return environment

    def _two_ports(self) -> list[int]:
        """Return two free ports that were not returned before.

        An emulator takes a moment to bind its ports. If two of them got the same port, the second would exit and its
        calls would go to the first.
        """
        ports: list[int] = []
        with self._lock:
            while len(ports) < 2:
                port = free_port()
                if port not in self._taken:
                    self._taken.add(port)
                    ports.append(port)
        return ports


class Emulated:
    """A running emulator. Only one thread at a time may call `serve`."""

    def __init__(self, child: Subprocess, address: str) -> None:
        self._child = child
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=2, read=ANSWER_S))
        self._url = f"http://{address}/2015-03-31/functions/function/invocations"

    @property
    def log(self) -> str:
        """The output of the emulator and the runtime."""
        return self._child.log.read_text(encoding="utf-8", errors="replace")

    def listens(self) -> bool:
        """Return whether the emulator accepts connections; invokes nothing."""
        with suppress(HTTPError):
            self._http.request("GET", self._url.rpartition("/2015")[0], headers=CLOSE)
            return self.alive()
        return False

    def alive(self) -> bool:
        """Return whether the emulator still runs."""
        return self._child.alive()

    def serve(self, payload: bytes) -> tuple[InvocationResult, bool]:
        """Serve one invocation. After a timeout or a crash, the emulator itself restarts the runtime."""
        try:
            response = self._http.request("POST", self._url, body=payload, headers=CLOSE)
        except HTTPError as error:
            self.stop()
            return InvocationResult(
                json.dumps({"errorType": type(error).__name__}).encode(), environments.UNHANDLED
            ), False
        return InvocationResult(
            response.data, environments.UNHANDLED if failed(response.status, response.data) else None
        ), True

    def stop(self) -> None:
        """Stop the emulator, which stops its runtime."""
        self._child.process.terminate()
        if not self._child.wait(3.0):
            self._child.kill()


def failed(status: int, body: bytes) -> bool:
    """Return whether the function failed. Lambda has a header for that, and the emulator does not."""
    try:
        answer = json.loads(body)
    except ValueError:
        return True  # "Task timed out after 2.00 seconds"
    return status != 200 or (isinstance(answer, dict) and {"errorType", "errorMessage"} <= answer.keys())


def starts_ms(log: str) -> list[float]:
    """Return how long each start of the runtime took, in ms, from the emulator's *log*."""
    return [float(found) for found in SHOWN.findall(log)]


def peak_mb(emulator: int) -> float:
    """Return the peak memory of the runtime, a child of the process *emulator*, in MB."""
    peaks = [0.0]
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            fields: dict[str, Any] = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            if int(fields["PPid"]) == emulator and start_time(int(fields["Pid"])):
                peaks.append(int(fields["VmHWM"].split()[0]) / 1024)
    return max(peaks)


def find_runtime(built: Path) -> Runtime:
    """Return the programs that run the functions in *built*. Skip the test if one is missing."""
    if not (RUNTIME / "awslambdaric").is_dir():
        pytest.skip("Lambda's runtime client is not installed: make .runtime")
    found = subprocess.run(["make", "-s", "python3.13"], cwd=ROOT, capture_output=True, text=True, check=True)
    machine = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    script = f"import samcli.local.rapid as r, pathlib; print(pathlib.Path(r.__path__[0]) / 'aws-lambda-rie-{machine}')"
    sam = subprocess.run(
        [ROOT / ".venv-sam/bin/python", "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    Path(sam).chmod(0o755)
    return Runtime(f"{found.stdout.strip()}/python3.13", sam, built)
