"""Run Lambda execution environments as processes, with a pool for each function.

An environment serves one invocation at a time. While callers wait, the pool starts more environments, up
to the function's maximum. It replaces an environment that dies or exceeds the timeout, and the invocation
fails as on Lambda.
"""

import json
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from opportune.system.errors import LocalStackError, Throttled
from opportune.system.subprocesses import Subprocess, Subprocesses

INIT_TIMEOUT_S = 30.0
UNHANDLED = "Unhandled"
# Starting an environment takes half a second of CPU; a busy one is usually free sooner.
_GROW_AFTER_S = 0.02


@dataclass(frozen=True)
class Function:
    """A function and its limits.

    handler: as ``package.module.name``
    env: its own environment variables
    warm: how many environments start before the first call
    max_environments: how many may run at the same time
    """

    handler: str
    timeout_s: float
    env: Mapping[str, str] = field(default_factory=dict)
    memory_mb: int = 512
    warm: int = 1
    max_environments: int = 4


@dataclass(frozen=True)
class InvocationResult:
    """The result of an invocation; ``error`` is None or Lambda's ``Unhandled``."""

    payload: bytes
    error: str | None = None


class ExecutionEnvironment(Protocol):
    """One execution environment. One thread at a time calls `serve`."""

    def alive(self) -> bool: ...
    def serve(self, payload: bytes) -> tuple[InvocationResult, bool]: ...
    def stop(self) -> None: ...


class WorkerEnvironment:
    """An execution environment in a worker process. One thread at a time calls `serve`."""

    def __init__(self, name: str, function: Function, child: Subprocess, connection: Connection) -> None:
        self._name = name
        self._function = function
        self._child = child
        self._connection = connection

    @classmethod
    def start(
        cls, name: str, function: Function, subprocesses: Subprocesses, env: Mapping[str, str], cwd: Path
    ) -> "WorkerEnvironment":
        """Start a worker and wait until it has imported the handler; raise `LocalStackError` if it cannot."""
        ours, theirs = socket.socketpair()
        connection = Connection(ours.detach())
        with theirs:
            command = [sys.executable, "-m", "opportune.local.worker", function.handler]
            child = subprocesses.start(
                f"function {name}",
                [*command, str(theirs.fileno())],
                env=env,
                log=name,
                cwd=cwd,
                pass_fds=[theirs.fileno()],
            )
        environment = cls(name, function, child, connection)
        try:
            if not connection.poll(INIT_TIMEOUT_S):
                raise child.failure(f"did not import {function.handler} within {INIT_TIMEOUT_S:g} s")
            imported, failure = connection.recv()
        except (EOFError, OSError) as error:
            environment.stop()
            raise child.failure(f"ended while importing {function.handler}") from error
        except LocalStackError:
            environment.stop()
            raise
        if not imported:
            environment.stop()
            cause = json.loads(failure)
            raise child.failure(f"cannot import {function.handler}: {cause['errorType']}: {cause['errorMessage']}")
        return environment

    def alive(self) -> bool:
        """Return whether the worker still runs."""
        return self._child.alive()

    def serve(self, payload: bytes) -> tuple[InvocationResult, bool]:
        """Serve one invocation; return its result, and whether the worker can serve another."""
        request_id = str(uuid.uuid4())
        timeout_s = self._function.timeout_s
        try:
            self._connection.send((request_id, payload, timeout_s))
            if self._connection.poll(timeout_s):
                ok, answer = self._connection.recv()
                return InvocationResult(answer, None if ok else UNHANDLED), True
        except (EOFError, OSError):
            # The socket closes shortly before the exit code is known.
            self._child.wait(1.0)
            self.stop()
            code = self._child.process.returncode
            how = f"signal: {-code}" if code < 0 else f"exit status {code}"
            return self._failed(request_id, "Runtime.ExitError", f"Runtime exited with error: {how}"), False
        self.stop()
        message = f"Task timed out after {timeout_s:.2f} seconds"
        return self._failed(request_id, "Sandbox.Timedout", message), False

    def stop(self) -> None:
        """Kill the worker."""
        self._child.kill()
        self._connection.close()

    def _failed(self, request_id: str, error_type: str, message: str) -> InvocationResult:
        with self._child.log.open("a", encoding="utf-8") as log:
            log.write(f"{request_id} {message}\n")
        error = {"errorType": error_type, "errorMessage": f"RequestId: {request_id} Error: {message}"}
        return InvocationResult(json.dumps(error).encode(), UNHANDLED)


