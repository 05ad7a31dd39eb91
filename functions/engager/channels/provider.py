"""One call to AWS, never retried here, and the result of it.

SES and SNS have no idempotency token. A refusal is definite, and a call that never left may be made again. After any
other failure it is unclear whether the message was sent.

A client does not reuse a connection that has been idle for a while. A load balancer may have dropped it while the
function slept, and the message on it would end as `unknown`. See
https://docs.aws.amazon.com/ses/latest/dg/manage-sending-quotas-errors.html
https://docs.aws.amazon.com/sns/latest/api/CommonErrors.html

boto3 is imported with the first client, so that popups never load it.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engager.ledger.states import DeliveryResult, State

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

READ_TIMEOUT_S = 5.0
IDLE_S = 10.0  # longer than any call takes, so that no call is in progress when connections are closed
THROTTLES = frozenset(
    {"LimitExceededException", "LimitExceeded", "Throttled", "ThrottledException", "Throttling"}
    | {"ThrottlingException", "TooManyRequests", "TooManyRequestsException", "KMSThrottling"}
)
# Refusals of the account, not of the message. It can be sent once the operator has fixed that.
ACCOUNT_STOPPED = frozenset({"AccountSuspendedException", "SendingPausedException"})


def aws_client(service: str, *, read_timeout_s: float = READ_TIMEOUT_S, idle_s: float = IDLE_S, **options: Any) -> Any:
    """Return a client of *service* that never retries and drops connections idle for *idle_s*.

    *options* go to boto3.
    """
    import boto3  # noqa: PLC0415 - see the module's docstring

    from shared.invoke import no_retry_config  # noqa: PLC0415 - imports boto3

    # A session of its own, because boto3's default session is not safe to make clients from in several threads.
    session: Any = boto3.session.Session()
    client = session.client(service, config=no_retry_config(read_timeout_s=read_timeout_s), **options)
    client.meta.events.register("before-send", _IdleConnections(client.close, idle_s))
    return client


class _IdleConnections:
    """Called before each request: closes the connections of a client that was idle for too long."""

    def __init__(self, close: Callable[[], None], idle_s: float) -> None:
        self._close = close
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._last = 0.0

    def __call__(self, **_: Any) -> None:
        with self._lock:
            now = time.time()  # the monotonic clock may stop while a function sleeps
            if now - self._last > self._idle_s:
                self._close()
            self._last = now


def attempt(call: Callable[[], Any], *, ambiguous: State = State.UNKNOWN) -> DeliveryResult:
    """Make *call*, which returns a response with a ``MessageId``; return the result. Raises no AWS error.

    *ambiguous*: the state if the message may or may not have been sent.
    """
    from botocore import exceptions  # noqa: PLC0415 - see the module's docstring

    never_left = (
        exceptions.ConnectTimeoutError,
        exceptions.CredentialRetrievalError,
        exceptions.EndpointConnectionError,
        exceptions.NoCredentialsError,
    )
    try:
        response = call()
    except exceptions.ClientError as error:
        return _refusal(error, ambiguous)
    except never_left as error:
        return DeliveryResult(State.FAILED_RETRYABLE, type(error).__name__)
    except (exceptions.ParamValidationError, UnicodeError):  # the request could not be written, so nothing was sent
        return DeliveryResult(State.FAILED_FINAL, "invalid_message")
    except exceptions.BotoCoreError as error:
        return DeliveryResult(ambiguous, type(error).__name__)
    return DeliveryResult(State.SENT, provider_id=response.get("MessageId"))


def _refusal(error: "ClientError", ambiguous: State) -> DeliveryResult:
    code = error.response.get("Error", {}).get("Code") or "error"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in THROTTLES | ACCOUNT_STOPPED or status in (403, 429):  # 403: a permission or a credential is missing
        return DeliveryResult(State.FAILED_RETRYABLE, code)
    if 400 <= status < 500:
        return DeliveryResult(State.FAILED_FINAL, code)
    return DeliveryResult(ambiguous, code)
