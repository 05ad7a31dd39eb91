"""Worker process of an execution environment: ``python -m opportune.local.worker <handler> <fd>``.

It imports the handler as Lambda's runtime does, and serves one invocation at a time over the socket *fd*.
It receives ``(request_id, payload, timeout_s)`` and replies ``(ok, payload)``. The payload of a failure is
Lambda's ``{"errorType", "errorMessage", "requestId", "stackTrace"}``. The first message that it sends says
whether the import worked. It ends when the other side closes the socket.
"""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

Handler = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Context:
    """The parts of Lambda's context object that have a meaning on a laptop."""

    aws_request_id: str
    function_name: str
    function_version: str
    invoked_function_arn: str
    memory_limit_in_mb: int
    log_group_name: str
    log_stream_name: str
    timeout_s: float
    _started: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        """Return how many milliseconds are left before the invocation times out."""
        return max(0, int((self.timeout_s - (time.monotonic() - self._started)) * 1000))


def load(path: str) -> Handler:
    """Import the handler *path*, ``package.module.name``."""
    module, _, name = path.rpartition(".")
    handler: Handler = getattr(importlib.import_module(module), name)
    return handler


def invoke(handler: Handler, payload: bytes, context: Context) -> tuple[bool, bytes]:
    """Call *handler*; return whether it succeeded, and Lambda's payload."""
    try:
        answer = handler(json.loads(payload), context)
    except Exception as error:  # noqa: BLE001 - a handler may raise anything; it becomes Lambda's error
        return False, _failure(error, context.aws_request_id)
    try:
        return True, json.dumps(answer, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        return False, _failure(error, context.aws_request_id, error_type="Runtime.MarshalError")


def serve(handler: Handler, connection: Connection, environ: dict[str, str]) -> None:
    """Serve invocations until the other side closes the connection."""
    name = environ["AWS_LAMBDA_FUNCTION_NAME"]
    region, account = environ["AWS_REGION"], environ["OPPORTUNE_LOCAL_ACCOUNT"]
    while True:
        try:
            request_id, payload, timeout_s = connection.recv()
        except EOFError:
            return
        context = Context(
            aws_request_id=request_id,
            function_name=name,
            function_version="$LATEST",
            invoked_function_arn=f"arn:aws:lambda:{region}:{account}:function:{name}",
            memory_limit_in_mb=int(environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]),
            log_group_name=f"/aws/lambda/{name}",
            log_stream_name=f"local-{os.getpid()}",
            timeout_s=timeout_s,
        )
        answer = invoke(handler, payload, context)
        try:
            connection.send(answer)
        except BrokenPipeError:
            return


def main() -> None:
    """Import the handler, report whether that worked, then serve."""
    connection = Connection(int(sys.argv[2]))
    try:
        handler = load(sys.argv[1])
    except Exception as error:  # noqa: BLE001 - an import may raise anything; it becomes Lambda's error
        connection.send((False, _failure(error, "")))
        sys.exit(1)
    connection.send((True, b""))
    serve(handler, connection, dict(os.environ))


def _failure(error: Exception, request_id: str, *, error_type: str | None = None) -> bytes:
    trace = traceback.TracebackException.from_exception(error)
    # Leave out the frames of the import system: they do not help to find the cause.
    kept = [frame for frame in trace.stack if "importlib" not in frame.filename]
    trace.stack = traceback.StackSummary.from_list(kept)
    sys.stderr.write("".join(trace.format()))
    return json.dumps(
        {
            "errorType": error_type or type(error).__name__,
            "errorMessage": str(error),
            "requestId": request_id,
            "stackTrace": trace.stack.format(),
        }
    ).encode()


if __name__ == "__main__":
    main()