# Starts an execution environment, given its name, function, subprocesses, variables and folder.
StartEnvironment = Callable[[str, Function, Subprocesses, Mapping[str, str], Path], ExecutionEnvironment]


class Pool:
    """The environments of one function. Any number of threads may call `invoke`."""

    def __init__(
        self,
        name: str,
        function: Function,
        subprocesses: Subprocesses,
        env: Mapping[str, str],
        cwd: Path,
        start: StartEnvironment = WorkerEnvironment.start,
    ) -> None:
        self.name = name
        self.function = function
        self._start = partial(start, name, function, subprocesses, env, cwd)
        self._changed = threading.Condition()
        self._idle: list[ExecutionEnvironment] = []
        self._size = 0
        self._starting = 0
        self._waiting = 0
        self._failures = 0
        self._last_failure = ""
        self._stopped = False

    def warm_up(self) -> None:
        """Start the warm environments; raise `LocalStackError` if one cannot start."""
        for _ in range(self.function.warm):
            environment = self._start()
            with self._changed:
                self._size += 1
                self._idle.append(environment)
                self._changed.notify()

    def invoke(self, payload: bytes) -> InvocationResult:
        """Invoke the function with a JSON *payload*.

        Raise `Throttled` if no environment becomes free within the function's timeout.
        """
        environment = self._acquire()
        if isinstance(environment, InvocationResult):
            return environment
        answer, usable = environment.serve(payload)
        with self._changed:
            if usable and not self._stopped:
                # Last in, first out: the environment used last is the fastest.
                self._idle.append(environment)
                self._changed.notify()
            else:
                self._size -= 1
                if not self._idle and not self._stopped:
                    self._grow()
        return answer

    def stop(self) -> None:
        """Refuse further invocations and stop the idle environments."""
        with self._changed:
            self._stopped = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for environment in idle:
            environment.stop()

    def _acquire(self) -> ExecutionEnvironment | InvocationResult:
        """Return an idle environment, or the error result if none can be started."""
        deadline = time.monotonic() + self.function.timeout_s
        with self._changed:
            self._waiting += 1
            failures = self._failures
            grow_after_s = _GROW_AFTER_S if self._size else 0.0
            try:
                while not self._stopped:
                    if self._idle:
                        environment = self._idle.pop()
                        if environment.alive():
                            return environment
                        self._size -= 1
                        continue
                    if self._failures > failures and not self._size:
                        error = {"errorType": "Runtime.ImportModuleError", "errorMessage": self._last_failure}
                        return InvocationResult(json.dumps(error).encode(), UNHANDLED)
                    remaining_s = deadline - time.monotonic()
                    if remaining_s <= 0:
                        raise Throttled(f"{self.name}: no environment became free")
                    if grow_after_s:
                        self._changed.wait(min(grow_after_s, remaining_s))
                        grow_after_s = 0.0
                        continue
                    if self._starting < self._waiting and self._size < self.function.max_environments:
                        self._grow()
                    self._changed.wait(remaining_s)
            finally:
                self._waiting -= 1
        raise LocalStackError(f"{self.name} was not invoked: the local stack is stopping")

    def _grow(self) -> None:
        """Start one more environment in the background. The caller holds the lock."""
        self._size += 1
        self._starting += 1
        threading.Thread(target=self._start_one_more, name=f"start {self.name}", daemon=True).start()

    def _start_one_more(self) -> None:
        environment: ExecutionEnvironment | None = None
        failure = ""
        try:
            environment = self._start()
        except LocalStackError as error:
            failure = error.message
        with self._changed:
            self._starting -= 1
            if environment is not None and not self._stopped:
                self._idle.append(environment)
            else:
                self._size -= 1
                if failure:
                    self._failures += 1
                    self._last_failure = failure
            self._changed.notify_all()
        if environment is not None and self._stopped:
            environment.stop()
