"""One call to AWS, never repeated here, and a verdict on what became of it.

SES and SNS have no idempotency token. So a refusal is a refusal, a call that never left may be made again, and of
everything else nobody can say whether the message went out. A connection that has lain idle is not used for it:
somebody on the way may have given it up while the function slept, and a message would be lost as `unknown` with it.
https://docs.aws.amazon.com/ses/latest/dg/manage-sending-quotas-errors.html
https://docs.aws.amazon.com/sns/latest/api/CommonErrors.html
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import boto3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
)

from engager.ledger.states import Outcome, State
from shared.invoke import no_retry_config

READ_TIMEOUT_S = 5.0
IDLE_S = 10.0  # longer than any call takes, so that none is under way when connections are closed
THROTTLES = frozenset(
    {"LimitExceededException", "LimitExceeded", "Throttled", "ThrottledException", "Throttling"}
    | {"ThrottlingException", "TooManyRequests", "TooManyRequestsException", "KMSThrottling"}
)
# About us, not about the message: it may go out once somebody has put that right.
STOPPED = frozenset({"AccountSuspendedException", "SendingPausedException"})
NEVER_LEFT = (ConnectTimeoutError, CredentialRetrievalError, EndpointConnectionError, NoCredentialsError)


def client(service: str, *, read_timeout_s: float = READ_TIMEOUT_S, idle_s: float = IDLE_S, **options: Any) -> Any:
    """Return a client of *service* that calls once, on no connection idle for *idle_s*; *options* go to boto3."""
    # A session of its own: boto3's default one must not be shared by threads while it makes clients.
    session: Any = boto3.session.Session()
    made = session.client(service, config=no_retry_config(read_timeout_s=read_timeout_s), **options)
    made.meta.events.register("before-send", _Rested(made.close, idle_s))
    return made


class _Rested:
    """Called before each call: closes the connections of a client that nobody has called for a while."""

    def __init__(self, close: Callable[[], None], idle_s: float) -> None:
        self._close = close
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._last = 0.0

    def __call__(self, **_: Any) -> None:
        with self._lock:
            now = time.time()  # the other clock may stand still while a function sleeps
            if now - self._last > self._idle_s:
                self._close()
            self._last = now


def attempt(call: Callable[[], Any], *, ambiguous: State = State.UNKNOWN) -> Outcome:
    """Make *call*, which returns an answer with ``MessageId``, and return the outcome; never raises an AWS error.

    *ambiguous*: the state where the message may have gone out, or not.
    """
    try:
        answer = call()
    except ClientError as error:
        return _refusal(error, ambiguous)
    except NEVER_LEFT as error:
        return Outcome(State.FAILED_RETRYABLE, type(error).__name__)
    except ParamValidationError:
        return Outcome(State.FAILED_FINAL, "invalid_message")
    except BotoCoreError as error:
        return Outcome(ambiguous, type(error).__name__)
    return Outcome(State.SENT, provider_id=answer.get("MessageId"))


def _refusal(error: ClientError, ambiguous: State) -> Outcome:
    code = error.response.get("Error", {}).get("Code") or "error"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in THROTTLES | STOPPED or status in (403, 429):  # 403: a right or a credential is missing
        return Outcome(State.FAILED_RETRYABLE, code)
    if 400 <= status < 500:
        return Outcome(State.FAILED_FINAL, code)
    return Outcome(ambiguous, code)
