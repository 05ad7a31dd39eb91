"""The logger and the metrics of a function, created once by its wiring.

Logs contain ids of activations and messages, codes and counts, but no personal data.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aws_lambda_powertools import Logger, Metrics

from shared.errors import OpportuneError

NAMESPACE = "Opportune"


@dataclass(frozen=True)
class Observability:
    """The logger and the metrics of a function."""

    logger: Logger
    metrics: Metrics


def observe(function: str) -> Observability:
    """Return the logger and the metrics of *function*."""
    return Observability(
        logger=Logger(service=function),
        metrics=Metrics(namespace=NAMESPACE, service=function),
    )


def log_redelivery(logger: Logger, what: str, error: BaseException, message_id: str) -> None:
    """Log why a message returns to its queue.

    For an expected failure, log its code. For a bug, log its type and line, but not its message, which may quote
    personal data.
    """
    extra = {"sqs_message_id": message_id}
    if isinstance(error, OpportuneError):
        logger.warning("%s returned to the queue", what, extra={"code": error.code, **extra})
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        bug = {"code": type(error).__name__, "at": f"{frame.filename}:{frame.lineno}"}
        logger.error("%s returned to the queue", what, extra={**bug, **extra})


@contextmanager
def log_failure(logger: Logger) -> Iterator[None]:
    """Log the code and the reason of an expected failure and raise it again. Lambda's own log has no code."""
    try:
        yield
    except OpportuneError as error:
        extra = {"code": error.code, "reason": error.message}
        logger.error("request failed", extra=extra)  # noqa: TRY400 - expected failures have a code, not a traceback
        raise
