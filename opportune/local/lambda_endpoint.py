"""Lambda's Invoke API on 127.0.0.1, so that a real boto3 client can call the local functions."""

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlsplit

import msgspec

from opportune.local.aws import ACCOUNT, REGION
from opportune.local.environments import InvocationResult, Pool
from opportune.local.http_server import HttpServer, Request, Response
from opportune.system.errors import LocalStackError, Throttled

MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
MAX_WAIT_S = 60.0  # how long an asynchronous call waits for a free environment, as in the template
RETRY_PAUSE_S = 0.2
_LOG = logging.getLogger("opportune.local.lambda")
_PREFIX, _SUFFIX = "/2015-03-31/functions/", "/invocations"


class LambdaEndpoint:
    """Serve Invoke for *pools*, by function name; pools may be added after the start.

    watch: called with function and payload of each synchronous invocation
    """

    def __init__(self, pools: Mapping[str, Pool], watch: Callable[[str, bytes], None] = lambda *_: None) -> None:
        self._pools = pools
        self._watch = watch
        self._pending = 0
        self._changed = threading.Condition()
        self._server = HttpServer(
            self._answer,
            port=None,
            max_body=MAX_PAYLOAD_BYTES,
            too_large=_error(413, "RequestTooLargeException", "Request must be smaller than 6291456 bytes"),
            failed=_error(500, "ServiceException", "Internal Server Error"),
        )
        self.url = self._server.url

    def start(self) -> None:
        """Start serving in the background."""
        self._server.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.stop()

    def drain(self, timeout_s: float) -> bool:
        """Wait until no asynchronous invocation runs; return whether that happened in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending, timeout_s)

    def _answer(self, request: Request) -> Response:
        path = urlsplit(request.target).path
        if request.method != "POST" or not (path.startswith(_PREFIX) and path.endswith(_SUFFIX)):
            return _error(404, "UnknownOperationException", "only Invoke is supported here")
        name = function_name(unquote(path[len(_PREFIX) : -len(_SUFFIX)]))
        pool = self._pools.get(name)
        if pool is None:
            arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
            return _error(404, "ResourceNotFoundException", f"Function not found: {arn}")
        payload = request.body or b"{}"
        try:
            msgspec.json.decode(payload)
        except msgspec.DecodeError as error:
            message = f"Could not parse request body into json: {error}"
            return _error(400, "InvalidRequestContentException", message)
        match request.header("x-amz-invocation-type"):
            case "" | "RequestResponse":
                self._watch(name, payload)
                return _invoke_now(pool, payload)
            case "Event":
                self._invoke_later(pool, payload)
                return _response(202)
            case "DryRun":
                return _response(204)
            case other:
                return _error(400, "InvalidParameterValueException", f"unknown invocation type {other}")

    def _invoke_later(self, pool: Pool, payload: bytes) -> None:
        with self._changed:
            self._pending += 1

        threading.Thread(target=self._invoke_asynchronously, args=(pool, payload), daemon=True).start()

    def _invoke_asynchronously(self, pool: Pool, payload: bytes) -> None:
        try:
            answer = _invoke_with_retries(pool, payload)
            if answer.error:
                _LOG.warning("asynchronous invocation of %s failed: %s", pool.name, answer.payload.decode())
        except LocalStackError as error:
            _LOG.warning("asynchronous invocation of %s was lost: %s", pool.name, error.message)
        finally:
            with self._changed:
                self._pending -= 1
                self._changed.notify_all()


def function_name(identifier: str) -> str:
    """Return the bare function name from a name, ``name:alias``, partial ARN or ARN."""
    before, function, after = identifier.rpartition(":function:")
    return (after if function else before or identifier).partition(":")[0]


def _invoke_with_retries(pool: Pool, payload: bytes) -> InvocationResult:
    """Invoke the function, and retry while it is throttled, as Lambda does for asynchronous calls."""
    deadline = time.monotonic() + MAX_WAIT_S
    while True:
        try:
            return pool.invoke(payload)
        except Throttled:
            if time.monotonic() >= deadline:
                raise
            time.sleep(RETRY_PAUSE_S)


def _invoke_now(pool: Pool, payload: bytes) -> Response:
    try:
        answer = pool.invoke(payload)
    except Throttled:
        return _error(429, "TooManyRequestsException", "Rate Exceeded.")
    except LocalStackError as error:
        return _error(503, "ServiceException", error.message)
    if len(answer.payload) > MAX_PAYLOAD_BYTES:
        too_large = {
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": "Response payload size exceeded",
        }
        return _response(200, json.dumps(too_large).encode(), ("X-Amz-Function-Error", "Unhandled"))
    if answer.error:
        return _response(200, answer.payload, ("X-Amz-Function-Error", answer.error))
    return _response(200, answer.payload)


def _response(status: int, body: bytes = b"", *headers: tuple[str, str]) -> Response:
    fixed = [
        ("Content-Type", "application/json"),
        ("X-Amz-Executed-Version", "$LATEST"),
        ("x-amzn-RequestId", str(uuid.uuid4())),
    ]
    return Response(status, body, [*fixed, *headers])


def _error(status: int, kind: str, message: str) -> Response:
    body = {"Type": "User" if status < 500 else "Service", "message": message}
    return _response(status, json.dumps(body).encode(), ("x-amzn-ErrorType", kind))
